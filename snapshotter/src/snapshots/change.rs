//! Committing, removing and updating.

use tracing::debug;

use super::Snapshots;
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::snapshot::{Info, Labels, SnapshotKind};
use crate::store::{Commit, LabelChange};

impl Snapshots {
    /// Makes the active snapshot `key` the committed snapshot `name`, with these labels and no others.
    /// `parent` is given to a snapshot that was prepared without one; empty for none.
    ///
    /// containerd calls this inside its own write transaction, so no more is done here than necessary: the upper
    /// directory is measured, before the store is locked, and the record is changed.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::AlreadyExists`] if the name is taken; [`Error::FailedPrecondition`] if
    /// `key` is not active.
    pub async fn commit(
        &self,
        name: String,
        key: String,
        labels: Labels,
        parent: String,
    ) -> Result<()> {
        if name.is_empty() {
            return Err(Error::InvalidArgument("the name of a snapshot is empty".to_owned()));
        }
        self.on_disk(move |inner| {
            let record = inner.store.get(&key)?;
            let (usage, root) = if record.info.kind == SnapshotKind::Active {
                let root = inner.directories.layer_root(record.id, Kernel::running().userxattr)?;
                (inner.directories.usage(record.id)?, root)
            } else {
                // Does not matter: the store will refuse to commit this.
                Default::default()
            };
            let commit =
                Commit { name: &name, key: &key, labels: &labels, parent: &parent, usage, root };
            inner.store.commit(&commit)?;
            debug!(key, name, bytes = usage.bytes, inodes = usage.inodes, "committed");
            Ok(())
        })
        .await
    }

    /// Removes a snapshot. Its record is gone when this returns; its files are deleted afterwards. If that fails
    /// it is only logged, because an error would stop containerd's garbage collection.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::FailedPrecondition`] if it is a parent.
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
    /// [`Error::NotFound`].
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
