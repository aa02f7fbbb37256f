//! How people spell a storage.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// The place of a storage. As text: `file:///srv/cvmfs/…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageUrl {
    /// A directory of this machine.
    Local(PathBuf),
}

impl FromStr for StorageUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => Ok(Self::Local(PathBuf::from(path))),
            _ => Err(Error::Refused(format!("{text:?} is no storage; expected file:///DIR"))),
        }
    }
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "file://{}", path.display()),
        }
    }
}
