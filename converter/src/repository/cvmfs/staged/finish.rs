//! What the marks of a layer mean for its directories, once all entries are known.
//!
//! - A removed name that the layer has itself is no whiteout; if it is a directory, it is opaque. A whiteout
//!   where nothing lower is seen is dropped: overlayfs would show a name that cannot be looked at.
//! - A whiteout has mode 0, owner 0:0 and time 0, so that a layer is always unpacked alike.

use std::path::Path;
use std::vec::IntoIter;

use cvmfs_repository::catalog::MARKER;

use super::Staged;
use super::database::{Attributes, DESCRIBED, Inode, OPAQUE, ROOT};
use super::layer::Layer;
use crate::layer::LayerPath;
use crate::repository::{EntryError, Error, OpenEnds, Result};

/// Mode of a directory that no entry describes: what container engines make.
const IMPLIED_MODE: u32 = 0o755;

/// The attributes of a directory that no entry describes.
pub(in super::super) fn implied() -> Attributes {
    Attributes { mode: IMPLIED_MODE, ..Attributes::default() }
}

/// A layer that is unpacked.
pub(in super::super) struct Finished {
    pub(in super::super) tree: Staged,
    pub(in super::super) open_ends: OpenEnds,
}

/// A hard link to a lower layer: directory, name, target.
type LowerLink = (LayerPath, Vec<u8>, LayerPath);

/// A directory on the way down, with the subdirectories that are still to be visited.
struct Frame {
    path: LayerPath,
    number: i64,
    /// Whether nothing of the lower layers is seen in it.
    covered: bool,
    below: IntoIter<(Vec<u8>, i64, i64)>,
}

impl Layer {
    /// Ends the layer, whose database is at `path`.
    pub(in super::super) fn finish(mut self, path: &Path) -> Result<Finished> {
        let lower_links = self.lower_links()?;
        let implied_directories = self.settle_directories()?;
        self.database.commit()?;
        let lower_links = lower_links
            .into_iter()
            .map(|(directory, name, target)| (directory.join(&name), target))
            .collect();
        let open_ends = OpenEnds { implied_directories, lower_links };
        Ok(Finished { tree: Staged::new(path, self.next), open_ends })
    }

    /// Goes through all directories, each before those in it. `visit` tells whether nothing of the lower
    /// layers is seen in the directory.
    fn for_each_directory(
        &mut self,
        visit: &mut dyn FnMut(&mut Self, &Visited<'_>) -> Result<bool>,
    ) -> Result<()> {
        let flags = self.database.root()?.flags;
        let root = Visited { path: &LayerPath::ROOT, number: ROOT, flags, above: Above::Nothing };
        let covered = visit(self, &root)?;
        let below = self.database.directories(ROOT)?.into_iter();
        let mut frames = vec![Frame { path: LayerPath::ROOT, number: ROOT, covered, below }];
        while let Some(frame) = frames.last_mut() {
            let Some((name, number, flags)) = frame.below.next() else {
                frames.pop();
                continue;
            };
            let path = frame.path.join(&name);
            let above = match frame.covered {
                true => Above::Covered,
                false => Above::Open(frame.number),
            };
            let covered = visit(self, &Visited { path: &path, number, flags, above })?;
            let below = self.database.directories(number)?.into_iter();
            frames.push(Frame { path, number, covered, below });
        }
        Ok(())
    }

    /// The hard links to lower layers, after a look that this layer does not hide their targets. Sorted by
    /// directory and name.
    fn lower_links(&mut self) -> Result<Vec<LowerLink>> {
        let mut links: Vec<LowerLink> = Vec::new();
        if !self.has_lower_links {
            return Ok(links);
        }
        self.for_each_directory(&mut |layer, directory| {
            for (name, target) in layer.database.lower_links(directory.number)? {
                let target = LayerPath::clean(&target).unwrap_or_default();
                links.push((directory.path.clone(), name, target));
            }
            Ok(false)
        })?;
        links.sort();
        // The lower file gets its own name in this layer, too, as overlayfs would have it.
        for (directory, name, target) in &links {
            if let Some((parent, _)) = target.split() {
                self.ensure_directory(&directory.join(name), &parent)?;
            }
        }
        for (directory, name, target) in &links {
            if self.hides(target)? {
                let reason = EntryError::LinkToNothing(target.clone());
                return Err(Error::entry(&directory.join(name), reason));
            }
        }
        Ok(links)
    }

    /// Whether the layer keeps a path of the lower layers from being seen.
    fn hides(&mut self, path: &LayerPath) -> Result<bool> {
        let mut directory = self.database.root()?;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            if directory.flags & OPAQUE != 0 || self.database.is_removed(directory.number, name)? {
                return Ok(true);
            }
            match self.database.find(directory.number, name)? {
                Some(inode) if names.peek().is_some() => directory = inode,
                _ => break,
            }
        }
        Ok(false)
    }

    /// Puts whiteouts and opaque marks where they belong. Gives the directories that only the layers below
    /// can tell about, sorted.
    fn settle_directories(&mut self) -> Result<Vec<LayerPath>> {
        let mut open = Vec::new();
        self.for_each_directory(&mut |layer, &Visited { path, number, flags, above }| {
            let database = &layer.database;
            let mut covered = above == Above::Covered || flags & OPAQUE != 0;
            let mut replacing = false;
            if let (Above::Open(parent), Some((_, name))) = (above, path.split())
                && database.is_removed(parent, name)?
            {
                database.flag(parent, name, OPAQUE)?;
                (covered, replacing) = (true, true);
            }
            if flags & DESCRIBED == 0 && above != Above::Covered && !replacing && !path.is_root() {
                open.push(path.clone());
            }
            if !covered {
                // The format keeps that name for itself, so no lower layer has it.
                for name in database.removed(number)?.iter().filter(|name| *name != MARKER) {
                    let whiteout = Inode::whiteout(layer.next);
                    layer.next += 1;
                    database.insert(number, name, &whiteout)?;
                }
            }
            if layer.has_lower_links {
                database.remove_lower_links(number)?;
            }
            Ok(covered)
        })?;
        open.sort();
        Ok(open)
    }
}

/// A directory that is looked at.
struct Visited<'a> {
    path: &'a LayerPath,
    number: i64,
    flags: i64,
    above: Above,
}

/// What is known of the directory that holds another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    /// There is none: the other is the root.
    Nothing,
    /// Nothing of the lower layers is seen in it.
    Covered,
    /// Something may be; its number.
    Open(i64),
}
