//! The stack of an image's layers, each at the path where its content is right above its parents.
//!
//! See the head of [`layer_layout::path`], "Layers that need their parents". A layer that is in the repository
//! may have been completed from other parents than this image gives it. Whether that makes a difference is
//! known only when its parents are in place, with their content: a parent that differs itself has to be
//! unpacked and completed before. So what has to be unpacked cannot be listed beforehand, and there is never
//! more than one such layer at a time. Instead, [`LayerStack::place_layers`] goes on until it needs one and
//! returns what is to be unpacked where. When that is done and [added](LayerStack::add), it goes on from there.

use std::collections::BTreeMap;

use layer_layout::path::{self, LayerMetadata};
use layer_layout::record::ParentRecord;
use layer_layout::{ChainId, LayerDigest, RepositoryPath};

use super::fetch::{Unpacked, Unpacking};
use super::target::Layer;
use super::workspace::Workspace;
use crate::repository::{OpenEnds, Published};
use crate::{Error, Result};

/// Where the layers of an image stand.
#[derive(Debug, Default)]
pub(super) struct LayerStack {
    /// Layers that this run has unpacked, by their paths.
    unpacked: BTreeMap<RepositoryPath, Unpacked>,
    /// What `parent.json` says of the layers that this run has unpacked for all images.
    records: BTreeMap<LayerDigest, Option<ParentRecord>>,
    /// The path of each layer that has its place, base first.
    paths: Vec<RepositoryPath>,
    /// The order of overlayfs's `lowerdir`: topmost first, each directory once.
    lower_directories: Vec<RepositoryPath>,
}

impl LayerStack {
    /// Takes layers that have been unpacked.
    pub(super) fn add(&mut self, unpacked: BTreeMap<RepositoryPath, Unpacked>) {
        self.unpacked.extend(unpacked);
    }

    /// A layer that this run has unpacked for all images.
    pub(super) fn unpacked(&self, layer: &LayerDigest) -> Option<&Unpacked> {
        self.unpacked.get(&path::layerfs(layer))
    }

    /// The path of each layer, base first.
    pub(super) fn paths(&self) -> &[RepositoryPath] {
        &self.paths
    }

    /// The order of overlayfs's `lowerdir`: topmost first, each directory once.
    pub(super) fn lower_directories(&self) -> &[RepositoryPath] {
        &self.lower_directories
    }

    /// Finds the place of each layer and completes the ones that need it, until all have their place (`None`)
    /// or one has to be unpacked first.
    pub(super) fn place_layers(&mut self, work: &Workspace) -> Result<Option<Unpacking>> {
        let layers = &work.target.layers;
        while let Some(layer) = layers.get(self.paths.len()) {
            let parent = self.paths.len().checked_sub(1).map(|below| layers[below].chain);
            match self.place(work, layer, parent)? {
                Placed::At(path) => self.push(path),
                Placed::WhenUnpacked(unpacking) => return Ok(Some(unpacking)),
            }
        }
        Ok(None)
    }

    fn push(&mut self, path: RepositoryPath) {
        // The same directory twice in a stack shows what its topmost place alone shows.
        self.lower_directories.retain(|lower| *lower != path);
        self.lower_directories.insert(0, path.clone());
        self.paths.push(path);
    }

    /// Where `layer` stands above what is placed already, whose chain is `parent`.
    fn place(
        &mut self,
        work: &Workspace,
        layer: &Layer,
        parent: Option<ChainId>,
    ) -> Result<Placed> {
        let parents = &self.lower_directories;
        let variant = path::chain_layerfs(&layer.chain);
        if let Some(unpacked) = self.unpacked.get(&variant) {
            work.transaction.complete_layer(&variant, &unpacked.open_ends, parents)?;
            return Ok(Placed::At(variant));
        }
        let digest = layer.digest();
        let shared = path::layerfs(&digest);
        let record = match (self.records.get(&digest), self.unpacked.get(&shared)) {
            (Some(record), _) => record.clone(),
            (None, Some(unpacked)) => {
                let record = self.complete(work, digest, &unpacked.open_ends, parent)?;
                self.records.insert(digest, record);
                return Ok(Placed::At(shared));
            }
            (None, None) => published_record(work, digest)?,
        };
        let Some(record) = record else { return Ok(Placed::At(shared)) };
        if record.parent == parent
            || work.transaction.completion(&record.open_ends, parents)? == record.completion
        {
            return Ok(Placed::At(shared));
        }
        if work.repository.lookup(&variant)? == Some(Published::Directory) {
            return Ok(Placed::At(variant));
        }
        Ok(Placed::WhenUnpacked(Unpacking { layer: layer.clone(), path: variant }))
    }

    /// Completes a layer that this run has unpacked for all images, and records from which parents.
    fn complete(
        &self,
        work: &Workspace,
        digest: LayerDigest,
        open_ends: &OpenEnds,
        parent: Option<ChainId>,
    ) -> Result<Option<ParentRecord>> {
        if open_ends.is_empty() {
            return Ok(None);
        }
        let shared = path::layerfs(&digest);
        let completion =
            work.transaction.complete_layer(&shared, open_ends, &self.lower_directories)?;
        let record = ParentRecord { parent, open_ends: open_ends.clone(), completion };
        work.transaction.write_file(&record_path(digest), &record.to_json())?;
        Ok(Some(record))
    }
}

/// What became of a layer.
enum Placed {
    At(RepositoryPath),
    WhenUnpacked(Unpacking),
}

fn published_record(work: &Workspace, digest: LayerDigest) -> Result<Option<ParentRecord>> {
    let path = record_path(digest);
    let Some(json) = work.repository.read(&path)? else { return Ok(None) };
    ParentRecord::parse(&json)
        .map(Some)
        .map_err(|error| wrong(work, format!("{path} in the repository is broken: {error}")))
}

fn wrong(work: &Workspace, reason: String) -> Error {
    Error::Image { image: work.target.image.reference.clone(), reason }
}

fn record_path(digest: LayerDigest) -> RepositoryPath {
    path::layer_metadata(&digest, LayerMetadata::Parent)
}
