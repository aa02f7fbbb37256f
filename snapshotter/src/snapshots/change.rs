//! Committing, removing and updating.

use tracing::debug;

use super::{Inner, Snapshots};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::snapshot::{
    Info, Labels, LayerRoot, SnapshotId, SnapshotKind, Usage, check_labels, check_name,
};
use crate::store::{Commit, LabelChange};

impl Inner {
    fn measure(&self, id: SnapshotId) -> Result<(Usage, LayerRoot)> {
        let root = self.directories.layer_root(id, Kernel::running().userxattr)?;
        Ok((self.directories.usage(id)?, root))
    }
}

impl Snapshots {
    /// Makes the active snapshot `key` the committed snapshot `name`, with these labels and no others.
    /// `parent` is given to a snapshot that was prepared without one; empty for none.
    ///
    /// containerd calls this inside its own write transaction, so no more is done here than necessary: the upper
    /// directory is measured, before the store is locked, and the record is changed.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if the name is taken; `FailedPrecondition` if `key` is not active;
    /// `InvalidArgument` if name or labels are too long.
    pub async fn commit(
        &self,
        name: String,
        key: String,
        labels: Labels,
        parent: String,
    ) -> Result<()> {
        check_name(&name)?;
        check_labels(&labels)?;
        self.on_disk(move |inner| {
            let record = inner.store.get(&key)?;
            let id = record.id;
            let (usage, root) = if record.info.kind == SnapshotKind::Active {
                inner.measure(id).or_else(|error| {
                    // Its directory goes when it is removed or committed and removed, which is then what to answer.
                    inner.store.confirm(&key, id)?;
                    Err(error)
                })?
            } else {
                // Does not matter: the store will refuse to commit this.
                Default::default()
            };
            let (name, key) = (&name, &key);
            let (labels, parent) = (&labels, &parent);
            inner.store.commit(&Commit { name, key, id, labels, parent, usage, root })?;
            debug!(key, name, bytes = usage.bytes, inodes = usage.inodes, "committed");
            Ok(())
        })
        .await
    }

    /// Removes a snapshot. Its record is gone when this returns; its files are deleted afterwards. If that fails
    /// it is only logged, because an error would stop containerd's garbage collection.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` if it is a parent.
    pub async fn remove(&self, key: String) -> Result<()> {
        self.on_disk(move |inner| {
            let id = inner.store.remove(&key)?;
            inner.directories.discard(id);
            debug!(key, %id, "removed");
            Ok(())
        })
        .await?;
        self.empty_trash_soon();
        Ok(())
    }

    /// Changes labels.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` if the labels become too long.
    pub async fn update(&self, name: String, change: LabelChange) -> Result<Info> {
        self.on_disk(move |inner| inner.store.update(&name, &change)).await
    }

    /// Deletes the directories that belong to no snapshot, and returns when they are gone.
    ///
    /// # Errors
    /// If the daemon's own directory cannot be read.
    pub async fn cleanup(&self) -> Result<()> {
        self.on_disk(|inner| {
            let leftovers = inner.sweep()?;
            inner.directories.empty_trash();
            debug!(leftovers, "cleaned up");
            Ok(())
        })
        .await
    }
}
