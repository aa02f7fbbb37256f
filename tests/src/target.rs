//! A repository of either kind, as tests of publishers look at it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::ducc::closed_dir_in;
use crate::native::{self, Native};
use crate::rounds::Publisher;
use crate::tree::Tree;

/// What images are published into.
pub enum Target {
    /// A plain directory.
    Directory(TempDir),
    /// A CernVM-FS repository in local storage or in a bucket.
    Native(Native),
}

impl Target {
    /// An empty directory in `place`.
    pub fn directory_in(place: &Path) -> Result<Self> {
        Ok(Self::Directory(closed_dir_in(place)?))
    }

    /// An empty directory in memory, where making something durable does not wait for the machine's disk.
    pub fn directory() -> Result<Self> {
        Self::directory_in(Path::new("/dev/shm"))
    }

    /// An empty CernVM-FS repository in memory.
    pub fn native() -> Result<Self> {
        Native::create().map(Self::Native)
    }

    /// An empty CernVM-FS repository in a bucket, whose server keeps it in memory.
    pub fn s3() -> Result<Self> {
        Native::create_in_bucket("").map(Self::Native)
    }

    /// An empty one of the same kind.
    pub fn again(&self) -> Result<Self> {
        match self {
            Self::Directory(_) => Self::directory(),
            Self::Native(native) => native.again().map(Self::Native),
        }
    }

    /// Its locator, as `ducc` takes it.
    pub fn locator(&self) -> String {
        match self {
            Self::Directory(dir) => dir.path().display().to_string(),
            Self::Native(native) => native.locator(),
        }
    }

    /// The directory of the files that it consists of.
    pub fn root(&self) -> PathBuf {
        match self {
            Self::Directory(dir) => dir.path().to_owned(),
            Self::Native(native) => native.storage(),
        }
    }

    /// A publisher into it. List, state and cache are in `dir`, which exists.
    pub fn publisher(&self, dir: &Path) -> Publisher {
        let publisher = Publisher::new(dir, self.locator());
        match self {
            Self::Directory(_) => publisher,
            Self::Native(native) => {
                let publisher = publisher.env("DUCC_CACHE", dir.join("cache"));
                let set = |publisher: Publisher, (name, value)| publisher.env(name, value);
                native.environment().into_iter().fold(publisher, set)
            }
        }
    }

    /// The content of a file in the root file system that a public path leads to; `None` if there is no such public path.
    pub fn read(&self, public_path: &str, file: &str) -> Result<Option<String>> {
        match self {
            Self::Directory(dir) => {
                let link = dir.path().join(public_path);
                if let Err(error) = link.symlink_metadata() {
                    let is_missing = error.kind() == ErrorKind::NotFound;
                    return if is_missing { Ok(None) } else { Err(error.into()) };
                }
                let file = link.join(file);
                let content = std::fs::read_to_string(&file);
                content.with_context(|| format!("reading {}", file.display())).map(Some)
            }
            Self::Native(native) => native::read_in(&native.snapshot()?, public_path, file),
        }
    }

    /// Everything in it.
    pub fn tree(&self) -> Result<Tree> {
        match self {
            Self::Directory(dir) => Tree::read(dir.path()),
            Self::Native(native) => native.tree(""),
        }
    }

    /// The number of its newest revision, if it has any.
    pub fn revision(&self) -> Result<Option<u64>> {
        match self {
            Self::Directory(_) => Ok(None),
            Self::Native(native) => native.revision().map(Some),
        }
    }

    /// Checks all of its storage, if that has a format of its own.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Native(native) => native.check(),
        }
    }
}
