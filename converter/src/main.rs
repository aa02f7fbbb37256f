//! `ducc`: parses the command line, wires the rooms together, reports.

mod cli;
mod commands;
mod logging;

use std::process::ExitCode;

use clap::Parser;
use ducc::progress::Progress;
use rustix::fs::Mode;

use cli::{Cli, Command};

const EXIT_FAILED: u8 = 1;
/// The same as in DUCC.
const EXIT_NO_REPOSITORY: u8 = 104;
/// A shell's convention for a death by signal: 128 and the signal's number.
const EXIT_SIGNAL_BASE: u8 = 128;

/// Everybody may read what is published. Files of an image get their modes from the image, whatever the umask.
const UMASK: u32 = 0o022;

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    let status = match command {
        Command::ConvertSingleImage(arguments) => convert(*arguments),
        Command::GarbageCollection(arguments) => {
            administer(|| commands::garbage_collection::run(arguments))
        }
        Command::DeleteImage(arguments) => administer(|| commands::delete_image::run(arguments)),
        Command::PruneImages(arguments) => administer(|| commands::prune_images::run(arguments)),
        Command::Verify(arguments) => administer(|| commands::verify::run(arguments)),
        Command::Repository(command) => administer(|| commands::repository::run(command)),
        Command::Wishlist(command) => simple(commands::wishlist::run(command)),
        Command::CheckImageSyntax(arguments) => {
            simple(async { commands::check_image_syntax::run(arguments) })
        }
        Command::ExpandWildcard(arguments) => simple(commands::expand_wildcard::run(arguments)),
        Command::DownloadManifest(arguments) => simple(commands::download_manifest::run(arguments)),
        Command::Version => simple(async { commands::version::run() }),
    };
    ExitCode::from(status)
}

fn convert(arguments: cli::ConvertSingleImage) -> u8 {
    run(commands::convert::run(arguments))
}

/// Runs a command that either does what was asked for, or says why not.
fn simple(command: impl Future<Output = anyhow::Result<()>>) -> u8 {
    let quiet = false;
    logging::start(&Progress::new(logging::style(quiet)), quiet);
    run(async {
        match command.await {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("ducc: {}", commands::advice::explain(&error));
                EXIT_FAILED
            }
        }
    })
}

/// Runs a command to its exit status.
fn run(command: impl Future<Output = u8>) -> u8 {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ducc: cannot start threads: {error}");
            return EXIT_FAILED;
        }
    };
    let status = runtime.block_on(command);
    // A thread that waits for another publisher or for a storage must not keep an interrupted program alive.
    runtime.shutdown_background();
    status
}

/// Runs a command that works on a repository, and gives the exit status.
fn administer(command: impl FnOnce() -> anyhow::Result<()>) -> u8 {
    let quiet = false;
    logging::start(&Progress::new(logging::style(quiet)), quiet);
    match command() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("ducc: {}", commands::advice::explain(&error));
            if commands::advice::is_no_such_repository(&error) {
                EXIT_NO_REPOSITORY
            } else {
                EXIT_FAILED
            }
        }
    }
}
