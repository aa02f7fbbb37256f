//! Our converter under the name of the program that it succeeds, as scripts and units for that one call it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::ducc::closed_dir_in;
use crate::process::{Output, run_any};
use crate::tools;

/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// An installation: a directory in `PATH` with the link `cvmfs_ducc`, and a directory for files.
#[derive(Debug)]
pub struct CvmfsDucc {
    dir: TempDir,
    env: Vec<(OsString, OsString)>,
    private_tmp: bool,
}

impl CvmfsDucc {
    /// Makes the link.
    pub fn install() -> Result<Self> {
        // Not in /tmp, which the program may not see as others do.
        let dir = closed_dir_in("/dev/shm")?;
        for name in ["bin", "private-tmp"] {
            fs::create_dir(dir.path().join(name))?;
        }
        symlink(tools::ducc()?, dir.path().join("bin/cvmfs_ducc"))?;
        Ok(Self { dir, env: Vec::new(), private_tmp: false })
    }

    /// With DUCC's lock, and with a `/tmp` of its own ([`Self::private_tmp`]), where that lock is. Without this, tests
    /// would wait for each other.
    pub fn with_lock(mut self) -> Self {
        self.private_tmp = true;
        self
    }

    /// What `/tmp` is to an installation with DUCC's lock.
    pub fn private_tmp(&self) -> PathBuf {
        self.dir.path().join("private-tmp")
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
        self.called_as("cvmfs_ducc", args)
    }

    /// The same under another name of the program.
    pub fn called_as<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Command {
        let program = self.dir.path().join("bin").join(name);
        let mut command = if self.private_tmp {
            let mut inside = Command::new("unshare");
            let script = "mount --bind \"$0\" /tmp && exec \"$@\"";
            inside.args(["--mount", "/bin/sh", "-c", script]).arg(self.private_tmp()).arg(program);
            inside
        } else {
            Command::new(program)
        };
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
        if !self.private_tmp {
            command.env("DUCC_LOCK", "false");
        }
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
