//! Directories that need not be looked up again.

use std::collections::HashMap;

use crate::layer::LayerPath;

/// How many directories are known. A tar comes directory by directory, so a few would do.
const CAPACITY: usize = 256;

/// Handles on directories that were in use.
pub(super) struct KnownDirectories<D> {
    handles: HashMap<LayerPath, D>,
    /// The directory of the previous entry.
    last: Option<(LayerPath, D)>,
}

impl<D: Copy> KnownDirectories<D> {
    pub(super) fn new() -> Self {
        Self { handles: HashMap::new(), last: None }
    }

    pub(super) fn get(&self, path: &LayerPath) -> Option<D> {
        self.handles.get(path).copied()
    }

    pub(super) fn insert(&mut self, path: LayerPath, handle: D) {
        if self.handles.len() == CAPACITY {
            self.handles.clear();
        }
        self.handles.insert(path, handle);
    }

    /// The directory of the previous entry, if it is this one.
    pub(super) fn last(&self, path: &LayerPath) -> Option<D> {
        self.last.as_ref().filter(|(last, _)| last == path).map(|(_, handle)| *handle)
    }

    pub(super) fn set_last(&mut self, path: LayerPath, handle: D) {
        self.last = Some((path, handle));
    }

    /// Forgets everything, because a directory was removed.
    pub(super) fn clear(&mut self) {
        self.handles.clear();
        self.last = None;
    }
}
