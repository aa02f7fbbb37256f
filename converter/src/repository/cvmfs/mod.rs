//! A CernVM-FS repository, written natively: no mount, no union file system, no root.
//!
//! Content becomes objects while a layer streams in; names wait in scratch databases and become catalogs when
//! the change is committed, in one revision. Owners, devices, whiteouts and extended attributes are columns of
//! a catalog, so everybody's result is the same as root's.
//!
//! Trees are those of the [directory target](super::directory), entry by entry, except that:
//! - hard links are links within one directory only; names in different directories are files of their own
//!   with the same object. The format knows no others.
//! - some names and attributes cannot be stored, or not be read by clients: see `remarks`.
//!
//! | file | what it is for |
//! |---|---|
//! | `change` | what a publisher can do |
//! | `writer` | unpacking an untrusted layer, as [`layer_rules`](super::layer_rules) say |
//! | `editor` | adding files to a tree |
//! | `staged` | trees in scratch databases |
//! | `view` | trees to read, wherever they are, and writing them into catalogs |
//! | `attributes`, `remarks` | owners, modes and extended attributes, and what of them is lost |

mod attributes;
mod change;
mod editor;
mod remarks;
mod staged;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use cvmfs_repository::catalog::Split;
use cvmfs_repository::entry::Kind;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::Snapshot;
use layer_layout::RepositoryPath;

use self::change::{Change, Core};
use super::{Error, Place, Published, Repository, Result, Transaction};

/// Entries above which a tree is split into nested catalogs, unless the user says otherwise.
const CATALOG_ENTRIES: u32 = 5_000;
/// A directory with less than this part of the maximum below it is not worth a catalog of its own.
const MINIMUM_PART: u64 = 50;

/// A CernVM-FS repository to publish into.
pub struct Cvmfs {
    name: String,
    place: Arc<Place>,
    /// The newest revision when the repository was opened, or when a change began or was published last.
    newest: Mutex<Snapshot>,
}

impl Cvmfs {
    /// Takes a repository. Without a `name` it has its own.
    ///
    /// # Errors
    /// If its newest revision cannot be read or trusted.
    pub fn open(place: Place, name: Option<&str>) -> Result<Self> {
        let newest = Mutex::new(place.repository.snapshot()?);
        let name = name.unwrap_or(place.repository.fqrn().as_str()).to_owned();
        Ok(Self { name, place: Arc::new(place), newest })
    }

    fn newest(&self) -> Snapshot {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn split(&self) -> Split {
        let maximum = u64::from(self.place.catalog_entries.unwrap_or(CATALOG_ENTRIES));
        Split { maximum, minimum: maximum / MINIMUM_PART }
    }
}

impl Repository for Cvmfs {
    fn name(&self) -> &str {
        &self.name
    }

    /// Publishers do not wait for each other: a change is applied to whatever is the newest revision when it
    /// is committed.
    fn begin(&self, _wait: &mut dyn FnMut(&str) -> bool) -> Result<Box<dyn Transaction>> {
        let locks = self.place.lock()?;
        let session = self.place.repository.begin()?;
        let base = self.place.repository.snapshot()?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = base.clone();
        let core =
            Core::new(&self.name, Arc::clone(&self.place), locks, session, base, self.split())?;
        Ok(Box::new(Change::new(core)))
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        let newest = self.newest();
        match newest.lookup(&tree_path(path))?.map(|entry| entry.kind) {
            None => Ok(None),
            Some(Kind::File(file)) => Ok(Some(newest.read(&file)?)),
            Some(_) => {
                Err(Error::Occupied { path: path.clone(), what: "something else than a file" })
            }
        }
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        let entry = self.newest().lookup(&tree_path(path))?;
        Ok(entry.map(|entry| match entry.kind {
            Kind::Directory => Published::Directory,
            Kind::Symlink(target) => {
                Published::Symlink(String::from_utf8_lossy(&target).into_owned())
            }
            _ => Published::Other,
        }))
    }
}

/// A path of the layout as the engine knows it.
fn tree_path(path: &RepositoryPath) -> TreePath {
    path.as_str().split('/').fold(TreePath::ROOT, |path, name| path.join(name.as_bytes()))
}
