//! Our converter under the name of the program that it succeeds, as scripts and units for that one call it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::process::{Output, run_any};
use crate::tools;

/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// An installation: a directory in `PATH` with the link `cvmfs_ducc`, and a directory for files.
#[derive(Debug)]
pub struct CvmfsDucc {
    dir: TempDir,
    env: Vec<(OsString, OsString)>,
}

impl CvmfsDucc {
    /// Makes the link.
    pub fn install() -> Result<Self> {
        let dir = TempDir::new()?;
        fs::create_dir(dir.path().join("bin"))?;
        symlink(tools::ducc()?, dir.path().join("bin/cvmfs_ducc"))?;
        Ok(Self { dir, env: Vec::new() })
    }

    /// With this environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the directory, as an argument.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Makes an empty directory in the directory.
    pub fn make_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Writes a file into the directory; returns its path.
    pub fn write(&self, name: &str, text: &str) -> Result<String> {
        fs::write(self.dir.path().join(name), text)?;
        Ok(self.path(name))
    }

    /// A version 1 wish list for these images; returns its path.
    pub fn wish_list(&self, name: &str, repository: &str, images: &[&str]) -> Result<String> {
        let mut text = format!("version: 1\nuser: robot\ncvmfs_repo: {repository:?}\ninput:\n");
        for image in images {
            text += &format!("  - '{image}'\n");
        }
        self.write(name, &text)
    }

    /// `cvmfs_ducc ARGS…`. It does not see the credentials of the user who runs the tests.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(self.dir.path().join("bin/cvmfs_ducc"));
        command.args(args);
        self.prepare(&mut command);
        command
    }

    /// A shell script that finds `cvmfs_ducc` in its `PATH`.
    pub fn script(&self, text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        let nowhere = Path::new("/nonexistent");
        let mut path = self.dir.path().join("bin").into_os_string();
        path.push(":");
        path.push(tools::search_path());
        command
            .current_dir(self.dir.path())
            .env("PATH", path)
            .env("DOCKER_CONFIG", nowhere)
            .env("REGISTRY_AUTH_FILE", nowhere.join("auth.json"))
            .env("DUCC_STATE", self.dir.path().join("state"))
            .env("DUCC_CACHE", self.dir.path().join("cache"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
    }

    /// Runs `cvmfs_ducc ARGS…`, which has to end with this status.
    pub fn run(&self, status: i32, args: &[&str]) -> Result<Output> {
        let output = run_any(&mut self.command(args), TIMEOUT)?;
        ensure!(
            output.status.code() == Some(status),
            "cvmfs_ducc {args:?}: {} instead of {status}\n{}",
            output.status,
            output.both()
        );
        Ok(output)
    }
}
