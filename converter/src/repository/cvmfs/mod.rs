//! A CernVM-FS repository, written natively: no mount, no union file system, no root.
//!
//! Content becomes objects while a layer streams in; names wait in scratch databases and become catalogs, in
//! one revision, when the change is committed. Owners, devices, whiteouts and extended attributes are columns
//! of a catalog, so an ordinary user gets the same result as root.
//!
//! Trees are those of the [directory target](super::directory), entry by entry, except that:
//! - hard links exist only within one directory, because the format has no others. Names in different
//!   directories become separate files with the same object.
//! - some names and attributes cannot be stored, or cannot be read by clients: see `shortfall`.
//!
//! | file | what it is for |
//! |---|---|
//! | `change` | what a publisher can do |
//! | `area` | what a change has prepared, and how its trees are reached |
//! | `writer` | unpacking an untrusted layer, as [`layer_rules`](super::layer_rules) say |
//! | `editor` | adding files to a tree |
//! | `staged` | trees in scratch databases |
//! | `view` | reading trees, wherever they are, and writing them into catalogs |
//! | `attributes`, `shortfall` | owners, modes and extended attributes, and which of them are lost |

mod area;
mod attributes;
mod change;
mod editor;
mod shortfall;
mod staged;
#[cfg(test)]
mod tests;
mod tree_path;
mod view;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use cvmfs_repository::catalog::Split;
use cvmfs_repository::entry::EntryKind;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::Snapshot;
use layer_layout::RepositoryPath;

use self::area::Area;
use self::change::Change;
use self::tree_path::tree_path;
use super::{Error, Occupant, Published, Repository, Result, Stratum0, Transaction};

/// The number of entries above which a tree is split into nested catalogs, unless the user chooses another.
const CATALOG_ENTRIES: u32 = 5_000;
/// A directory gets a nested catalog only if at least the maximum divided by this lies below it.
const MINIMUM_PART: u64 = 50;

/// A CernVM-FS repository to publish into.
pub struct Cvmfs {
    name: String,
    stratum0: Arc<Stratum0>,
    /// The newest revision when the repository was opened or when the last change began.
    newest: Mutex<Snapshot>,
}

impl Cvmfs {
    /// Makes a target of a repository. Without a `name` it is called by its own.
    ///
    /// # Errors
    /// If its newest revision cannot be read or trusted.
    pub fn open(stratum0: Stratum0, name: Option<&str>) -> Result<Self> {
        let newest = Mutex::new(stratum0.repository.snapshot()?);
        let name = name.unwrap_or(stratum0.repository.fqrn().as_str()).to_owned();
        Ok(Self { name, stratum0: Arc::new(stratum0), newest })
    }

    fn newest(&self) -> Snapshot {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn split(&self) -> Split {
        let maximum = u64::from(self.stratum0.catalog_entries.unwrap_or(CATALOG_ENTRIES));
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
        let locks = self.stratum0.lock()?;
        let session = self.stratum0.repository.begin()?;
        let base = self.stratum0.repository.snapshot()?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = base.clone();
        let area =
            Area::new(&self.name, Arc::clone(&self.stratum0), locks, session, base, self.split())?;
        Ok(Box::new(Change::new(area)))
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        let newest = self.newest();
        match newest.lookup(&tree_path(path))?.map(|entry| entry.kind) {
            None => Ok(None),
            Some(EntryKind::File(file)) => Ok(Some(newest.read(&file)?)),
            Some(_) => Err(Error::occupied(path, Occupant::NotAFile)),
        }
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        let entry = self.newest().lookup(&tree_path(path))?;
        Ok(entry.map(|entry| published(entry.kind)))
    }

    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>> {
        let path = directory.map_or(TreePath::ROOT, tree_path);
        let mut names = Vec::new();
        if let Some(directory) = self.newest().directory(&path)? {
            directory.for_each(&mut |child| {
                if let (false, Ok(name)) = (child.marker, String::from_utf8(child.name)) {
                    names.push((name, published(child.entry.kind)));
                }
                Ok(())
            })?;
        }
        Ok(names)
    }
}

fn published(kind: EntryKind) -> Published {
    match kind {
        EntryKind::Directory => Published::Directory,
        EntryKind::Symlink(target) => {
            Published::Symlink(String::from_utf8_lossy(&target).into_owned())
        }
        _ => Published::Other,
    }
}
