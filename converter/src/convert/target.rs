//! What one image needs in the repository, and which of it is already there.

use std::collections::BTreeMap;

use layer_layout::path::{self, ImageMetadata, LayerMetadata};
use layer_layout::record::LayerRecord;
use layer_layout::{
    ChainId, ConfigDigest, DiffId, LayerDigest, Platform, PublicName, RepositoryPath,
};

use crate::image_config::ImageConfig;
use crate::report::{self, Report};
use crate::repository::{Published, Repository};
use crate::source::{Image, LayerDescriptor};
use crate::{Error, Result};

/// An image that is to be published under a name.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: PublicName,
    pub(super) image: Image,
    pub(super) config_bytes: Vec<u8>,
    pub(super) config: ImageConfig,
    /// Base first; a digest can occur more than once.
    pub(super) layers: Vec<Layer>,
    /// Whether `.flat` and the public path belong to it.
    pub(super) flat: bool,
}

/// One layer at its place in the image.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) blob: LayerDescriptor,
    pub(super) diff_id: DiffId,
    /// The chain that this layer is the top of.
    pub(super) chain: ChainId,
}

impl Layer {
    pub(super) fn digest(&self) -> LayerDigest {
        self.blob.digest
    }
}

impl Target {
    /// Puts an image together with its configuration, which must fit each other and the wanted platform.
    pub(super) fn new(
        name: PublicName,
        image: Image,
        config_bytes: Vec<u8>,
        platform: &Platform,
        flat: bool,
    ) -> Result<Self> {
        let wrong = |reason: String| Error::Image { image: image.reference.clone(), reason };
        let config = ImageConfig::parse(&config_bytes)
            .map_err(|error| wrong(format!("cannot read its configuration: {error}")))?;
        if image.layers.is_empty() {
            return Err(wrong("it has no layers, so there is nothing to publish".to_owned()));
        }
        if config.diff_ids.len() != image.layers.len() {
            return Err(wrong(format!(
                "its manifest has {} layers, its configuration {}",
                image.layers.len(),
                config.diff_ids.len()
            )));
        }
        // An index was searched for the platform already, and may describe it better than the image does.
        if image.index.is_none() && !platform.accepts(&config.platform) {
            return Err(wrong(format!(
                "it is for {}, not for {platform}; choose with --platform",
                config.platform
            )));
        }
        let chains = ChainId::of_layers(&config.diff_ids);
        let layers: Vec<Layer> = (image.layers.iter().zip(&config.diff_ids).zip(chains))
            .map(|((blob, &diff_id), chain)| Layer { blob: blob.clone(), diff_id, chain })
            .collect();
        let mut diff_ids = BTreeMap::new();
        for layer in &layers {
            let first = *diff_ids.entry(layer.digest()).or_insert(layer.diff_id);
            if first != layer.diff_id {
                return Err(wrong(format!(
                    "its configuration gives layer {} two DiffIDs, {first} and {}",
                    layer.digest(),
                    layer.diff_id
                )));
            }
        }
        Ok(Self { name, image, config_bytes, config, layers, flat })
    }

    pub(super) fn config_digest(&self) -> ConfigDigest {
        self.image.config.digest
    }

    /// The chain of all layers.
    pub(super) fn top_chain(&self) -> Option<ChainId> {
        self.layers.last().map(|layer| layer.chain)
    }

