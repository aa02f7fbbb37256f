//! A CernVM-FS repository for `ducc` commands to publish into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use harness::{process, tools};

/// The repository's name.
pub(crate) const FQRN: &str = "images.example.org";

/// A repository with its keys and its index of known content, all in one directory.
pub(crate) struct Repository {
    dir: PathBuf,
    ducc: PathBuf,
}

impl Repository {
    /// Creates an empty one in `dir`, replacing what is there.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        Self::create_with(&tools::ducc()?, dir)
    }

    /// The same with another build of `ducc`, which then does everything else, too.
    pub(crate) fn create_with(ducc: &Path, dir: &Path) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let repository = Self { dir: dir.to_owned(), ducc: ducc.to_owned() };
        let storage = format!("file://{}", repository.storage().display());
        process::run(Command::new(ducc).args(["repository", "create", FQRN]).args([
            "--storage",
            &storage,
            "--keys",
            &repository.keys(),
            "--cache",
            &repository.cache(),
        ]))?;
        Ok(repository)
    }

    /// Copies it to `dir`, replacing what is there.
    pub(crate) fn copy_to(&self, dir: &Path) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        process::run(Command::new("cp").arg("-a").arg(&self.dir).arg(dir))?;
        Ok(Self { dir: dir.to_owned(), ducc: self.ducc.clone() })
    }

    /// The shell command that publishes an image.
    pub(crate) fn publish(&self, image: &str, options: &str) -> String {
        format!(
            "{} convert-single-image --quiet {} {options} {image} {}",
            self.ducc.display(),
            self.access(),
            self.locator()
        )
    }

    /// Fails if anything is wrong with the repository.
    pub(crate) fn check(&self) -> Result<()> {
        let mut command = Command::new(&self.ducc);
        command.args(["repository", "check", "--keys", &self.keys(), "--cache", &self.cache()]);
        command.arg(self.locator());
        process::run(&mut command).map(drop)
    }

    /// Where it is, as `ducc` takes it.
    pub(crate) fn locator(&self) -> String {
        format!("cvmfs+file://{}", self.storage().display())
    }

    /// The options with which every command that writes to it is called.
    pub(crate) fn access(&self) -> String {
        format!("--keys {} --cache {}", self.keys(), self.cache())
    }

    /// The number of its newest revision.
    pub(crate) fn revision(&self) -> Result<u64> {
        let manifest = fs::read(self.storage().join(".cvmfspublished"))?;
        revision(&manifest)
    }

    fn storage(&self) -> PathBuf {
        self.dir.join("storage")
    }

    fn keys(&self) -> String {
        self.dir.join("keys").display().to_string()
    }

    fn cache(&self) -> String {
        self.dir.join("cache").display().to_string()
    }
}

/// The revision that a manifest names: the line `S` of its signed text.
pub(crate) fn revision(manifest: &[u8]) -> Result<u64> {
    let lines = manifest.split(|&byte| byte == b'\n');
    let line = lines.take_while(|line| *line != b"--").find_map(|line| line.strip_prefix(b"S"));
    let number = line.context("a manifest without a revision")?;
    Ok(std::str::from_utf8(number)?.parse()?)
}
