//! Hard links to what the layer does not have: it comes later, or it is a file of a lower layer.

use std::collections::{BTreeMap, HashSet};

use crate::layer::LayerPath;

/// Names of links whose target the layer does not have, with the target. Nothing stands at such a name.
#[derive(Debug, Default)]
pub(super) struct LowerLinks {
    by_directory: BTreeMap<LayerPath, BTreeMap<Vec<u8>, LayerPath>>,
}

impl LowerLinks {
    /// Where the link leads, if there is one of this name.
    pub(super) fn get(&self, path: &LayerPath) -> Option<&LayerPath> {
        // Most layers have none.
        if self.by_directory.is_empty() {
            return None;
        }
        let (directory, name) = path.split()?;
        self.by_directory.get(&directory)?.get(name)
    }

    pub(super) fn insert(&mut self, path: &LayerPath, target: LayerPath) {
        if let Some((directory, name)) = path.split() {
            self.by_directory.entry(directory).or_default().insert(name.to_vec(), target);
        }
    }

    /// Forgets a link, because the name becomes something else.
    pub(super) fn remove(&mut self, path: &LayerPath) {
        if self.by_directory.is_empty() {
            return;
        }
        if let Some((directory, name)) = path.split()
            && let Some(links) = self.by_directory.get_mut(&directory)
        {
            links.remove(name);
            if links.is_empty() {
                self.by_directory.remove(&directory);
            }
        }
    }

    /// Forgets all links in a directory and below it, because the directory is removed.
    pub(super) fn remove_below(&mut self, directory: &LayerPath) {
        let inside = directory.join(b"");
        self.by_directory
            .retain(|path, _| path != directory && !path.as_bytes().starts_with(inside.as_bytes()));
    }

    /// All links, sorted by directory and name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LayerPath, &LayerPath)> {
        self.by_directory.iter().flat_map(|(directory, links)| {
            links.iter().map(move |(name, target)| (directory.join(name), target))
        })
    }

    /// All links, each with what it means if links among them are followed.
    pub(super) fn with_last_targets(&self) -> Vec<(LayerPath, LayerPath)> {
        self.iter().map(|(path, target)| (path, self.last_target(target).clone())).collect()
    }

    fn last_target<'a>(&'a self, mut target: &'a LayerPath) -> &'a LayerPath {
        // Links in a circle lead to a file of a lower layer at most.
        let mut seen = HashSet::from([target]);
        while let Some(next) = self.get(target).filter(|next| seen.insert(next)) {
            target = next;
        }
        target
    }
}
