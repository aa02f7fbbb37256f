//! Reading a tree.

use std::rc::Rc;

use cvmfs_repository::entry::{self, Entry, File, Links};

use super::Staged;
use super::database::{Database, Inode, InodeKind, LINKED, OPAQUE};
use crate::repository::Result;
use crate::repository::cvmfs::attributes::mark_opaque;
use crate::repository::cvmfs::view::Child;

/// A directory of a tree. Every tree that is opened has a connection of its own, so that
/// threads can read beside each other.
#[derive(Clone)]
pub(in super::super) struct View {
    open: Rc<Open>,
    number: i64,
    entry: Entry,
}

struct Open {
    database: Database,
    /// What empty files hold.
    empty: Option<File>,
}

impl Staged {
    /// Opens the root directory of a tree that nobody changes any more.
    pub(in super::super) fn view(&self) -> Result<View> {
        View::of(Database::read(&self.place.0)?)
    }

    /// Opens the root directory of a tree that is being changed. What is seen of directories that are
    /// open already is what they were.
    pub(in super::super) fn watch(&self) -> Result<View> {
        View::of(Database::watch(&self.place.0)?)
    }
}

impl Open {
    /// A name in the words of the format.
    fn entry(&self, inode: Inode, file: Option<File>) -> Result<Entry> {
        if inode.kind == InodeKind::Directory {
            return own_entry(inode);
        }
        let file = match (inode.kind, inode.value) {
            (InodeKind::File, 0) if file.is_none() => self.empty.clone(),
            _ => file,
        };
        let mut links = Links::ONE;
        if inode.flags & LINKED != 0 {
            links.group = u32::try_from(inode.number).expect("no tree has 4 billion inodes");
        }
        let number = inode.number;
        inode.entry(file, links).ok_or_else(|| self.database.incomplete(number))
    }
}

/// A directory's attributes with the marks of overlayfs.
fn own_entry(inode: Inode) -> Result<Entry> {
    let opaque = inode.flags & OPAQUE != 0;
    let mut entry = inode.attributes.entry(entry::EntryKind::Directory);
    if opaque {
        mark_opaque(&mut entry)?;
    }
    Ok(entry)
}

impl View {
    fn of(database: Database) -> Result<Self> {
        let (root, empty) = (database.root()?, database.empty()?);
        let number = root.number;
        Ok(Self { open: Rc::new(Open { database, empty }), number, entry: own_entry(root)? })
    }

    /// Its own attributes.
    pub(in super::super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Hands out all names, sorted.
    pub(in super::super) fn for_each(
        &self,
        each: &mut dyn FnMut(Child) -> Result<()>,
    ) -> Result<()> {
        self.open.database.for_each(self.number, &mut |name, inode, file| {
            let entry = self.open.entry(inode, file)?;
            each(Child { name, entry })
        })
    }

    /// One name.
    pub(in super::super) fn child(&self, name: &[u8]) -> Result<Option<Child>> {
        let Some(inode) = self.open.database.find(self.number, name)? else { return Ok(None) };
        let file = match inode.kind {
            InodeKind::File => self.open.database.content(inode.number)?,
            _ => None,
        };
        let entry = self.open.entry(inode, file)?;
        Ok(Some(Child { name: name.to_vec(), entry }))
    }

    /// Goes into a directory; `None` if there is none.
    pub(in super::super) fn enter(&self, name: &[u8]) -> Result<Option<Self>> {
        match self.open.database.find(self.number, name)? {
            Some(inode) if inode.kind == InodeKind::Directory => {
                let number = inode.number;
                Ok(Some(Self { open: Rc::clone(&self.open), number, entry: own_entry(inode)? }))
            }
            _ => Ok(None),
        }
    }
}
