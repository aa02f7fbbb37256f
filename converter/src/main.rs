//! `ducc`: parses the command line, wires the rooms together, reports.

// What is printed goes through `screen`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod commands;
mod logging;
mod screen;

use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use clap::Parser;
use ducc::notification::{Event, Notifications};
use ducc::progress::Progress;
use rustix::fs::Mode;
use tokio_util::sync::CancellationToken;

use cli::global::GlobalOptions;
use cli::{Cli, Command, drop_in};
use commands::signals::Interruption;

const EXIT_FAILED: u8 = 1;
/// Part of what was asked for was done.
const EXIT_PARTIAL: u8 = 3;
/// The following are the same as in DUCC.
const EXIT_NO_PASSWORD: u8 = 101;
const EXIT_LIST_UNREADABLE: u8 = 102;
const EXIT_LIST_BROKEN: u8 = 103;
const EXIT_NO_REPOSITORY: u8 = 104;
/// A shell's convention for a death by signal: 128 and the signal's number.
const EXIT_SIGNAL_BASE: u8 = 128;

/// Everybody may read what is published. Files of an image get their modes from the image, whatever the umask.
const UMASK: u32 = 0o022;

fn main() -> ExitCode {
    let Cli { global, command } =
        if stands_in_for_ducc() { drop_in::parse(std::env::args_os()) } else { Cli::parse() };
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    if let Err(error) = global.use_temporary_directory() {
        logging::complain(&format!("{error:#}"));
        return ExitCode::from(EXIT_FAILED);
    }
    match global.notifications() {
        Ok(notifications) => ExitCode::from(Program { global, notifications }.run(command)),
        Err(error) => {
            logging::complain(&format!("{error:#}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

struct Program {
    global: GlobalOptions,
    notifications: Notifications,
}

impl Program {
    /// Runs a command, tells listeners of its beginning and its end, and gives the exit status.
    fn run(&self, command: Command) -> u8 {
        let begun = Instant::now();
        self.notifications.tell(&Event::Started);
        let status = self.carry_out(command);
        self.notifications.tell(&Event::Ended(begun.elapsed()));
        status
    }

    fn carry_out(&self, command: Command) -> u8 {
        let (verbosity, notifications) = (self.global.verbosity, &self.notifications);
        match command {
            Command::Convert(arguments) => {
                serve(commands::rounds::convert(*arguments, verbosity, notifications))
            }
            Command::Loop(arguments) => {
                serve(commands::rounds::run_loop(*arguments, verbosity, notifications))
            }
            Command::Status(arguments) => commands::status::run(arguments),
            Command::ConvertSingleImage(arguments) => {
                serve(commands::convert_single_image::run(*arguments, verbosity, notifications))
            }
            Command::Wishlist(command) => self.simple(commands::wishlist::run(command)),
            Command::CheckImageSyntax(arguments) => {
                self.simple(async { commands::check_image_syntax::run(arguments) })
            }
            Command::ExpandWildcard(arguments) => {
                self.simple(commands::expand_wildcard::run(arguments))
            }
            Command::DownloadManifest(arguments) => {
                self.simple(commands::download_manifest::run(arguments))
            }
            Command::GarbageCollection(arguments) => {
                self.interruptible(|cancel| commands::garbage_collection::run(arguments, cancel))
            }
            Command::DeleteImage(arguments) => {
                self.interruptible(|cancel| commands::delete_image::run(arguments, cancel))
            }
            Command::PruneImages(arguments) => {
                self.interruptible(|cancel| commands::prune_images::run(*arguments, cancel))
            }
            Command::Verify(arguments) => self.interruptible(|cancel| {
                commands::verify::run(*arguments, notifications.clone(), cancel)
            }),
            Command::Repository(command) => self.administer(|| commands::repository::run(command)),
            Command::CreatePodmanStore(_) => {
                self.simple(async { commands::create_podman_store::run() })
            }
            Command::Completions { shell } => {
                self.administer(|| commands::documentation::completions(shell, &called()))
            }
            Command::ManPages { directory } => {
                self.administer(|| commands::documentation::man_pages(&directory))
            }
            Command::Version => self.simple(async { commands::version::run() }),
        }
    }

    fn log(&self) {
        let quiet = false;
        logging::start(&Progress::new(logging::style(quiet)), quiet, self.global.verbosity);
    }

    /// Runs a command that either does what was asked for, or says why not.
    fn simple(&self, command: impl Future<Output = anyhow::Result<()>>) -> u8 {
        self.log();
        serve(async { status(command.await) })
    }

    /// Runs a command that ends early, and cleanly, when it is told to by a signal.
    fn interruptible<F>(&self, command: impl FnOnce(CancellationToken) -> F) -> u8
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        self.log();
        serve(async {
            let cancel = CancellationToken::new();
            let interruption = Interruption::cancels(cancel.clone());
            let status = status(command(cancel).await);
            interruption.status().await.unwrap_or(status)
        })
    }

    /// Runs a command that works on a repository.
    fn administer(&self, command: impl FnOnce() -> anyhow::Result<()>) -> u8 {
        self.log();
        status(command())
    }
}

/// The exit status of a command, after its error has been told.
fn status(result: anyhow::Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            logging::complain(&commands::advice::explain(&error));
            if commands::advice::is_no_such_repository(&error) {
                EXIT_NO_REPOSITORY
            } else {
                EXIT_FAILED
            }
        }
    }
}

/// Runs a command to its exit status.
fn serve(command: impl Future<Output = u8>) -> u8 {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            logging::complain(&format!("cannot start threads: {error}"));
            return EXIT_FAILED;
        }
    };
    let status = runtime.block_on(command);
    // A thread that waits for another publisher or for a storage must not keep an interrupted program alive.
    runtime.shutdown_background();
    status
}

/// Whether the program was called by DUCC's name.
fn stands_in_for_ducc() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| called() == drop_in::NAME)
}

/// The name that the program was called by: `ducc`, or a link such as `cvmfs_ducc`.
fn called() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "ducc".to_owned())
}
