//! What is seen of directories that lie on each other.
//!
//! The rule is that of [`crate::tree`]. What a name is and what attributes it has depends only on the topmost
//! directory that has the name. So the names of a merged directory are handed out as they are read, source by
//! source, and only the names of the upper sources are kept in memory.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use cvmfs_repository::entry::{Entry, Links};

use super::read_directory::{Child, ReadDirectory};
use crate::repository::Result;
use crate::repository::cvmfs::attributes::{class, strip};
use crate::tree::{self, Listing, seen, stack};

/// A directory to which several trees contribute. Whiteouts and marks of overlayfs have been applied and are
/// not seen.
#[derive(Clone)]
pub(in super::super) struct Merged<D> {
    /// Topmost first.
    sources: Rc<[D]>,
    entry: Entry,
}

impl<D: ReadDirectory> Merged<D> {
    /// What is seen of trees, topmost first: an opaque root ends the stack. `bare` gives the attributes of
    /// the root if there is no tree.
    pub(in super::super) fn of(trees: Vec<D>, bare: Entry) -> Result<Self> {
        let mut classes = Vec::new();
        for (at, tree) in trees.iter().enumerate() {
            classes.push(Listing::from([(Vec::new(), (class(tree.entry())?, at))]));
        }
        let count = match seen(stack(classes)).into_values().next() {
            Some(tree::Merged::Directory { sources, .. }) => sources.len(),
            _ => 0,
        };
        let mut trees = trees;
        trees.truncate(count);
        Self::new(trees, bare)
    }

    fn new(sources: Vec<D>, bare: Entry) -> Result<Self> {
        let mut entry = sources.first().map_or(bare, |top| top.entry().clone());
        strip(&mut entry)?;
        Ok(Self { sources: sources.into(), entry })
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(super) fn for_each(&self, each: &mut dyn FnMut(Child) -> Result<()>) -> Result<()> {
        let mut above = HashSet::new();
        let mut groups = Groups::default();
        for (at, source) in self.sources.iter().enumerate() {
            let last = at + 1 == self.sources.len();
            source.for_each(&mut |child| {
                if above.contains(&child.name) {
                    return Ok(());
                }
                if !last {
                    above.insert(child.name.clone());
                }
                let Some(mut child) = shown(child)? else { return Ok(()) };
                if self.sources.len() > 1 {
                    groups.renumber(&mut child.entry, at);
                }
                each(child)
            })?;
        }
        Ok(())
    }

    /// One name. Its hard links are not given if there are several sources.
    pub(super) fn child(&self, name: &[u8]) -> Result<Option<Child>> {
        for source in self.sources.iter() {
            let Some(child) = source.child(name)? else { continue };
            let mut shown = shown(child)?;
            if let Some(child) = &mut shown
                && self.sources.len() > 1
            {
                child.entry.links = Links::ONE;
            }
            return Ok(shown);
        }
        Ok(None)
    }

    /// Goes into a directory; `None` if there is none.
    pub(super) fn enter(&self, name: &[u8]) -> Result<Option<Self>> {
        let mut listings = Vec::new();
        for (at, source) in self.sources.iter().enumerate() {
            if let Some(child) = source.child(name)? {
                listings.push(Listing::from([(Vec::new(), (class(&child.entry)?, at))]));
            }
        }
        let Some(tree::Merged::Directory { sources, .. }) =
            seen(stack(listings)).into_values().next()
        else {
            return Ok(None);
        };
        let mut below = Vec::with_capacity(sources.len());
        for at in sources {
            below.extend(self.sources[at].enter(name)?);
        }
        Ok(Some(Self::new(below, self.entry.clone())?))
    }

    /// The source, if there is a single one.
    pub(super) fn only(&self) -> Option<&D> {
        match &*self.sources {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// What is seen of a name; `child` is from the topmost directory that has it.
pub(super) fn shown(mut child: Child) -> Result<Option<Child>> {
    match tree::Merged::from((class(&child.entry)?, ())) {
        tree::Merged::Whiteout => return Ok(None),
        tree::Merged::Leaf(()) => {}
        tree::Merged::Directory { .. } => strip(&mut child.entry)?,
    }
    Ok(Some(child))
}

/// New numbers for the groups of hard links in one directory, since two sources may use the same ones.
#[derive(Default)]
struct Groups(HashMap<(usize, u32), u32>);

impl Groups {
    fn renumber(&mut self, entry: &mut Entry, source: usize) {
        if entry.links.group != 0 {
            let next = u32::try_from(self.0.len() + 1)
                .expect("a directory has fewer than 2^32 groups of hard links");
            entry.links.group = *self.0.entry((source, entry.links.group)).or_insert(next);
        }
    }
}
