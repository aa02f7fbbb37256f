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
use layer_layout::{ChainId, LayerDigest, LayerPath, RepositoryPath};

use super::fetch::Unpacking;
use super::layer_remarks::remarks;
use super::target::{Layer, Target};
use super::workspace::{Layers, Workspace};
use crate::repository::{Inherited, OpenEnds, Published};
use crate::{Error, Result};

/// Where the layers of an image stand.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerStack {
    /// The path of each layer that has its place, base first.
    paths: Vec<RepositoryPath>,
    /// The order of overlayfs's `lowerdir`: topmost first, each directory once.
    lower_directories: Vec<RepositoryPath>,
    /// What people should know of the layers.
    remarks: Vec<String>,
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

    /// What people should know of the layers.
    pub(super) fn remarks(&self) -> &[String] {
        &self.remarks
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
                Placed::At(path, remarks) => {
                    self.push(path);
                    self.remarks.extend(remarks);
                }
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
                let open_ends = unpacked.open_ends.clone();
                let completed = transaction.complete_layer(&variant, &open_ends, parents);
                let inherited = completed.inspect_err(|_| work.forget(layers, &variant))?;
                layers.variants.insert(variant.clone());
                return Ok(self.at(variant, &open_ends, &inherited.replaced_symlinks));
            }
            return Ok(self.at(variant, &unpacked.open_ends, &[]));
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
            (None, Some(unpacked)) => {
                let open_ends = unpacked.open_ends.clone();
                let (record, replaced) = self.complete(layers, parent, &open_ends)?;
                layers.records.insert(digest, record);
                return Ok(self.at(shared, &open_ends, &replaced));
            }
            (_, None) if transaction.lookup(&shared)? != Some(Published::Directory) => {
                return Ok(self.when_unpacked(shared, false));
            }
            (_, None) => self.published_record()?,
        };
        let Some(record) = record else { return Ok(Placed::At(shared, Vec::new())) };
        if record.parent == parent {
            return Ok(self.at(shared, &record.open_ends, &[]));
        }
        let inherited = transaction.completion(&record.open_ends, parents)?;
        if inherited.completion == record.completion {
            return Ok(self.at(shared, &record.open_ends, &inherited.replaced_symlinks));
        }
        let there = transaction.lookup(&variant)? == Some(Published::Directory);
        if there && !self.target.again.wants(&digest) {
            return Ok(self.at(variant, &record.open_ends, &inherited.replaced_symlinks));
        }
        Ok(self.when_unpacked(variant, there))
    }

    fn at(&self, path: RepositoryPath, open_ends: &OpenEnds, replaced: &[LayerPath]) -> Placed {
        Placed::At(path, remarks(self.layer.digest(), open_ends, replaced))
    }

    fn when_unpacked(&self, path: RepositoryPath, replaces: bool) -> Placed {
        let layer = self.layer.clone();
        Placed::WhenUnpacked(Unpacking { layer, path, replaces })
    }

    /// Completes a layer that the batch has unpacked for all images, and tells from which parents, and which of their
    /// symlinks it replaces.
    fn complete(
        &self,
        layers: &mut Layers,
        parent: Option<ChainId>,
        open_ends: &OpenEnds,
    ) -> Result<(Option<ParentRecord>, Vec<LayerPath>)> {
        let shared = path::layerfs(&self.layer.digest());
        if open_ends.is_empty() {
            return Ok((None, Vec::new()));
        }
        let completed = self.work.transaction.complete_layer(&shared, open_ends, self.parents);
        // A layer that is completed in part is of no use to other images.
        let Inherited { completion, replaced_symlinks } =
            completed.inspect_err(|_| self.work.forget(layers, &shared))?;
        let record = ParentRecord { parent, open_ends: open_ends.clone(), completion };
        Ok((Some(record), replaced_symlinks))
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
    /// It is at this path, with what people should know of it.
    At(RepositoryPath, Vec<String>),
    WhenUnpacked(Unpacking),
}

/// Where `parent.json` of a layer is.
pub(super) fn record_path(digest: LayerDigest) -> RepositoryPath {
    path::layer_metadata(&digest, LayerMetadata::Parent)
}
