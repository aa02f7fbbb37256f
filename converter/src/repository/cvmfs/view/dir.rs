//! A directory of any tree.

use cvmfs_repository::entry::Entry;
use cvmfs_repository::snapshot::{self, Directory};

use super::merged::Merged;
use super::read_directory::{Child, ReadDirectory};
use crate::repository::Result;
use crate::repository::cvmfs::staged;

/// A directory, wherever it is.
#[derive(Clone)]
pub(in super::super) enum Dir {
    /// Of a tree in a scratch database.
    Staged(staged::View),
    /// In the repository.
    Published(Directory),
    /// Several over each other.
    Merged(Merged<Self>),
}

impl ReadDirectory for Dir {
    fn entry(&self) -> &Entry {
        match self {
            Self::Staged(view) => view.entry(),
            Self::Published(directory) => directory.entry(),
            Self::Merged(merged) => merged.entry(),
        }
    }

    fn for_each(&self, each: &mut dyn FnMut(Child) -> Result<()>) -> Result<()> {
        match self {
            Self::Staged(view) => view.for_each(each),
            Self::Published(directory) => for_each(directory, each),
            Self::Merged(merged) => merged.for_each(each),
        }
    }

    fn child(&self, name: &[u8]) -> Result<Option<Child>> {
        match self {
            Self::Staged(view) => view.child(name),
            Self::Published(directory) => Ok(directory.child(name)?.and_then(child)),
            Self::Merged(merged) => merged.child(name),
        }
    }

    fn enter(&self, name: &[u8]) -> Result<Option<Self>> {
        Ok(match self {
            Self::Staged(view) => view.enter(name)?.map(Self::Staged),
            Self::Published(directory) => match directory.child(name)? {
                Some(child) if child.entry.is_directory() => {
                    Some(Self::Published(directory.open(&child)?))
                }
                _ => None,
            },
            Self::Merged(merged) => merged.enter(name)?.map(unwrapped),
        })
    }
}

/// A merged directory with a single source that is merged itself is that source.
fn unwrapped(merged: Merged<Dir>) -> Dir {
    match merged.only() {
        Some(only @ Dir::Merged(_)) => only.clone(),
        _ => Dir::Merged(merged),
    }
}

/// What counts as part of a published tree.
fn child(child: snapshot::Child) -> Option<Child> {
    (!child.marker).then_some(Child { name: child.name, entry: child.entry })
}

fn for_each(directory: &Directory, each: &mut dyn FnMut(Child) -> Result<()>) -> Result<()> {
    let mut result = Ok(());
    directory.for_each(&mut |found| {
        if let (Ok(()), Some(found)) = (&result, child(found)) {
            result = each(found);
        }
        Ok(())
    })?;
    result
}
