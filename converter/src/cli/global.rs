//! Options of all commands.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ducc::notification::Notifications;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "All commands")]
pub(crate) struct GlobalOptions {
    /// Append a line of JSON to this file for everything that happens, in DUCC's format.
    #[arg(short = 'n', long, value_name = "FILE", global = true)]
    pub(crate) notification_file: Option<PathBuf>,

    /// Directory for temporary files [default: the system's].
    #[arg(short = 't', long, value_name = "DIR", env = "DUCC_TMP_DIR", global = true)]
    pub(crate) temporary_dir: Option<PathBuf>,

    /// How much to log; RUST_LOG overrides it.
    #[arg(short = 'v', long, value_name = "LEVEL", global = true)]
    pub(crate) verbosity: Option<Verbosity>,
}

/// DUCC's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verbosity {
    Trace,
    Debug,
    Info,
    #[value(alias = "warning")]
    Warn,
    #[value(aliases = ["fatal", "panic"])]
    Error,
}

impl Verbosity {
    /// As the filter of log lines takes it.
    pub(crate) fn directive(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl GlobalOptions {
    /// Where notifications go.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn notifications(&self) -> anyhow::Result<Notifications> {
        Ok(match &self.notification_file {
            Some(path) => Notifications::to(path)?,
            None => Notifications::default(),
        })
    }

    /// Makes the directory for temporary files known to all of the program.
    ///
    /// # Errors
    /// If there is no such directory.
    pub(crate) fn use_temporary_directory(&self) -> anyhow::Result<()> {
        let Some(directory) = self.temporary_dir.as_ref().filter(|it| !it.as_os_str().is_empty())
        else {
            return Ok(());
        };
        anyhow::ensure!(
            directory.is_dir(),
            "{} is no directory: make it, or choose another with --temporary-dir",
            directory.display()
        );
        let directory = std::path::absolute(directory)?;
        // Fails only if it is set already, and this is called once.
        let _set = tempfile::env::override_temp_dir(&directory);
        Ok(())
    }
}
