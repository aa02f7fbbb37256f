//! What one image needs in the repository, and which of it is already there.

use std::collections::BTreeMap;

use layer_layout::path::{self, ImageMetadata, LayerMetadata};
use layer_layout::record::{PublishedManifest, RecordedLayer};
use layer_layout::{
    Architecture, ChainId, ConfigDigest, DiffId, ImagePlace, LayerDigest, Platform, RepositoryPath,
};

use super::again::Again;
use super::fetch::Unpacking;
use super::workspace::Workspace;
use crate::image_config::ImageConfig;
use crate::inventory::leads_to_layer;
use crate::report::{self, Report};
use crate::repository::{Published, Repository};
use crate::source::{Image, LayerDescriptor};
use crate::{Error, Result, singularity};

/// An image that is to be published under a name.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The names under which it is published.
    pub(super) place: ImagePlace,
    /// What the link at that place says, if not where the flat root is.
    pub(super) link: Option<String>,
    pub(super) image: Image,
    pub(super) config_bytes: Vec<u8>,
    pub(super) config: ImageConfig,
    /// Base first; a digest can occur more than once.
    pub(super) layers: Vec<Layer>,
    /// Whether `.flat` and the public path belong to it.
    pub(super) flat: bool,
    /// What is made although it is there.
    pub(super) again: Again,
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
    /// Puts an image together with its configuration, which must fit each other and the wanted platform, if one is
    /// wanted.
    pub(super) fn new(
        place: ImagePlace,
        image: Image,
        config_bytes: Vec<u8>,
        platform: Option<&Platform>,
        flat: bool,
        again: Again,
    ) -> Result<Self> {
        let wrong = |reason: String| Error::Image { image: image.reference.clone(), reason };
        let config = ImageConfig::parse(&config_bytes)
            .map_err(|error| wrong(format!("cannot read its configuration: {error}")))?;
        if config.diff_ids.len() != image.layers.len() {
            return Err(wrong(format!(
                "its manifest has {} layers, its configuration {}",
                image.layers.len(),
                config.diff_ids.len()
            )));
        }
        // An index was searched for the platform already, and may describe it better than the image does.
        if let Some(platform) = platform
            && image.index.is_none()
            && !platform.accepts(&config.platform)
        {
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
        Ok(Self { place, link: None, image, config_bytes, config, layers, flat, again })
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
        .map(|(file, bytes)| (self.place.metadata(file), bytes))
    }

    /// The public link and what it says.
    pub(super) fn public_link(&self) -> (RepositoryPath, String) {
        let link = self.place.link();
        let target = match &self.link {
            Some(target) => target.clone(),
            None => link.link_to(&path::flat(&self.config_digest())),
        };
        (link, target)
    }

    /// Whether everything of the image is in the repository, under this name.
    pub(super) fn is_published(&self, repository: &dyn Repository) -> Result<bool> {
        if self.has_unfit_flat(repository)? {
            return Ok(false);
        }
        if self.is_of_ducc(repository)? {
            return self.is_published_by_ducc(repository);
        }
        for (path, bytes) in self.documents() {
            // A new index around the same manifest changes nothing that anybody reads here.
            let is_index = path == self.place.metadata(ImageMetadata::Index);
            if !is_index && repository.read(&path)?.as_deref() != Some(bytes) {
                return Ok(false);
            }
        }
        let directory = |path: RepositoryPath| -> Result<bool> {
            Ok(repository.lookup(&path)? == Some(Published::Directory))
        };
        for layer in &self.layers {
            let link = path::chain_layer(&layer.chain);
            let Some(Published::Symlink(found)) = repository.lookup(&link)? else {
                return Ok(false);
            };
            let own = path::layerfs(&layer.digest());
            let is_linked = found == link.link_to(&own) || leads_to_layer(repository, &found)?;
            if !is_linked || !directory(own)? {
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

    /// Whether there is a flat root that does not serve Apptainer's users, if that has to be found out.
    pub(super) fn has_unfit_flat(&self, repository: &dyn Repository) -> Result<bool> {
        if !self.flat || !self.again.unfit_flat {
            return Ok(false);
        }
        Ok(singularity::fault(repository, &path::flat(&self.config_digest()))?.is_some())
    }

    /// Whether DUCC has published the image. It keeps no configuration, and the manifest in a form of its own.
    fn is_of_ducc(&self, repository: &dyn Repository) -> Result<bool> {
        for place in self.places_of_ducc() {
            let Some(json) = repository.read(&place.metadata(ImageMetadata::Manifest))? else {
                continue;
            };
            let is_same = PublishedManifest::parse(&json)
                .is_ok_and(|manifest| manifest.config.digest == self.config_digest());
            let config = place.metadata(ImageMetadata::Config);
            return Ok(is_same && repository.lookup(&config)?.is_none());
        }
        Ok(false)
    }

    /// Where DUCC keeps the metadata of the image. Rule: DUCC since 2025, which keeps those of an image that it has found
    /// in a list below `.multiarch`, although the public path leads to that image alone.
    fn places_of_ducc(&self) -> impl Iterator<Item = ImagePlace> {
        let platform = &self.config.platform;
        let in_list = self.place.architecture.is_none().then(|| {
            let without_variant = platform.architecture().parse().ok();
            [Architecture::of(platform), without_variant]
        });
        let of_platform = in_list.into_iter().flatten().flatten().map(|architecture| ImagePlace {
            architecture: Some(architecture),
            ..self.place.clone()
        });
        std::iter::once(self.place.clone()).chain(of_platform)
    }

    /// Whether all is there that DUCC publishes of an image. Rule: DUCC, to which an image is converted if it has the
    /// configuration digest of the one in the registry. So a repository that DUCC has filled is taken over as it is;
    /// `ducc verify --repair` gives its images what they lack.
    fn is_published_by_ducc(&self, repository: &dyn Repository) -> Result<bool> {
        let is_directory = |path: RepositoryPath| -> Result<bool> {
            Ok(repository.lookup(&path)? == Some(Published::Directory))
        };
        for layer in &self.layers {
            if !is_directory(path::layerfs(&layer.digest()))? {
                return Ok(false);
            }
        }
        let (link, target) = self.public_link();
        Ok(!self.flat
            || (is_directory(path::flat(&self.config_digest()))?
                && repository.lookup(&link)? == Some(Published::Symlink(target))))
    }

    /// The layers that have to be fetched, each once, base first: those that are not there, those that DUCC unpacked in
    /// its own form, and those that are wanted again.
    ///
    /// A layer that is there must have the DiffID that this image promises: otherwise the image would put
    /// foreign content behind somebody else's ChainID.
    pub(super) fn missing_layers(&self, work: &Workspace) -> Result<Vec<Unpacking>> {
        let mut missing = Vec::new();
        for layer in self.distinct_layers() {
            let digest = layer.digest();
            let path = path::layerfs(&digest);
            if work.layers().unpacked.contains_key(&path) {
                continue;
            }
            let there = work.transaction.lookup(&path)? == Some(Published::Directory);
            if !there || self.again.wants(&digest) || !self.is_usable(work, layer)? {
                missing.push(Unpacking { layer: layer.clone(), path, replaces: there });
            }
        }
        Ok(missing)
    }

    /// Whether the image can be built on a published layer as it is.
    fn is_usable(&self, work: &Workspace, layer: &Layer) -> Result<bool> {
        let path = path::layer_metadata(&layer.digest(), LayerMetadata::Layers);
        let Some(json) = work.transaction.read(&path)? else { return Ok(false) };
        // What cannot be read is written again, with the layer.
        let Ok(recorded) = RecordedLayer::parse(&json) else { return Ok(false) };
        if recorded.diff_id == layer.diff_id {
            return Ok(recorded.is_overlayfs);
        }
        let reason = format!(
            "its configuration says that layer {} has DiffID {}, but it has {}",
            layer.digest(),
            layer.diff_id,
            recorded.diff_id
        );
        Err(Error::Image { image: self.image.reference.clone(), reason })
    }
}

impl Report {
    /// Says what an image is that consists of these; the first is the one of the public path.
    pub(super) fn describe(&mut self, targets: &[Target]) {
        let Some(first) = targets.first() else { return };
        self.manifest_digest = Some(first.image.manifest.digest);
        self.config_digest = Some(first.config_digest());
        self.platform = Some(first.config.platform.to_string());
        self.public_path = first.flat.then(|| first.place.link().to_string());
        self.layers.clear();
        for remark in targets.iter().flat_map(|target| &target.config.remarks) {
            if !self.remarks.contains(remark) {
                self.remarks.push(remark.clone());
            }
        }
        for layer in targets.iter().flat_map(Target::distinct_layers) {
            let (digest, diff_id) = (layer.digest(), layer.diff_id);
            if !self.layers.iter().any(|known| known.digest == digest) {
                let size = layer.blob.size;
                self.layers.push(report::Layer { digest, diff_id, size, fetched: false });
            }
        }
        self.layers_skipped = self.layers.len();
    }

    /// Adds to the layers that this run has fetched.
    pub(super) fn add_fetched(&mut self, fetched: &[LayerDigest]) {
        for layer in &mut self.layers {
            layer.fetched |= fetched.contains(&layer.digest);
        }
        self.layers_fetched = self.layers.iter().filter(|layer| layer.fetched).count();
        self.layers_skipped = self.layers.len() - self.layers_fetched;
    }
}
