//! `cvmfs-snapshotter`: parses the command line, sets up the log, runs the server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cvmfs_snapshotter::config::{Config, DEFAULT_FILE};
use cvmfs_snapshotter::log;
use cvmfs_snapshotter::repository::reader;
use cvmfs_snapshotter::server;
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
    /// Started by the daemon to look into a repository
    #[command(name = reader::COMMAND, hide = true)]
    RepositoryReader { root: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::RepositoryReader { root }) = arguments.command {
        return match reader::serve(&root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("cvmfs-snapshotter: {}", lines(&error.to_string()));
            return ExitCode::from(2);
        }
    };
    log::start(&config);
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(server::run(config));
    // An interrupted deletion in the trash goes on at the next start.
    runtime.shutdown_background();
    result
}
