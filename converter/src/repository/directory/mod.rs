//! A plain directory as a repository: on a laptop, on NFS or Lustre, or below a CVMFS transaction.
//!
//! Everything is prepared in a staging area inside the repository, on its file system, under the path that it
//! will have. So publishing is renaming, and what stands in two places is one file with two names.
//!
//! | file | what it is for |
//! |---|---|
//! | `lock` | one publisher at a time |
//! | `area` | the staging area, and how prepared and published trees are reached |
//! | `journal` | the moves of a commit, which the successor of a killed publisher finishes |
//! | `transaction` | what a publisher can do |
//! | `layer`, `notes` | unpacking an untrusted layer ([`layer_rules`](super::layer_rules)) |
//! | `lower`, `complete` | what a layer takes from the layers below it ([`parents`](super::parents)) |
//! | `merge`, `listing`, `copy` | making one tree of several |
//! | `editor`, `unchanged` | adding files to a tree |
//! | `attributes`, `shortfall` | modes, owners, times and extended attributes, and which of them are missing |
//! | `beneath`, `remove` | opening and removing without ever leaving a directory |

mod area;
mod attributes;
mod beneath;
mod complete;
mod copy;
mod editor;
mod journal;
mod layer;
mod listing;
mod lock;
mod lower;
mod merge;
mod notes;
mod remove;
mod shortfall;
#[cfg(test)]
pub(super) mod tests;
mod transaction;
mod unchanged;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use layer_layout::{RepositoryPath, path};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::area::Area;
use self::beneath::{Beneath, indirect, split};
use self::listing::Lister;
use self::lock::Lock;
use self::transaction::Change;
use crate::repository::{Error, Published, Repository, Result, Transaction};

/// A repository in a plain directory.
#[derive(Debug)]
pub struct Directory {
    name: String,
    path: PathBuf,
}

impl Directory {
    /// Opens the repository at `path`. Without a `name` it has the name of the directory.
    ///
    /// # Errors
    /// [`Error::NoSuchRepository`] if nothing is there, [`Error::NotADirectory`] if something else is.
    pub fn open(path: &Path, name: Option<&str>) -> Result<Self> {
        let path = match path.canonicalize() {
            Ok(path) if path.is_dir() => path,
            Ok(_) => return Err(Error::NotADirectory(path.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoSuchRepository(path.to_owned()));
            }
            Err(error) => return Err(Error::system("open the repository", path, error)),
        };
        let name = match name {
            Some(name) => name.to_owned(),
            None => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        };
        Ok(Self { name, path })
    }

    /// A handle on the repository's root.
    fn root(&self) -> Result<Beneath> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&self.path, flags, Mode::empty())
            .map_err(|cause| Error::system("open the repository", &self.path, cause))?;
        Ok(Beneath::new(fd, &self.path))
    }
}

impl Repository for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn begin(&self, wait: &mut dyn FnMut(&str) -> bool) -> Result<Box<dyn Transaction>> {
        let repository = self.root()?;
        let lock = Lock::acquire(self.root()?, wait)?;
        if let Some(moves) = journal::read(&repository)? {
            let staging = path::publisher_staging();
            let staging = staging.as_str().as_bytes();
            match repository.beneath(staging) {
                Ok(staging) => journal::work_off(&repository, &staging, &moves)?,
                // Killed between the removal of the staging area and that of the journal.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(repository.failed("open", staging)(error)),
            }
        }
        journal::remove(lock.directory())
            .map_err(repository.failed("remove", path::publisher_journal().as_str().as_bytes()))?;
        Ok(Box::new(Change::new(Area::new(repository, lock)?)))
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        let root = self.root()?;
        root.read(path.as_str().as_bytes()).map_err(|cause| match Errno::from_io_error(&cause) {
            Some(errno) => indirect(&root, path, "read")(errno),
            None => Error::system("read", root.shown(path.as_str().as_bytes()), cause),
        })
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        let root = self.root()?;
        let bytes = path.as_str().as_bytes();
        let failed = |error| indirect(&root, path, "look at")(error);
        let stat = match root.stat(bytes) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let (parent, name) = split(bytes);
        let parent = root.handle(parent).map_err(failed)?;
        published(&parent, name, FileType::from_raw_mode(stat.st_mode)).map(Some).map_err(failed)
    }

    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>> {
        let root = self.root()?;
        let path = directory.map_or("", RepositoryPath::as_str).as_bytes();
        let directory = match root.directory(path) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(error) => return Err(root.failed("open", path)(error)),
        };
        let mut names = Vec::new();
        let listed = Lister::new().names(&directory, |name, file_type| {
            let Ok(text) = str::from_utf8(name) else { return Ok(()) };
            let file_type = match file_type {
                FileType::Unknown => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    FileType::from_raw_mode(rustix::fs::statat(&directory, name, flags)?.st_mode)
                }
                known => known,
            };
            match published(&directory, name, file_type) {
                Ok(published) => names.push((text.to_owned(), published)),
                // Removed in the meantime.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        });
        listed.map_err(root.failed("read", path))?;
        Ok(names)
    }
}

/// What `name` in `directory` is, which has this type.
fn published(
    directory: impl AsFd,
    name: &[u8],
    file_type: FileType,
) -> rustix::io::Result<Published> {
    Ok(match file_type {
        FileType::Directory => Published::Directory,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            Published::Symlink(target.to_string_lossy().into_owned())
        }
        _ => Published::Other,
    })
}
