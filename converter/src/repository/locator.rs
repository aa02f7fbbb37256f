//! The names of repositories on the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use cvmfs_repository::fqrn::Fqrn;
use cvmfs_repository::server_conf;
use cvmfs_repository::storage::StorageUrl;

use layer_layout::RepositoryPath;

use super::cvmfs::Cvmfs;
use super::stratum0::{Access, Stratum0};
use super::{Directory, Error, Repository, Result};

/// Where a repository is: `PATH` or `dir://PATH`, `cvmfs+file://DIR[?name=FQRN]`, `cvmfs+s3://BUCKET/PREFIX?…`, or the
/// name of a repository that a stock server on this machine knows. A CernVM-FS repository may be used from a directory
/// on: `NAME/sub/dir`, `cvmfs+file://DIR#sub/dir`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locator {
    /// A plain directory.
    Directory(PathBuf),
    /// A CernVM-FS repository in a storage.
    Cvmfs {
        /// The storage.
        storage: StorageUrl,
        /// The repository's name, if it is said.
        name: Option<Fqrn>,
        /// The directory in the repository that everything is in; `None` for its root.
        below: Option<RepositoryPath>,
    },
    /// A CernVM-FS repository by its name.
    Server {
        /// The name.
        fqrn: Fqrn,
        /// The directory in the repository that everything is in; `None` for its root. Rule: DUCC.
        below: Option<RepositoryPath>,
    },
}

/// How the locator of a CernVM-FS repository begins.
const CVMFS: &str = "cvmfs+";
/// The setting of a storage's URL that says which repository is in it.
const NAME: &str = "name=";

