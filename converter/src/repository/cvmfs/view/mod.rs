//! Trees to read, wherever they are: in a scratch database, in the repository, or several over each other.
//!
//! | file | what it is for |
//! |---|---|
//! | `merged` | what is seen of trees that lie on each other |
//! | `lower` | the layers that a layer lies on |
//! | `write` | writing what is seen into catalogs |

mod lower;
mod merged;
mod write;

use cvmfs_repository::entry::Entry;
use cvmfs_repository::snapshot::{self, Directory};

pub(super) use lower::{Identity, Lower};
pub(super) use merged::Merged;
pub(super) use write::{Destination, write};

use super::staged;
use crate::repository::{Error, Result};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) name: Vec<u8>,
    /// What it is. Names of one directory with the same group of hard links are names of one inode; how many
    /// there are is not told.
    pub(super) entry: Entry,
}

/// A directory that is read by one thread.
#[derive(Clone)]
pub(super) enum Dir {
    /// Of a tree in a scratch database.
    Staged(staged::View),
    /// In the repository.
    Published(Directory),
    /// Several over each other.
    Merged(Merged),
}

impl Dir {
    /// Its own attributes.
    pub(super) fn entry(&self) -> &Entry {
        match self {
            Self::Staged(view) => view.entry(),
            Self::Published(directory) => directory.entry(),
            Self::Merged(merged) => merged.entry(),
        }
    }

    /// Hands out all names, in any order. `each` must not read the same tree.
    pub(super) fn for_each(&self, each: &mut dyn FnMut(Child) -> Result<()>) -> Result<()> {
        match self {
            Self::Staged(view) => view.for_each(each),
            Self::Published(directory) => for_each(directory, each),
            Self::Merged(merged) => merged.for_each(each),
        }
    }

    /// One name; `None` if there is none.
    pub(super) fn child(&self, name: &[u8]) -> Result<Option<Child>> {
        match self {
            Self::Staged(view) => view.child(name),
            Self::Published(directory) => Ok(directory.child(name)?.and_then(child)),
            Self::Merged(merged) => merged.child(name),
        }
    }

    /// Goes into a directory; `None` if there is none.
    pub(super) fn enter(&self, name: &[u8]) -> Result<Option<Self>> {
        Ok(match self {
            Self::Staged(view) => view.enter(name)?.map(Self::Staged),
            Self::Published(directory) => match directory.child(name)? {
                Some(child) if child.entry.is_directory() => {
                    Some(Self::Published(directory.open(&child)?))
                }
                _ => None,
            },
            Self::Merged(merged) => merged.enter(name)?,
        })
    }
}

/// What counts as part of a published tree.
fn child(child: snapshot::Child) -> Option<Child> {
    (!child.marker).then_some(Child { name: child.name, entry: child.entry })
}

fn for_each(directory: &Directory, each: &mut dyn FnMut(Child) -> Result<()>) -> Result<()> {
    let mut failure = None;
    let read = directory.for_each(&mut |found| match child(found).map(&mut *each) {
        None | Some(Ok(())) => Ok(()),
        Some(Err(error)) => {
            failure = Some(error);
            Err(cvmfs_repository::Error::Stopped("stopped".to_owned()))
        }
    });
    match failure {
        Some(error) => Err(error),
        None => read.map_err(Error::from),
    }
}
