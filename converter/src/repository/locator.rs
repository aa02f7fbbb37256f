//! The names of repositories on the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use cvmfs_repository::fqrn::Fqrn;
use cvmfs_repository::server_conf;
use cvmfs_repository::storage::StorageUrl;

use super::cvmfs::Cvmfs;
use super::stratum0::{Access, Stratum0};
use super::{Directory, Error, Repository, Result};

/// Where a repository is: `PATH` or `dir://PATH`, `cvmfs+file://DIR`, `cvmfs+s3://BUCKET/PREFIX?…`, or the
/// name of a repository that a stock server on this machine knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locator {
    /// A plain directory.
    Directory(PathBuf),
    /// A CernVM-FS repository in a storage.
    Cvmfs(StorageUrl),
    /// A CernVM-FS repository by its name.
    Server(Fqrn),
}

/// How the locator of a CernVM-FS repository begins.
const CVMFS: &str = "cvmfs+";

impl Locator {
    /// Opens the repository to publish images into it. `name` is what it is called in thin images; the
    /// default is the last component of a directory's path, and a CernVM-FS repository's own name.
    ///
    /// # Errors
    /// [`NoSuchRepository`](Error::NoSuchRepository) if there is none.
    pub fn open(&self, name: Option<&str>, access: &Access) -> Result<Arc<dyn Repository>> {
        match self {
            Self::Directory(path) => {
                let directory = Directory::open(path, name)?;
                Ok(Arc::new(if access.ducc_lock { directory.beside_ducc()? } else { directory }))
            }
            Self::Cvmfs(_) | Self::Server(_) => {
                let cvmfs = Cvmfs::open(self.stratum0(access)?, name)?;
                Ok(Arc::new(if access.ducc_lock { cvmfs.beside_ducc()? } else { cvmfs }))
            }
        }
    }

    /// Opens a CernVM-FS repository to work on it as such.
    ///
    /// # Errors
    /// If it is a plain directory, or cannot be opened.
    pub fn stratum0(&self, access: &Access) -> Result<Stratum0> {
        Ok(match self {
            Self::Directory(path) => return Err(Error::NotCvmfs(path.clone())),
            Self::Cvmfs(url) => Stratum0::in_storage(url, access)?,
            Self::Server(fqrn) => Stratum0::of_server(fqrn, access)?,
        })
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Cvmfs(url) => write!(f, "{CVMFS}{url}"),
            Self::Server(fqrn) => write!(f, "{fqrn}"),
        }
    }
}

/// Why a text names no repository.
#[derive(Debug, thiserror::Error)]
pub enum LocatorError {
    /// The URL of a CernVM-FS storage is malformed.
    #[error("{0}; {expected}", expected = expected())]
    Storage(cvmfs_repository::Error),
    /// It begins with a scheme that repositories do not have.
    #[error("{0:?} is not a repository; {expected}", expected = expected())]
    Scheme(String),
    /// Nothing follows the scheme, or there is no text at all.
    #[error("the repository has no name; {expected}", expected = expected())]
    Empty,
}

fn expected() -> String {
    format!(
        "expected a directory (PATH or dir://PATH), cvmfs+file:///DIR, cvmfs+s3://BUCKET/PREFIX?endpoint=URL, or \
         the name of a repository in {}",
        server_conf::CONFIGURATION
    )
}

impl FromStr for Locator {
    type Err = LocatorError;

    fn from_str(text: &str) -> Result<Self, LocatorError> {
        if let Some(storage) = text.strip_prefix(CVMFS) {
            return storage.parse().map(Self::Cvmfs).map_err(LocatorError::Storage);
        }
        let path = match text.split_once("://") {
            None => {
                // A name without a slash is that of a stock server's repository, if there is one.
                if let Ok(fqrn) = text.parse()
                    && server_conf::is_known(Path::new(server_conf::CONFIGURATION), &fqrn)
                {
                    return Ok(Self::Server(fqrn));
                }
                text
            }
            Some(("dir", path)) => path,
            Some(_) => return Err(LocatorError::Scheme(text.to_owned())),
        };
        if path.is_empty() {
            return Err(LocatorError::Empty);
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
        for text in ["cvmfs+file:///srv/x", "cvmfs+s3://bucket/prefix?endpoint=https://host:1"] {
            assert!(matches!(text.parse::<Locator>(), Ok(Locator::Cvmfs(_))), "{text}");
        }
        for text in ["", "dir://", "s3://a/b", "cvmfs+", "cvmfs+http://a", "cvmfs+file://"] {
            assert!(text.parse::<Locator>().is_err(), "{text:?}");
        }
    }
}