impl Locator {
    /// Opens the repository to publish images into it. `name` is what it is called in thin images; the
    /// default is the last component of a directory's path, and a CernVM-FS repository's own name.
    ///
    /// # Errors
    /// [`NoSuchRepository`](Error::NoSuchRepository) if there is none.
    pub fn open(&self, name: Option<&str>, access: &Access) -> Result<Arc<dyn Repository>> {
        match self {
            Self::Directory(path) => {
                let directory =
                    Directory::open(path, name)?.trusting_local_users(access.trust_local_users);
                Ok(Arc::new(if access.ducc_lock { directory.beside_ducc()? } else { directory }))
            }
            Self::Cvmfs { below, .. } | Self::Server { below, .. } => {
                let mut cvmfs = Cvmfs::open(self.stratum0(access)?, name)?;
                if let Some(below) = below {
                    cvmfs = cvmfs.below(below)?;
                }
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
            Self::Cvmfs { storage, name, .. } => {
                Stratum0::in_storage(storage, name.as_ref(), access)?
            }
            Self::Server { fqrn, .. } => Stratum0::of_server(fqrn, access)?,
        })
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Cvmfs { storage, name, below } => {
                let storage = storage.to_string();
                write!(f, "{CVMFS}{storage}")?;
                if let Some(name) = name {
                    let mark = if storage.contains('?') { '&' } else { '?' };
                    write!(f, "{mark}{NAME}{name}")?;
                }
                below.as_ref().map_or(Ok(()), |below| write!(f, "#{below}"))
            }
            Self::Server { fqrn, below: None } => write!(f, "{fqrn}"),
            Self::Server { fqrn, below: Some(below) } => write!(f, "{fqrn}/{below}"),
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
    /// The directory in a repository is none that the layout can be in.
    #[error(
        "{0:?} is no directory in a repository; expected names between single slashes, none of which begins with a dot"
    )]
    Below(String),
    /// No repository can have this name.
    #[error("{0:?} (name=) cannot be the name of a repository")]
    Name(String),
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
            let (storage, below) = match storage.split_once('#') {
                Some((storage, below)) => (storage, Some(directory(below)?)),
                None => (storage, None),
            };
            let (storage, name) = named(storage)?;
            let storage = storage.parse().map_err(LocatorError::Storage)?;
            return Ok(Self::Cvmfs { storage, name, below });
        }
        let path = match text.split_once("://") {
            None => {
                if let Some(server) = of_server(text, Path::new(server_conf::CONFIGURATION))? {
                    return Ok(server);
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

/// The URL of a storage without the setting that says which repository is in it, and that repository.
fn named(storage: &str) -> Result<(String, Option<Fqrn>), LocatorError> {
    let Some((place, settings)) = storage.split_once('?') else {
        return Ok((storage.to_owned(), None));
    };
    let is_name = |setting: &&str| setting.starts_with(NAME);
    let Some(name) = settings.split('&').find(is_name) else {
        return Ok((storage.to_owned(), None));
    };
    let name = &name[NAME.len()..];
    let fqrn = name.parse().map_err(|_| LocatorError::Name(name.to_owned()))?;
    let others: Vec<_> = settings.split('&').filter(|setting| !is_name(setting)).collect();
    let mark = if others.is_empty() { "" } else { "?" };
    Ok((format!("{place}{mark}{}", others.join("&")), Some(fqrn)))
}

/// A text whose first name is that of a stock server's repository, if there is one; the rest is a directory in it.
fn of_server(text: &str, configuration: &Path) -> Result<Option<Locator>, LocatorError> {
    let (name, below) = match text.split_once('/') {
        Some((name, below)) => (name, Some(below)),
        None => (text, None),
    };
    match name.parse() {
        Ok(fqrn) if server_conf::is_known(configuration, &fqrn) => {
            let below = below.map(|below| directory(below.trim_end_matches('/')));
            Ok(Some(Locator::Server { fqrn, below: below.transpose()? }))
        }
        _ => Ok(None),
    }
}

fn directory(text: &str) -> Result<RepositoryPath, LocatorError> {
    let hidden = text.split('/').any(|name| name.starts_with('.'));
    let path = RepositoryPath::parse(text).filter(|_| !hidden);
    path.ok_or_else(|| LocatorError::Below(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_in_repositories() {
        let configuration = tempfile::tempdir().unwrap();
        let server = configuration.path().join("x.example.org");
        std::fs::create_dir(&server).unwrap();
        std::fs::write(server.join("server.conf"), "").unwrap();
        let parse = |text: &str| of_server(text, configuration.path());
        for (text, shown) in [
            ("x.example.org", Some("x.example.org")),
            ("x.example.org/sub/dir", Some("x.example.org/sub/dir")),
            ("x.example.org/sub/", Some("x.example.org/sub")),
            ("y.example.org/sub", None),
            ("./x.example.org", None),
        ] {
            let locator = parse(text).unwrap().map(|locator| locator.to_string());
            assert_eq!(locator.as_deref(), shown, "{text}");
        }
        for text in ["x.example.org/../y", "x.example.org/.layers", "x.example.org/a//b"] {
            assert!(matches!(parse(text), Err(LocatorError::Below(_))), "{text}");
        }
        let text = "cvmfs+file:///srv/x#sub/dir";
        assert_eq!(text.parse::<Locator>().unwrap().to_string(), text);
        assert!("cvmfs+file:///srv/x#".parse::<Locator>().is_err());
    }

    #[test]
    fn the_name_of_a_repository_in_a_storage_can_be_said() {
        for (text, shown) in [
            ("cvmfs+file:///srv/x?name=a.example.org", None),
            ("cvmfs+file:///srv/x?name=a.example.org#sub", None),
            (
                "cvmfs+s3://b/x?name=a.example.org&endpoint=https://s3.example.org",
                Some("cvmfs+s3://b/x?endpoint=https%3A%2F%2Fs3.example.org&name=a.example.org"),
            ),
        ] {
            let locator: Locator = text.parse().unwrap();
            let Locator::Cvmfs { name: Some(name), .. } = &locator else { panic!("{text}") };
            assert_eq!(name.as_str(), "a.example.org");
            assert_eq!(locator.to_string(), shown.unwrap_or(text));
            assert_eq!(locator.to_string().parse::<Locator>().unwrap(), locator);
        }
        for text in ["cvmfs+file:///srv/x?name=", "cvmfs+file:///srv/x?name=a/b"] {
            assert!(matches!(text.parse::<Locator>(), Err(LocatorError::Name(_))), "{text}");
        }
        let odd: Locator = "cvmfs+file:///srv/what?".parse().unwrap();
        assert_eq!(odd.to_string(), "cvmfs+file:///srv/what?");
    }

    #[test]
    fn text_forms() {
        for (text, path) in [("/a/b", "/a/b"), ("a", "a"), ("dir:///a", "/a"), ("dir://a", "a")] {
            assert_eq!(text.parse::<Locator>().unwrap(), Locator::Directory(path.into()));
        }
        for text in ["cvmfs+file:///srv/x", "cvmfs+s3://bucket/prefix?endpoint=https://host:1"] {
            assert!(
                matches!(text.parse::<Locator>(), Ok(Locator::Cvmfs { below: None, .. })),
                "{text}"
            );
        }
        for text in ["", "dir://", "s3://a/b", "cvmfs+", "cvmfs+http://a", "cvmfs+file://"] {
            assert!(text.parse::<Locator>().is_err(), "{text:?}");
        }
    }
}
