//! `cvmfs-snapshotter`: parses the command line, sets up the log, runs the server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cvmfs_snapshotter::config::{Config, DEFAULT_FILE};
use cvmfs_snapshotter::repository::reader;
use cvmfs_snapshotter::server;
use cvmfs_snapshotter::{check, log};
use layer_layout::text::lines;
use tracing::error;

/// A containerd snapshotter that serves image layers from CernVM-FS repositories.
///
/// A layer that is in a configured repository is not downloaded; any other one is unpacked by containerd as
/// with its overlayfs snapshotter. Register it as the proxy plugin `cvmfs-snapshotter` in containerd's
/// configuration. The daemon may be stopped, killed or replaced at any time: containers go on running.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell which snapshots cannot be mounted, and what to do
    ///
    /// Looks for every snapshot at its directory or, with the usual deadline, into its repository. It only reads, beside
    /// the daemon or without one. Exit status: 0 if all can be mounted, 1 if not, 2 if that cannot be found out.
    Check {
        /// Configuration file (TOML)
        #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
        config: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Started by the daemon to look into a repository
    #[command(name = reader::COMMAND, hide = true)]
    RepositoryReader { root: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None => serve(&arguments.config),
        Some(Command::RepositoryReader { root }) => match reader::serve(&root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Some(Command::Check { config, json }) => match look(&config, json) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => unusable(&format!("{error:#}")),
        },
    }
}

/// Says why nothing could be done at all.
fn unusable(error: &str) -> ExitCode {
    eprintln!("cvmfs-snapshotter: {}", lines(error));
    ExitCode::from(2)
}

/// Prints what `check` finds, and returns whether all is well.
fn look(config: &Path, json: bool) -> anyhow::Result<bool> {
    let config = Config::load(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(check::check(&config));
    // A process that is stuck in a repository is not waited for.
    runtime.shutdown_background();
    let report = report?;
    let text = match json {
        true => serde_json::to_string(&report)?,
        false => report.lines().join("\n"),
    };
    println!("{}", lines(&text));
    Ok(report.broken.is_empty())
}

fn serve(file: &Path) -> ExitCode {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) => return unusable(&error.to_string()),
    };
    let log = log::start(&config);
    match run(file, &config, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path, config: &Config, log: &log::Level) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(server::run(file, config, log));
    // An interrupted deletion in the trash goes on at the next start.
    runtime.shutdown_background();
    result
}