    /// Each layer digest once, base first.
    pub(super) fn distinct_layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().enumerate().filter_map(|(at, layer)| {
            let repeated = self.layers[..at].iter().any(|lower| lower.digest() == layer.digest());
            (!repeated).then_some(layer)
        })
    }

    /// The documents that are published with the image, byte for byte.
    pub(super) fn documents(&self) -> impl Iterator<Item = (RepositoryPath, &[u8])> {
        let index = self.image.index.as_ref();
        [
            Some((ImageMetadata::Manifest, &*self.image.manifest.bytes)),
            Some((ImageMetadata::Config, &*self.config_bytes)),
            index.map(|index| (ImageMetadata::Index, &*index.bytes)),
        ]
        .into_iter()
        .flatten()
        .map(|(file, bytes)| (path::image_metadata(&self.name, file), bytes))
    }

    /// The public link and what it says.
    pub(super) fn public_link(&self) -> (RepositoryPath, String) {
        let link = path::public_link(&self.name);
        let target = link.link_to(&path::flat(&self.config_digest()));
        (link, target)
    }

    /// Whether everything of the image is in the repository, under this name.
    pub(super) fn is_published(&self, repository: &dyn Repository) -> Result<bool> {
        for (path, bytes) in self.documents() {
            // A new index around the same manifest changes nothing that anybody reads here.
            let is_index = path == path::image_metadata(&self.name, ImageMetadata::Index);
            if !is_index && repository.read(&path)?.as_deref() != Some(bytes) {
                return Ok(false);
            }
        }
        let directory = |path: RepositoryPath| -> Result<bool> {
            Ok(repository.lookup(&path)? == Some(Published::Directory))
        };
        for layer in &self.layers {
            let linked = repository.lookup(&path::chain_layer(&layer.chain))?.is_some();
            if !linked || !directory(path::layerfs(&layer.digest()))? {
                return Ok(false);
            }
        }
        if let Some(top) = self.top_chain()
            && !directory(path::chain_rootfs(&top))?
        {
            return Ok(false);
        }
        if self.flat {
            let (link, target) = self.public_link();
            return Ok(directory(path::flat(&self.config_digest()))?
                && repository.lookup(&link)? == Some(Published::Symlink(target)));
        }
        Ok(true)
    }

    /// The layers that are not in the repository, each once, base first.
    ///
    /// A layer that is there must have the DiffID that this image promises: otherwise the image would put
    /// foreign content behind somebody else's ChainID.
    pub(super) fn missing_layers(&self, repository: &dyn Repository) -> Result<Vec<Layer>> {
        let mut missing = Vec::new();
        for layer in self.distinct_layers() {
            let digest = layer.digest();
            if repository.lookup(&path::layerfs(&digest))? != Some(Published::Directory) {
                missing.push(layer.clone());
                continue;
            }
            let record = path::layer_metadata(&digest, LayerMetadata::Layers);
            let recorded = repository
                .read(&record)?
                .and_then(|json| LayerRecord::recorded_diff_id(&json).ok());
            let reason = match recorded {
                Some(recorded) if recorded == layer.diff_id => continue,
                Some(recorded) => format!(
                    "its configuration says that layer {digest} has DiffID {}, but it has {recorded}",
                    layer.diff_id
                ),
                None => format!(
                    "layer {digest} is in the repository, but {record} does not tell its DiffID; \
                     remove {} to have the layer fetched again",
                    path::layer(&digest)
                ),
            };
            return Err(Error::Image { image: self.image.reference.clone(), reason });
        }
        Ok(missing)
    }

    /// Tells the report what the image is.
    pub(super) fn describe(&self, report: &mut Report) {
        report.manifest_digest = Some(self.image.manifest.digest);
        report.config_digest = Some(self.config_digest());
        report.platform = Some(self.config.platform.to_string());
        report.public_path = self.flat.then(|| path::public_link(&self.name).to_string());
        report.layers = self
            .distinct_layers()
            .map(|layer| report::Layer {
                digest: layer.digest(),
                diff_id: layer.diff_id,
                size: layer.blob.size,
                fetched: false,
            })
            .collect();
        report.layers_skipped = report.layers.len();
    }
}

impl Report {
    /// Marks layers that this run fetches.
    pub(super) fn fetched(&mut self, layers: &[Layer]) {
        for layer in &mut self.layers {
            layer.fetched = layers.iter().any(|fetched| fetched.digest() == layer.digest);
        }
        self.layers_fetched = layers.len();
        self.layers_skipped = self.layers.len() - layers.len();
    }
}
