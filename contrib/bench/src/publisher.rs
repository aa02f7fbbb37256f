//! `ducc convert` over a wish list, as a publisher calls it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use harness::tools;
use serde_json::Value;

/// A publisher with a wish list, and with a state of its own.
pub(crate) struct Publisher {
    dir: PathBuf,
    locator: String,
    options: String,
}

impl Publisher {
    /// A publisher into the repository that a locator names, which takes these options. List, state and reports are in
    /// `dir`, which is made.
    pub(crate) fn new(dir: &Path, locator: &str, options: &str) -> Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), locator: locator.to_owned(), options: options.to_owned() })
    }

    /// Wishes for these images, and for no others.
    pub(crate) fn wish<S: AsRef<str>>(&self, images: impl IntoIterator<Item = S>) -> Result<()> {
        let mut text = format!("version: 1\nuser: robot\ncvmfs_repo: {:?}\ninput:\n", self.locator);
        for image in images {
            text += &format!("  - '{}'\n", image.as_ref());
        }
        Ok(fs::write(self.dir.join("wishes.yaml"), text)?)
    }

    /// The shell command for a round. With further options it may run beside others, under a name of its own.
    pub(crate) fn round(&self, name: &str, options: &str) -> Result<String> {
        let file = |suffix: &str| self.dir.join(format!("{name}{suffix}")).display().to_string();
        Ok(format!(
            "{} convert {} --json --skip-thin-image --state {} {} {options} > {} 2> {}",
            tools::ducc()?.display(),
            self.dir.join("wishes.yaml").display(),
            file(".state"),
            self.options,
            file(".json"),
            file(".log"),
        ))
    }

    /// The report of a round on its repository.
    pub(crate) fn report(&self, name: &str) -> Result<Value> {
        let text = fs::read_to_string(self.dir.join(format!("{name}.json")))?;
        let line = text.lines().last().context("a round without a report")?;
        let summary: Value = serde_json::from_str(line)?;
        Ok(summary["repositories"][0].clone())
    }

    /// What a round has logged.
    pub(crate) fn log(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.dir.join(format!("{name}.log")))?)
    }
}
