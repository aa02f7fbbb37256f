//! Paths through symlinks of the layer itself.

use std::collections::VecDeque;

use super::apply::{LayerRules, Way, name_in};
use super::store::LayerStore;
use crate::layer::{Entry, Kind, LayerPath};
use crate::repository::byte_path::components;
use crate::repository::parents::lookup::MAX_SYMLINKS;
use crate::repository::{EntryError, Error, Result};

impl<S: LayerStore> LayerRules<S> {
    /// The entry with the path that it has when the symlinks above it are followed, and a hard link with such a target.
    pub(super) fn follow(&mut self, entry: &Entry) -> Result<Entry> {
        let refused = |reason| Error::entry(&entry.path, reason);
        // An opaque mark is on a directory, which may be a symlink itself.
        let path = match entry.kind {
            Kind::Opaque => self.resolved(&entry.path)?,
            _ => self.with_resolved_parent(&entry.path)?,
        };
        let path = path.map_err(refused)?;
        let kind = match &entry.kind {
            Kind::HardLink { target } => {
                Kind::HardLink { target: self.with_resolved_parent(target)?.map_err(refused)? }
            }
            kind => kind.clone(),
        };
        Ok(Entry { path, kind, metadata: entry.metadata.clone() })
    }

    /// The path with a directory above it that is none of the layer's symlinks, and lies below none.
    pub(super) fn with_resolved_parent(
        &mut self,
        path: &LayerPath,
    ) -> Result<Result<LayerPath, EntryError>> {
        let Some((parent, name)) = path.split() else { return Ok(Ok(LayerPath::ROOT)) };
        Ok(self.resolved(&parent)?.and_then(|parent| storable(&parent.join(name))))
    }

    /// Where a path leads when the layer's symlinks in it are followed, with the layer's root as `/`. Names that the layer
    /// does not have stay as they are.
    fn resolved(&mut self, path: &LayerPath) -> Result<Result<LayerPath, EntryError>> {
        let mut at = LayerPath::ROOT;
        let mut names: VecDeque<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        let mut followed = 0;
        while let Some(name) = names.pop_front() {
            if name == b".." {
                at = at.split().map_or(LayerPath::ROOT, |(parent, _)| parent);
                continue;
            }
            let next = at.join(&name);
            let Some(target) = self.symlink(&next)? else {
                at = next;
                continue;
            };
            followed += 1;
            if followed > MAX_SYMLINKS {
                return Ok(Err(EntryError::SymlinkLoop));
            }
            if target.starts_with(b"/") {
                at = LayerPath::ROOT;
            }
            for name in components(&target).rev().filter(|name| *name != b".") {
                names.push_front(name.to_vec());
            }
        }
        Ok(storable(&at))
    }

    /// The target of the layer's symlink at a path that goes through directories alone; `None` if none is there.
    fn symlink(&mut self, path: &LayerPath) -> Result<Option<Vec<u8>>> {
        let Some((parent, _)) = path.split() else { return Ok(None) };
        match self.walk(&parent)? {
            Way { directory, missing } if missing.is_empty() => match name_in(directory, path) {
                Some(at) => self.store.symlink(at),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// A path that was put together, if Linux can store it.
fn storable(path: &LayerPath) -> Result<LayerPath, EntryError> {
    LayerPath::clean(path.as_bytes()).map_err(|_| EntryError::SymlinkLoop)
}
