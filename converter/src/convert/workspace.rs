//! What the images of a batch are prepared with, and what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use layer_layout::record::ParentRecord;
use layer_layout::{DiffId, LayerDigest, RepositoryPath, path};

use super::pool::Pool;
use crate::Result;
use crate::notification::Notifications;
use crate::repository::{OpenEnds, Repository, SharedTransaction};

/// A transaction, and what the images of a batch have prepared in it for each other.
pub(super) struct Workspace {
    pub(super) repository: Arc<dyn Repository>,
    pub(super) transaction: SharedTransaction,
    /// Trees that are made once.
    pub(super) pool: Pool,
    /// Who is told of layers.
    pub(super) notifications: Notifications,
    layers: Mutex<Layers>,
}

/// The layers that a batch has unpacked and not yet published.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// By their paths.
    pub(super) unpacked: BTreeMap<RepositoryPath, Unpacked>,
    /// What `parent.json` will say of those for all images that are completed, if anything.
    pub(super) records: BTreeMap<LayerDigest, Option<ParentRecord>>,
    /// Those for a single chain that are completed.
    pub(super) variants: BTreeSet<RepositoryPath>,
}

/// A layer that is unpacked and verified.
#[derive(Debug, Clone)]
pub(super) struct Unpacked {
    pub(super) diff_id: DiffId,
    /// Size of the uncompressed tar in bytes.
    pub(super) bytes: u64,
    pub(super) open_ends: OpenEnds,
}

impl Workspace {
    pub(super) fn new(
        repository: Arc<dyn Repository>,
        transaction: SharedTransaction,
        notifications: Notifications,
    ) -> Self {
        let (pool, layers) = (Pool::default(), Mutex::default());
        Self { repository, transaction, pool, notifications, layers }
    }

    pub(super) fn layers(&self) -> MutexGuard<'_, Layers> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is nothing at a path, published or prepared.
    pub(super) fn is_absent(&self, path: &RepositoryPath) -> Result<bool> {
        Ok(self.transaction.lookup(path)?.is_none())
    }

    /// Forgets a layer that turned out to be of no use.
    pub(super) fn forget(&self, layers: &mut Layers, path: &RepositoryPath) {
        layers.unpacked.remove(path);
        layers.variants.remove(path);
        layers.records.retain(|layer, _| path::layerfs(layer) != *path);
        self.pool.forget(path);
    }

    /// Forgets what is no longer prepared, because it is published now or of no use any more. If somebody else has
    /// published a layer, it may be completed from other parents than here, and what the repository says of it counts.
    pub(super) fn forget_published(&self) {
        let mut layers = self.layers();
        let paths: Vec<_> = layers.unpacked.keys().cloned().collect();
        for path in paths {
            if !self.transaction.is_prepared(&path) {
                self.forget(&mut layers, &path);
            }
        }
        self.pool.forget_unless(|path| self.transaction.is_prepared(path));
    }
}
