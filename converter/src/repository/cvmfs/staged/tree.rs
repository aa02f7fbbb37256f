//! Changing a tree by paths.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cvmfs_repository::entry::Entry;

use super::database::{Attributes, Database, Inode, InodeKind, LINKED, OUTSIDE, ROOT};
use super::{Place, Staged};
use crate::repository::Result;
use crate::repository::byte_path::{components, split};

/// A tree that is being changed. Paths are relative to its root; nothing is followed.
pub(in super::super) struct Tree {
    database: Database,
    next: Arc<AtomicI64>,
}

/// A name with the number of its directory.
type NumberedName<'p> = (i64, &'p [u8]);

impl Staged {
    /// Makes a tree of nothing but its root directory, in a database at `path`.
    pub(in super::super) fn create(path: &Path, root: &Attributes) -> Result<Self> {
        Database::create(path, root)?;
        Ok(Self::new(Place(path.to_owned()), ROOT + 1))
    }

    /// Opens the tree to change it. Nobody else must at the same time.
    pub(in super::super) fn change(&self) -> Result<Tree> {
        Ok(Tree { database: Database::open(&self.place.0)?, next: Arc::clone(&self.next) })
    }
}

impl Tree {
    /// Does many changes, of which readers see all or nothing.
    pub(in super::super) fn at_once<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.database.begin()?;
        let done = change(self)?;
        self.database.commit()?;
        Ok(done)
    }

    /// What is at a path; the root, too.
    pub(super) fn find(&self, path: &[u8]) -> Result<Option<Inode>> {
        let mut at = self.database.root()?;
        for name in components(path) {
            if at.kind != InodeKind::Directory {
                return Ok(None);
            }
            match self.database.find(at.number, name)? {
                Some(inode) => at = inode,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Where a path is in the database; `None` for the root and if its directory is not there.
    fn at<'p>(&self, path: &'p [u8]) -> Result<Option<NumberedName<'p>>> {
        let (parent, name) = split(path);
        if name.is_empty() {
            return Ok(None);
        }
        Ok(self.find(parent)?.map(|parent| (parent.number, name)))
    }

    /// Whether there is a directory.
    pub(in super::super) fn is_directory(&self, path: &[u8]) -> Result<bool> {
        Ok(self.find(path)?.is_some_and(|inode| inode.kind == InodeKind::Directory))
    }

    /// Makes a directory in place of what is there. That it is to stand in has to be there.
    pub(in super::super) fn make_directory(
        &mut self,
        path: &[u8],
        attributes: Attributes,
    ) -> Result<()> {
        let inode = Inode::directory(self.number(), attributes, 0);
        self.put_inodes(&[path], &inode)
    }

    /// Puts one file or the like at several paths, in place of what is there.
    pub(in super::super) fn put(&mut self, paths: &[&[u8]], entry: Entry) -> Result<()> {
        let (mut inode, file) = Inode::of(self.number(), entry);
        if let Some(file) = file {
            self.database.set_content(inode.number, &file)?;
        }
        if paths.len() > 1 {
            inode.flags |= LINKED;
        }
        self.put_inodes(paths, &inode)
    }

    /// Gives one that has been [`put`](Self::put) another name.
    pub(super) fn link(&mut self, to: &[u8], path: &[u8]) -> Result<()> {
        let (Some(mut inode), Some((parent, name))) = (self.find(to)?, self.at(to)?) else {
            return Ok(());
        };
        self.database.flag(parent, name, LINKED)?;
        inode.flags |= LINKED;
        self.put_inodes(&[path], &inode)
    }

    fn put_inodes(&mut self, paths: &[&[u8]], inode: &Inode) -> Result<()> {
        for path in paths {
            self.remove(path)?;
            if let Some((parent, name)) = self.at(path)? {
                self.database.insert(parent, name, inode)?;
            }
        }
        Ok(())
    }

    fn number(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Gives a directory other attributes; an opaque mark stays.
    pub(in super::super) fn dress(&mut self, path: &[u8], attributes: &Attributes) -> Result<()> {
        let (parent, name) = self.at(path)?.unwrap_or((OUTSIDE, b""));
        self.database.update(parent, name, attributes, 0)
    }

    /// Removes what is at a path, with all in it.
    pub(super) fn remove(&mut self, path: &[u8]) -> Result<()> {
        if let (Some(inode), Some((parent, name))) = (self.find(path)?, self.at(path)?) {
            self.database.remove(parent, name, &inode)?;
        }
        Ok(())
    }
}
