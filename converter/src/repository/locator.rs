//! How a repository is named on the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::{Directory, Repository, Result};

/// Where a repository is: a path, or `dir://PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locator {
    /// A plain directory.
    Directory(PathBuf),
}

impl Locator {
    /// Opens the repository. `name` is what it is called in thin images; the default is the last
    /// component of its path.
    ///
    /// # Errors
    /// [`NoSuchRepository`](super::Error::NoSuchRepository) if there is none.
    pub fn open(&self, name: Option<&str>) -> Result<Arc<dyn Repository>> {
        match self {
            Self::Directory(path) => Ok(Arc::new(Directory::open(path, name)?)),
        }
    }
}

/// A text that names no repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a directory, PATH or dir://PATH")]
pub struct LocatorError;

impl FromStr for Locator {
    type Err = LocatorError;

    fn from_str(text: &str) -> Result<Self, LocatorError> {
        let path = match text.split_once("://") {
            None => text,
            Some(("dir", path)) => path,
            Some(_) => return Err(LocatorError),
        };
        if path.is_empty() {
            return Err(LocatorError);
        }
        Ok(Self::Directory(PathBuf::from(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms() {
        for (text, path) in [("/a/b", "/a/b"), ("a", "a"), ("dir:///a", "/a"), ("dir://a", "a")] {
            assert_eq!(text.parse::<Locator>().unwrap(), Locator::Directory(path.into()));
        }
        for text in ["", "dir://", "s3://a/b"] {
            assert!(text.parse::<Locator>().is_err(), "{text:?}");
        }
    }
}
