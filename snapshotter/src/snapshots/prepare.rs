//! Making active snapshots and views, and saying how to mount them.

use layer_layout::label;
use tracing::debug;

use super::{Inner, SnapshotRequest, Snapshots};
use crate::directories::Content;
use crate::error::{Error, Result};
use crate::idmap::IdMapping;
use crate::kernel::Kernel;
use crate::mounts::{self, Mount};
use crate::snapshot::{Layer, Record, SnapshotId, SnapshotKind, check_labels, check_name, shown};
use crate::store::NewSnapshot;

impl Inner {
    /// Checks that no local directory is lost, neither that of the snapshot itself nor those of the layers below.
    fn check_directories(&self, own: Option<SnapshotId>, chain: &[Layer]) -> Result<()> {
        let own = own.map(|id| (id, false));
        let below = mounts::lowers(chain).into_iter().map(|l| (l.id, l.remote.is_some()));
        for (id, remote) in own.into_iter().chain(below) {
            self.directories.check_whole(id, remote)?;
        }
        Ok(())
    }
}

impl Snapshots {
    /// Makes an active snapshot. But if the labels say which layer will be unpacked into it, and that layer is
    /// there already or a repository has it, a committed snapshot of the layer is made instead.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if the key is taken *or the layer is there*. [`Error::NotFound`] or
    /// [`Error::InvalidArgument`] for a parent that is missing or not committed, the latter also for a key or labels
    /// that are too long. [`Error::Unavailable`] if
    /// a layer below is in a repository that cannot be reached.
    pub async fn prepare(&self, request: SnapshotRequest) -> Result<Vec<Mount>> {
        let (parent, chain) = self.layers_below(&request).await?;
        if let Some(target) = request.labels.get(label::TARGET).filter(|target| !target.is_empty())
            && self.serve_remotely(&request, target, parent.as_ref()).await?
        {
            return Err(Error::AlreadyExists(format!("target snapshot {}", shown(target))));
        }
        self.make(request, SnapshotKind::Active, parent, chain).await
    }

    /// Makes a view.
    ///
    /// # Errors
    /// As for [`prepare`](Self::prepare), but [`Error::AlreadyExists`] always means that the key is taken.
    pub async fn view(&self, request: SnapshotRequest) -> Result<Vec<Mount>> {
        let (parent, chain) = self.layers_below(&request).await?;
        self.make(request, SnapshotKind::View, parent, chain).await
    }

    /// How to mount an active snapshot or a view; the same every time, as long as kernel and configuration
    /// are the same.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::FailedPrecondition`] for a committed snapshot; [`Error::Unavailable`]
    /// if a layer is in a repository that cannot be reached.
    pub async fn mounts(&self, key: String) -> Result<Vec<Mount>> {
        let (record, chain) = self
            .on_disk(move |inner| {
                let (record, chain) = inner.store.get_with_chain(&key)?;
                if record.info.kind != SnapshotKind::Committed {
                    inner.check_directories(Some(record.id), &chain).or_else(|error| {
                        // While it exists, so do all below it. If it was removed meanwhile, nothing is damaged.
                        inner.store.confirm(&key, record.id)?;
                        Err(error)
                    })?;
                }
                Ok((record, chain))
            })
            .await?;
        if record.info.kind == SnapshotKind::Committed {
            let name = shown(&record.info.name);
            let message = format!("snapshot {name} is committed and has no mounts");
            return Err(Error::FailedPrecondition(message));
        }
        let mapping = IdMapping::from_labels(&record.info.labels)?;
        let directories = &self.0.directories;
        let mounts = mounts::mounts(
            directories,
            Kernel::running(),
            record.id,
            record.info.kind,
            &chain,
            mapping.as_ref(),
        )?;
        self.check_lowers(&chain).await?;
        Ok(mounts)
    }

    async fn layers_below(
        &self,
        request: &SnapshotRequest,
    ) -> Result<(Option<Record>, Vec<Layer>)> {
        check_name(&request.key)?;
        check_labels(&request.labels)?;
        let (key, parent) = (request.key.clone(), request.parent.clone());
        self.on_disk(move |inner| inner.store.get_for_child(&key, &parent)).await
    }

    /// Checks that the repositories have what is to be mounted. Besides `serve_remotely`, this is the only place
    /// where repositories are asked.
    async fn check_lowers(&self, chain: &[Layer]) -> Result<()> {
        let lowers = mounts::lowers(chain);
        let remote = lowers.iter().filter_map(|lower| Some((lower.remote?, lower.merged)));
        Ok(self.0.repositories().check(remote).await?)
    }

    async fn make(
        &self,
        request: SnapshotRequest,
        kind: SnapshotKind,
        parent: Option<Record>,
        chain: Vec<Layer>,
    ) -> Result<Vec<Mount>> {
        let mapping = IdMapping::from_labels(&request.labels)?;
        self.check_lowers(&chain).await?;
        self.on_disk(move |inner| {
            // Without a parent the root directory belongs to root.
            let parent_root = chain.first().map(|layer| layer.root).unwrap_or_default();
            let (uid, gid) =
                mapping.as_ref().map_or((parent_root.uid, parent_root.gid), IdMapping::root);
            let content = Content::Local { uid, gid, writable: kind == SnapshotKind::Active };
            inner.check_directories(None, &chain).or_else(|error| {
                if let Some(parent) = &parent {
                    // As above, with the parent.
                    inner.store.confirm_parent(&request.parent, parent.id)?;
                }
                Err(error)
            })?;
            let pending = inner.directories.create(&content)?;
            let id = pending.id();
            // Before the record is made, so that a failed call leaves nothing behind.
            let mounts = mounts::mounts(
                &inner.directories,
                Kernel::running(),
                id,
                kind,
                &chain,
                mapping.as_ref(),
            )?;
            inner.store.create(&NewSnapshot {
                id,
                name: &request.key,
                parent: parent.map(|parent| parent.id),
                kind,
                labels: &request.labels,
                remote: None,
            })?;
            pending.keep();
            debug!(key = request.key, %id, kind = kind.as_str(), lowers = chain.len(), "made");
            Ok(mounts)
        })
        .await
    }
}
