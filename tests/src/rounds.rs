//! Our converter in rounds over wish lists, as a publisher calls it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::process::{Output, run_any};
use crate::tools;

/// How long a round may take.
const TIMEOUT: Duration = Duration::from_secs(900);

/// The point in time so many days from now, as `ducc garbage-collection --now` takes it.
pub fn in_days(days: i64) -> Result<String> {
    let later = Timestamp::now().checked_add(SignedDuration::from_hours(24 * days))?;
    Ok(later.to_string())
}

/// Random numbers, the same again if the environment variable `SEED` has what was printed.
pub fn repeatable_random() -> Result<fastrand::Rng> {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => fastrand::u64(..),
    };
    println!("SEED={seed}");
    Ok(fastrand::Rng::with_seed(seed))
}

/// A publisher with a wish list, and with a state of its own.
#[derive(Debug, Clone)]
pub struct Publisher {
    dir: PathBuf,
    locator: String,
    env: Vec<(OsString, OsString)>,
}

/// What came of a round.
#[derive(Debug)]
pub struct Round {
    /// The exit status of the program.
    pub status: Option<i32>,
    /// The report on the repository.
    pub report: Value,
    /// Everything that was written.
    pub output: Output,
}

impl Round {
    /// A figure, or the length of a list, in the report on the repository.
    pub fn count(&self, member: &str) -> usize {
        match &self.report[member] {
            Value::Array(list) => list.len(),
            number => {
                number.as_u64().and_then(|number| number.try_into().ok()).unwrap_or(usize::MAX)
            }
        }
    }
}

impl Publisher {
    /// A publisher into the repository that a locator names. List and state are in `dir`, which exists.
    pub fn new(dir: &Path, locator: impl Into<String>) -> Self {
        Self { dir: dir.to_owned(), locator: locator.into(), env: Vec::new() }
    }

    /// With this environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The repository, as `ducc` takes it.
    pub fn locator(&self) -> &str {
        &self.locator
    }

    /// The wish list's file.
    pub fn list(&self) -> PathBuf {
        self.dir.join("wishes.yaml")
    }

    /// Replaces the wish list, so that whoever reads it sees the old or the new one.
    pub fn wish<S: AsRef<str>>(&self, images: impl IntoIterator<Item = S>) -> Result<()> {
        let mut text = format!("version: 1\nuser: robot\ncvmfs_repo: {:?}\ninput:", self.locator);
        let before = text.len();
        for image in images {
            text += &format!("\n  - '{}'", image.as_ref());
        }
        if text.len() == before {
            text += " []";
        }
        let unfinished = self.dir.join("wishes.new");
        std::fs::write(&unfinished, text + "\n")
            .and_then(|()| std::fs::rename(&unfinished, self.list()))
            .context("writing the wish list")
    }

    /// `ducc` with this publisher's environment, which does not see the credentials of the user who runs the tests.
    pub fn ducc(&self) -> Result<Command> {
        let mut command = Command::new(tools::ducc()?);
        let nowhere = Path::new("/nonexistent");
        command
            .env("DOCKER_CONFIG", nowhere)
            .env("REGISTRY_AUTH_FILE", nowhere.join("auth.json"))
            .env("DUCC_STATE", self.dir.join("state"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// One round, without thin images.
    pub fn round(&self, options: &[&str]) -> Result<Round> {
        let mut command = self.ducc()?;
        command.arg("convert").arg(self.list()).args(["--json", "--skip-thin-image"]).args(options);
        let output = run_any(&mut command, TIMEOUT)?;
        let line = output.stdout.lines().last();
        let line = line.with_context(|| format!("--json printed nothing: {}", output.both()))?;
        let summary: Value = serde_json::from_str(line)
            .with_context(|| format!("--json printed no JSON: {}", output.both()))?;
        let report = summary["repositories"][0].clone();
        Ok(Round { status: output.status.code(), report, output })
    }

    /// One round, without thin images, with a report for people.
    pub fn convert(&self, options: &[&str]) -> Result<Output> {
        self.convert_lists(&[&self.list().display().to_string()], options)
    }

    /// The same with other wish lists.
    pub fn convert_lists(&self, lists: &[&str], options: &[&str]) -> Result<Output> {
        let mut command = self.ducc()?;
        command.arg("convert").args(lists).arg("--skip-thin-image").args(options);
        run_any(&mut command, TIMEOUT)
    }

    /// Rounds without end and without a pause between them.
    pub fn looping(&self, options: &[&str]) -> Result<Command> {
        let mut command = self.ducc()?;
        command.arg("loop").arg(self.list());
        command.args(["--interval", "0.05", "--skip-thin-image"]).args(options);
        Ok(command)
    }

    /// `ducc verify` of all images as they are published, without asking registries; anything that is wrong is an error.
    /// Returns how many there are.
    pub fn verify(&self) -> Result<usize> {
        let output = self.on_repository("verify", &["--json", "--offline"])?;
        ensure!(output.status.success(), "verify: {}", output.both());
        let report: Value = serde_json::from_str(&output.stdout)?;
        let images = report["images"].as_u64().context("verify did not count the images")?;
        Ok(images.try_into()?)
    }

    /// Any other command of `ducc` with the repository as its first argument.
    pub fn on_repository(&self, command: &str, options: &[&str]) -> Result<Output> {
        let mut ducc = self.ducc()?;
        run_any(ducc.arg(command).arg(&self.locator).args(options), TIMEOUT)
    }
}
