//! `cvmfs-snapshotter`: parses the command line, sets up the log, runs the server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cvmfs_snapshotter::config::{Config, DEFAULT_FILE, LogFormat};
use cvmfs_snapshotter::repository::reader;
use cvmfs_snapshotter::server;
use tracing::error;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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
            eprintln!("cvmfs-snapshotter: {error}");
            return ExitCode::from(2);
        }
    };
    start_log(&config);
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

fn start_log(config: &Config) {
    let level = LevelFilter::from_level(config.log_level.into());
    // Other crates log only warnings and errors.
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("cvmfs_snapshotter", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(targets);
    match config.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
}
