//! `Prepare` of a layer that need not be downloaded.
//!
//! containerd's protocol: a `Prepare` whose labels name a target is answered with ALREADY_EXISTS if the layer
//! is there; containerd then lists the snapshots and looks for a *committed* one with that target and exactly that
//! parent. So the snapshot must be complete before the answer. If anything goes wrong on the way, the `Prepare`
//! becomes an ordinary one: any other error would make the pull fail.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use layer_layout::label::{self, WantedLayer};
use layer_layout::{ChainId, Digest};
use tracing::{info, warn};

use super::{SnapshotRequest, Snapshots};
use crate::directories::Content;
use crate::error::{Error, Result};
use crate::repository::{Found, Parent, Repository};
use crate::snapshot::{Record, Remote, SnapshotKind};
use crate::store::{NewRemote, NewSnapshot};

/// The name of a committed remote snapshot. It depends on target *and* parent: the same chain can have a parent that
/// was unpacked here and, in another namespace, one that was not.
fn committed_name(target: &str, parent: &str) -> String {
    format!("remote/{target}/{}", Digest::of(parent.as_bytes()).hex())
}

impl Snapshots {
    /// Makes a committed snapshot for the target if a repository has the layer, and returns whether there is one
    /// now. Logs the decision.
    pub(super) async fn serve_remotely(
        &self,
        request: &SnapshotRequest,
        target: &str,
        parent: Option<&Record>,
    ) -> Result<bool> {
        let started = Instant::now();
        let (wanted_target, parent_name) = (target.to_owned(), request.parent.clone());
        let existing = self.on_disk(move |inner| {
            inner.store.find_committed(label::TARGET, &wanted_target, &parent_name)
        });
        if let Some(name) = existing.await? {
            let ms = milliseconds(started);
            self.metrics().layer("present", "");
            info!(chain = target, outcome = "present", name, ms, "layer");
            return Ok(true);
        }
        if self.0.repositories().is_empty() {
            return Ok(false);
        }
        let labels: HashMap<_, _> = request.labels.clone().into_iter().collect();
        let wanted = WantedLayer::from_labels(&labels);
        let (layer, image) =
            (wanted.layers.first().map(ToString::to_string), wanted.image.as_deref());
        let search = self.0.repositories().find(&wanted, parent_chain(parent)).await;
        let why = search.misses.join("; ");
        let Some((repository, found)) = search.hit else {
            let outcome = if search.unavailable { "unavailable" } else { "miss" };
            let ms = milliseconds(started);
            self.metrics().layer(outcome, "");
            info!(chain = target, layer, image, outcome, why, ms, "layer");
            return Ok(false);
        };
        let (path, by, merged) = (found.layer.clone(), found.by.as_str(), found.rootfs.is_some());
        let name = repository.name().to_owned();
        let committed = self.commit_remote(request, target, parent, &repository, found).await;
        let ms = milliseconds(started);
        self.metrics().layer(if committed.is_ok() { "hit" } else { "error" }, &name);
        match committed {
            Ok(()) => {
                info!(
                    chain = target,
                    layer,
                    image,
                    outcome = "hit",
                    repository = name,
                    path,
                    by,
                    merged,
                    why = (!why.is_empty()).then_some(why),
                    ms,
                    "layer"
                );
                Ok(true)
            }
            Err(error) => {
                warn!(
                    chain = target, layer, image, outcome = "error", repository = name, path, %error, ms,
                    "layer"
                );
                Ok(false)
            }
        }
    }

    async fn commit_remote(
        &self,
        request: &SnapshotRequest,
        target: &str,
        parent: Option<&Record>,
        repository: &Arc<Repository>,
        found: Found,
    ) -> Result<()> {
        let request = request.clone();
        let target = target.to_owned();
        let parent = parent.map(|parent| parent.id);
        let layer = repository.path(&found.layer);
        let rootfs: Option<PathBuf> = found.rootfs.as_ref().map(|rootfs| repository.path(rootfs));
        let remote = Remote {
            repository: repository.name().to_owned(),
            layer: found.layer,
            rootfs: found.rootfs,
        };
        self.on_disk(move |inner| {
            let content = Content::Remote { layer: &layer, rootfs: rootfs.as_deref() };
            let pending = inner.directories.create(&content)?;
            let created = inner.store.create(&NewSnapshot {
                id: pending.id(),
                name: &committed_name(&target, &request.parent),
                parent,
                kind: SnapshotKind::Committed,
                labels: &request.labels,
                remote: Some(NewRemote { root: found.root, remote: &remote }),
            });
            match created {
                Ok(()) => pending.keep(),
                // Another client was faster, unless the name belongs to something else.
                Err(Error::AlreadyExists(_))
                    if inner
                        .store
                        .find_committed(label::TARGET, &target, &request.parent)?
                        .is_some() => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })
        .await
    }
}

/// The time since `started`. A `u64`, because the JSON log writes larger integers as strings.
fn milliseconds(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What is known of the parent's chain: its labels have the ChainID if it was prepared or committed as a target.
fn parent_chain(parent: Option<&Record>) -> Parent {
    match parent {
        None => Parent::None,
        Some(parent) => parent
            .info
            .labels
            .get(label::TARGET)
            .and_then(|target| target.parse::<ChainId>().ok())
            .map_or(Parent::Unknown, Parent::Chain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_target_and_parent() {
        let names = [("a", ""), ("a", "p"), ("b", ""), ("b", "p")]
            .map(|(target, parent)| committed_name(target, parent));
        assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len());
        assert_eq!(committed_name("a", "p"), names[1]);
    }
}
