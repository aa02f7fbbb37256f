//! Writing trees into catalogs.
//!
//! A layer, the merged root and the flat root are mostly the same: of an image with one layer all three, of any image the
//! two roots. So what they have in common is read once, and written for each.

use std::collections::BTreeSet;

use cvmfs_repository::catalog::{CatalogSink, NestedTree, Split, TreeWriter};
use cvmfs_repository::entry::Entry;
use cvmfs_repository::path::TreePath;

use super::dir::Dir;
use super::merged::{Merged, shown};
use super::read_directory::{Child, ReadDirectory};
use crate::repository::Result;
use crate::repository::cvmfs::attributes::strip;

/// Where and how a tree is written.
pub(in super::super) struct Destination {
    pub(in super::super) mount: TreePath,
    pub(in super::super) sink: CatalogSink,
    pub(in super::super) split: Split,
    /// The time of the catalogs, in seconds since 1970.
    pub(in super::super) modified: i64,
}

/// A tree, and what else is written while it is read.
pub(in super::super) struct Walk {
    pub(in super::super) tree: Dir,
    pub(in super::super) destination: Destination,
    /// Where what is seen of the tree is written: without whiteouts and marks of overlayfs.
    pub(in super::super) seen: Option<Destination>,
    /// A tree that lies on it, and where what is seen of both is written.
    pub(in super::super) above: Option<(Dir, Destination)>,
}

/// What was written in a walk.
pub(in super::super) struct Written {
    pub(in super::super) tree: NestedTree,
    pub(in super::super) seen: Option<NestedTree>,
    pub(in super::super) above: Option<NestedTree>,
}

/// Writes trees, except for the name that the format reserves.
///
/// A directory's subdirectories are visited after all its names have been read, so of a directory with a
/// million names only the names of its subdirectories are in memory.
pub(in super::super) fn write(walk: Walk) -> Result<Written> {
    let Walk { tree, destination, seen, above } = walk;
    let begin = |destination: Destination, root: Entry| {
        let Destination { mount, sink, split, modified } = destination;
        TreeWriter::new(sink, mount, root, split, modified)
    };
    let seen_root = seen_of(&tree)?;
    let (above, differing) = match above {
        Some((additions, destination)) => {
            let seen = Dir::Merged(Merged::of(vec![tree.clone()], seen_root.clone())?);
            let layers = vec![additions.clone(), seen];
            let merged = Dir::Merged(Merged::of(layers, seen_root.clone())?);
            let writer = begin(destination, merged.entry().clone())?;
            (Some(writer), Some(Differing { merged, additions }))
        }
        None => (None, None),
    };
    let mut writers = Writers {
        tree: begin(destination, tree.entry().clone())?,
        seen: seen.map(|destination| begin(destination, seen_root)).transpose()?,
        above,
    };
    let mut way = vec![writers.names(Place { common: Some(tree), differing, is_same: false })?];
    while let Some((place, below)) = way.last_mut() {
        let Some(name) = below.next() else {
            writers.leave(way.pop().map(|(place, _)| place).filter(|_| !way.is_empty()))?;
            continue;
        };
        let entered = place.enter(&name)?;
        writers.enter(&name, &entered)?;
        way.push(writers.names(entered)?);
    }
    let Writers { tree, seen, above } = writers;
    Ok(Written {
        tree: tree.finish()?,
        seen: seen.map(TreeWriter::finish).transpose()?,
        above: above.map(TreeWriter::finish).transpose()?,
    })
}

/// A directory's attributes without marks of overlayfs.
fn seen_of(directory: &Dir) -> Result<Entry> {
    let mut entry = directory.entry().clone();
    strip(&mut entry)?;
    Ok(entry)
}

/// A directory at one path of all trees.
struct Place {
    /// What is read for all of them.
    common: Option<Dir>,
    /// What is seen with the additions, where that is something else.
    differing: Option<Differing>,
    /// Whether it is the same with the additions, because there are none here.
    is_same: bool,
}

struct Differing {
    merged: Dir,
    additions: Dir,
}

impl Place {
    fn enter(&self, name: &[u8]) -> Result<Self> {
        let common = match &self.common {
            Some(common) => common.enter(name)?,
            None => None,
        };
        let Some(Differing { merged, additions }) = &self.differing else {
            let is_same = self.is_same && common.is_some();
            return Ok(Self { common, differing: None, is_same });
        };
        if common.is_some() && additions.child(name)?.is_none() {
            return Ok(Self { common, differing: None, is_same: true });
        }
        let differing = match (merged.enter(name)?, additions.enter(name)?) {
            (Some(merged), Some(additions)) => Some(Differing { merged, additions }),
            _ => None,
        };
        Ok(Self { common, differing, is_same: false })
    }
}

/// The trees that are being written.
struct Writers {
    tree: TreeWriter,
    seen: Option<TreeWriter>,
    above: Option<TreeWriter>,
}

impl Writers {
    /// Enters a directory in those trees that have it.
    fn enter(&mut self, name: &[u8], place: &Place) -> Result<()> {
        if let Some(common) = &place.common {
            self.tree.enter(name, common.entry().clone())?;
            if self.seen.is_some() || place.is_same {
                let entry = seen_of(common)?;
                if let Some(seen) = &mut self.seen {
                    seen.enter(name, entry.clone())?;
                }
                if let (Some(above), true) = (&mut self.above, place.is_same) {
                    above.enter(name, entry)?;
                }
            }
        }
        if let (Some(above), Some(Differing { merged, .. })) = (&mut self.above, &place.differing) {
            above.enter(name, merged.entry().clone())?;
        }
        Ok(())
    }

    /// Leaves it.
    fn leave(&mut self, place: Option<Place>) -> Result<()> {
        let Some(place) = place else { return Ok(()) };
        if place.common.is_some() {
            self.tree.leave()?;
            if let Some(seen) = &mut self.seen {
                seen.leave()?;
            }
        }
        if let (Some(above), true) = (&mut self.above, place.is_same || place.differing.is_some()) {
            above.leave()?;
        }
        Ok(())
    }

    /// Writes everything in a directory but its subdirectories, and returns the names of these.
    fn names(&mut self, place: Place) -> Result<(Place, std::vec::IntoIter<Vec<u8>>)> {
        let mut below = Vec::new();
        if let Some(common) = &place.common {
            common.for_each(&mut |child| {
                if child.entry.is_directory() {
                    below.push(child.name);
                    return Ok(());
                }
                self.tree.leaf(&child.name, &child.entry)?;
                if self.seen.is_some() || place.is_same {
                    self.seen_leaf(child, place.is_same)?;
                }
                Ok(())
            })?;
        }
        if let (Some(above), Some(Differing { merged, .. })) = (&mut self.above, &place.differing) {
            let mut more = BTreeSet::new();
            merged.for_each(&mut |child| {
                if child.entry.is_directory() {
                    more.insert(child.name);
                    return Ok(());
                }
                Ok(above.leaf(&child.name, &child.entry)?)
            })?;
            more.extend(below);
            below = more.into_iter().collect();
        }
        Ok((place, below.into_iter()))
    }

    /// Writes what is no directory for those who see it.
    fn seen_leaf(&mut self, child: Child, is_same: bool) -> Result<()> {
        let Some(Child { name, entry }) = shown(child)? else { return Ok(()) };
        if let Some(seen) = &mut self.seen {
            seen.leaf(&name, &entry)?;
        }
        if let (Some(above), true) = (&mut self.above, is_same) {
            above.leaf(&name, &entry)?;
        }
        Ok(())
    }
}
