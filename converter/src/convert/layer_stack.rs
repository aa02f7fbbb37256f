//! The stack of an image's layers, each at the path where its content is right above its parents.
//!
//! See the head of [`layer_layout::path`], "Layers that need their parents". A layer that is in the repository
//! may have been completed from other parents than this image gives it. Whether that makes a difference is
//! known only when its parents are in place, with their content: a parent that differs itself has to be
//! unpacked and completed before. So what has to be unpacked cannot be listed beforehand, and there is never
//! more than one such layer at a time. Instead, [`LayerStack::place_layers`] goes on until it needs one and
//! returns what is to be unpacked where. When that is done it goes on from there.
//!
//! The images of a batch use the same layers. The first one that places a layer completes it; for the others it is as if
//! the layer was published.

use layer_layout::path::{self, LayerMetadata};
use layer_layout::record::ParentRecord;
use layer_layout::{ChainId, LayerDigest, RepositoryPath};

use super::fetch::Unpacking;
use super::target::{Layer, Target};
use super::workspace::{Layers, Workspace};
use crate::repository::Published;
use crate::{Error, Result};

/// Where the layers of an image stand.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerStack {
    /// The path of each layer that has its place, base first.
    paths: Vec<RepositoryPath>,
    /// The order of overlayfs's `lowerdir`: topmost first, each directory once.
    lower_directories: Vec<RepositoryPath>,
}

impl LayerStack {
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
    pub(super) fn place_layers(
        &mut self,
        work: &Workspace,
        target: &Target,
    ) -> Result<Option<Unpacking>> {
        let layers = &target.layers;
        while let Some(layer) = layers.get(self.paths.len()) {
            let parent = self.paths.len().checked_sub(1).map(|below| layers[below].chain);
            let placing = Placing { work, target, layer, parents: &self.lower_directories };
            // One image at a time, because the first completes a layer and the others compare.
            let placed = placing.place(&mut work.layers(), parent)?;
            match placed {
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
}

/// A layer whose place is looked for.
struct Placing<'a> {
    work: &'a Workspace,
    target: &'a Target,
    layer: &'a Layer,
    /// What it stands above, topmost first.
    parents: &'a [RepositoryPath],
}

impl Placing<'_> {
    /// Where the layer stands. The chain of what it stands above is `parent`.
    fn place(&self, layers: &mut Layers, parent: Option<ChainId>) -> Result<Placed> {
        let Self { work, layer, parents, .. } = *self;
        let transaction = &work.transaction;
        let digest = layer.digest();
        let variant = path::chain_layerfs(&layer.chain);
        if let Some(unpacked) = layers.unpacked.get(&variant) {
            if !layers.variants.contains(&variant) {
                let completed = transaction.complete_layer(&variant, &unpacked.open_ends, parents);
                completed.inspect_err(|_| work.forget(layers, &variant))?;
                layers.variants.insert(variant.clone());
            }
            return Ok(Placed::At(variant));
        }
        let shared = path::layerfs(&digest);
        let record = match (layers.records.get(&digest), layers.unpacked.get(&shared)) {
            (_, Some(unpacked)) if unpacked.diff_id != layer.diff_id => {
                return Err(self.wrong(format!(
                    "its configuration says that layer {digest} has DiffID {}, but it has {}",
                    layer.diff_id, unpacked.diff_id
                )));
            }
            (Some(record), Some(_)) => record.clone(),
            (None, Some(_)) => {
                let record = self.complete(layers, parent)?;
                layers.records.insert(digest, record);
                return Ok(Placed::At(shared));
            }
            (_, None) if transaction.lookup(&shared)? != Some(Published::Directory) => {
                return Ok(self.when_unpacked(shared, false));
            }
            (_, None) => self.published_record()?,
        };
        let Some(record) = record else { return Ok(Placed::At(shared)) };
        if record.parent == parent
            || transaction.completion(&record.open_ends, parents)? == record.completion
        {
            return Ok(Placed::At(shared));
        }
        let there = transaction.lookup(&variant)? == Some(Published::Directory);
        if there && !self.target.again.wants(&digest) {
            return Ok(Placed::At(variant));
        }
        Ok(self.when_unpacked(variant, there))
    }

    fn when_unpacked(&self, path: RepositoryPath, replaces: bool) -> Placed {
        let layer = self.layer.clone();
        Placed::WhenUnpacked(Unpacking { layer, path, replaces })
    }

    /// Completes a layer that the batch has unpacked for all images, and tells from which parents.
    fn complete(
        &self,
        layers: &mut Layers,
        parent: Option<ChainId>,
    ) -> Result<Option<ParentRecord>> {
        let shared = path::layerfs(&self.layer.digest());
        let open_ends = match layers.unpacked.get(&shared) {
            Some(unpacked) if !unpacked.open_ends.is_empty() => unpacked.open_ends.clone(),
            _ => return Ok(None),
        };
        let completed = self.work.transaction.complete_layer(&shared, &open_ends, self.parents);
        // A layer that is completed in part is of no use to other images.
        let completion = completed.inspect_err(|_| self.work.forget(layers, &shared))?;
        Ok(Some(ParentRecord { parent, open_ends, completion }))
    }

    fn published_record(&self) -> Result<Option<ParentRecord>> {
        let path = record_path(self.layer.digest());
        let Some(json) = self.work.transaction.read(&path)? else { return Ok(None) };
        ParentRecord::parse(&json)
            .map(Some)
            .map_err(|error| self.wrong(format!("{path} in the repository is broken: {error}")))
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Image { image: self.target.image.reference.clone(), reason }
    }
}

/// What became of a layer.
enum Placed {
    At(RepositoryPath),
    WhenUnpacked(Unpacking),
}

/// Where `parent.json` of a layer is.
pub(super) fn record_path(digest: LayerDigest) -> RepositoryPath {
    path::layer_metadata(&digest, LayerMetadata::Parent)
}
