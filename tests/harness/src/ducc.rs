//! Our converter, as a publisher calls it.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Output, run, run_any};
use crate::tools;

/// How long a conversion may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// One call of `ducc convert-single-image`.
#[derive(Debug, Clone)]
pub struct Convert {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Convert {
    /// Converts an image into the repository in a directory, which must exist.
    pub fn new(image: &str, repository: &Path) -> Self {
        Self::into_locator(image, repository.as_os_str())
    }

    /// Converts an image into the repository that a locator names.
    pub fn into_locator(image: &str, repository: impl Into<OsString>) -> Self {
        let args = vec!["convert-single-image".into(), image.into(), repository.into()];
        Self { args, env: Vec::new() }
    }

    /// Also pushes a thin image to this reference.
    pub fn thin(self, reference: &str) -> Self {
        self.option("--thin-image-name", reference)
    }

    /// The image's platform, `os/architecture[/variant]`.
    pub fn platform(self, platform: &str) -> Self {
        self.option("--platform", platform)
    }

    /// The public name, in place of the one derived from the source.
    pub fn public_name(self, reference: &str) -> Self {
        self.option("--public-name", reference)
    }

    /// Any further option.
    pub fn flag(mut self, flag: &str) -> Self {
        self.args.push(flag.into());
        self
    }

    /// Any further option with a value.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.args.extend([name.into(), value.into()]);
        self
    }

    /// With this environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The command, for tests that run it themselves. It does not see the credentials of the user who runs the tests.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(tools::ducc()?);
        let nowhere = Path::new("/nonexistent");
        command
            .args(&self.args)
            .env("DOCKER_CONFIG", nowhere)
            .env("REGISTRY_AUTH_FILE", nowhere.join("auth.json"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs it; any exit status but 0 is an error.
    pub fn run(&self) -> Result<Output> {
        run(&mut self.command()?)
    }

    /// Runs it, whatever its exit status.
    pub fn run_any(&self) -> Result<Output> {
        run_any(&mut self.command()?, TIMEOUT)
    }

    /// Runs it with `--json` and returns the report.
    pub fn report(&self) -> Result<Value> {
        let output = self.clone().flag("--json").run()?;
        let report = output.stdout.lines().last().context("--json printed nothing")?;
        serde_json::from_str(report)
            .or_else(|_| serde_json::from_str(&output.stdout))
            .with_context(|| format!("--json printed no JSON: {}", output.stdout))
    }
}

/// A directory that other users of the machine cannot enter, as images with set-id programs need it.
pub fn closed_dir() -> std::io::Result<TempDir> {
    closed_dir_in(std::env::temp_dir())
}

/// The same in another directory than that for temporary files.
pub fn closed_dir_in(place: impl AsRef<Path>) -> std::io::Result<TempDir> {
    let only_owner = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(only_owner).tempdir_in(place)
}
