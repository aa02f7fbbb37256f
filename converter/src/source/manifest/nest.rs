//! Indexes that lead to indexes.
//!
//! OCI image-spec, `image-index.md`: an index may list further ones. `docker buildx imagetools create` makes such ones of
//! images with attestations. One rule holds for all sources: what a nested index lists stands in its place, as far as
//! it matters. Nothing is read twice, and nobody is sent through endless indexes.

use std::collections::HashSet;

use layer_layout::{Digest, Platform};

use super::super::media_type::DocumentKind;
use super::{DocumentError, Index, IndexEntry, Parsed};

/// How deep indexes may be nested below the first. Tools make one level; nobody is known to make more than two.
const MAX_DEPTH: usize = 4;

/// The most indexes that are read for one image, so that small documents cannot ask for many requests.
const MAX_INDEXES: usize = 64;

/// An index whose nested indexes are being read.
#[derive(Debug)]
pub(in super::super) struct Nest {
    index: Index,
    /// How deep each entry is nested, in the order of the entries.
    depths: Vec<usize>,
    /// The entry that is looked at; all before it lead to manifests, or do not matter.
    at: usize,
    seen: HashSet<Digest>,
}

impl Nest {
    pub(in super::super) fn new(index: Index) -> Self {
        let depths = vec![0; index.entries.len()];
        Self { index, depths, at: 0, seen: HashSet::new() }
    }

    /// The next entry that leads to an index, or does not say to what it leads: what it leads to is to be given to
    /// [`Self::put`]. Entries for platforms that do not `matter` are passed over, and so is an index that has been read.
    pub(in super::super) fn next(
        &mut self,
        matters: impl Fn(&Platform) -> bool,
    ) -> Result<Option<&IndexEntry>, DocumentError> {
        loop {
            let Some(entry) = self.index.entries.get(self.at) else { return Ok(None) };
            let is_manifest = !entry.media_type.is_empty()
                && DocumentKind::of(&entry.media_type) != Some(DocumentKind::Index);
            let is_idle = entry.platform.as_ref().is_some_and(|platform| !matters(platform));
            if is_manifest || is_idle {
                self.at += 1;
                continue;
            }
            if !self.seen.insert(entry.digest) {
                self.take();
                continue;
            }
            if self.depths[self.at] >= MAX_DEPTH || self.seen.len() > MAX_INDEXES {
                return Err(DocumentError::TooDeep);
            }
            return Ok(self.index.entries.get(self.at));
        }
    }

    /// Puts what the entry of [`Self::next`] leads to in its place. What does not say for which platform it is, is for
    /// that of the index.
    pub(in super::super) fn put(&mut self, parsed: Parsed, media_type: &str) {
        let nested = match parsed {
            Parsed::Index(nested) => nested,
            Parsed::Manifest(_) => {
                media_type.clone_into(&mut self.index.entries[self.at].media_type);
                self.at += 1;
                return;
            }
        };
        let (outer, depth) = self.take();
        let inherit = |mut entry: IndexEntry| {
            entry.platform = entry.platform.or_else(|| outer.platform.clone());
            entry
        };
        self.depths.splice(self.at..self.at, nested.entries.iter().map(|_| depth + 1));
        let entries = nested.entries.into_iter().map(inherit);
        self.index.entries.splice(self.at..self.at, entries);
        self.index.unusable.extend(nested.unusable);
    }

    fn take(&mut self) -> (IndexEntry, usize) {
        (self.index.entries.remove(self.at), self.depths.remove(self.at))
    }

    /// The index without nested ones that matter.
    pub(in super::super) fn finish(self) -> Index {
        self.index
    }
}
