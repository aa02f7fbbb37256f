//! What every directory of a tree can be asked.

use cvmfs_repository::entry::Entry;

use crate::repository::Result;

/// A directory of a tree, wherever it is. One thread reads it.
pub(in super::super) trait ReadDirectory: Clone {
    /// Its own attributes.
    fn entry(&self) -> &Entry;

    /// Hands out all names, in any order. `each` must not read the same tree.
    fn for_each(&self, each: &mut dyn FnMut(Child) -> Result<()>) -> Result<()>;

    /// One name; `None` if there is none.
    fn child(&self, name: &[u8]) -> Result<Option<Child>>;

    /// Goes into a directory; `None` if there is none.
    fn enter(&self, name: &[u8]) -> Result<Option<Self>>;
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Child {
    pub(in super::super) name: Vec<u8>,
    /// What it is. Names in one directory with the same group of hard links are names of one inode; the
    /// number of links is not given.
    pub(in super::super) entry: Entry,
}
