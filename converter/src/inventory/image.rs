//! What an image's metadata say that it needs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use layer_layout::path::{ImageMetadata, LayerMetadata, Unit};
use layer_layout::record::{PublishedManifest, RecordedLayer};
use layer_layout::{
    ChainId, ConfigDigest, DiffId, Digest, ImagePlace, LayerDigest, RepositoryPath, path,
};

use super::View;
use crate::image_config::ImageConfig;
use crate::repository::Result;

/// A published image. Of its documents only the digests are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedImage {
    /// Its place; `None` if only DUCC would publish it there, for instance without a tag.
    pub place: Option<ImagePlace>,
    /// The directory of its metadata.
    pub metadata: RepositoryPath,
    /// Its configuration, which is the image ID.
    pub config: ConfigDigest,
    /// Its layers, base first.
    pub layers: Vec<LayerDigest>,
    /// Its uncompressed layers, base first, as far as they are known: of images that DUCC has published, the lower ones
    /// that have a record.
    pub diff_ids: Vec<DiffId>,
}

impl PublishedImage {
    /// All that the image needs, whether or not it is there.
    pub fn units(&self) -> impl Iterator<Item = Unit> {
        units(self.config, &self.diff_ids, self.layers.iter().copied())
    }
}

/// All that an image with these parts needs.
pub fn units(
    config: ConfigDigest,
    diff_ids: &[DiffId],
    layers: impl Iterator<Item = LayerDigest>,
) -> impl Iterator<Item = Unit> {
    let chains = ChainId::of_layers(diff_ids).into_iter().map(Unit::Chain);
    std::iter::once(Unit::Flat(config)).chain(chains).chain(layers.map(Unit::Layer))
}

/// Layers' own records, each looked up once.
#[derive(Default)]
pub struct LayerRecords(Mutex<HashMap<LayerDigest, Option<RecordedLayer>>>);

impl LayerRecords {
    /// The DiffID of a layer; `None` if it has no record that tells it.
    ///
    /// # Errors
    /// If the record is there and cannot be read.
    pub fn diff_id(
        &self,
        view: &(impl View + ?Sized),
        layer: LayerDigest,
    ) -> Result<Option<DiffId>> {
        Ok(self.get(view, layer)?.map(|recorded| recorded.diff_id))
    }

    /// The record of a layer; `None` if it has none that tells its DiffID.
    ///
    /// # Errors
    /// If the record is there and cannot be read.
    pub fn get(
        &self,
        view: &(impl View + ?Sized),
        layer: LayerDigest,
    ) -> Result<Option<RecordedLayer>> {
        if let Some(known) = self.known().get(&layer) {
            return Ok(*known);
        }
        let json = view.read(&path::layer_metadata(&layer, LayerMetadata::Layers))?;
        let recorded = json.and_then(|json| RecordedLayer::parse(&json).ok());
        self.known().insert(layer, recorded);
        Ok(recorded)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<LayerDigest, Option<RecordedLayer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The DiffIDs of an image, base first, as far as they are known.
///
/// They are in `config.json` if that is the configuration that the manifest names. It may be missing, or be that of an
/// earlier image if DUCC has replaced the manifest. Then the records of the layers tell them, up to the first layer
/// without one. Beyond that no chain of the image can be in the repository, because whoever publishes chains publishes
/// the configuration with them.
///
/// # Errors
/// If a file is there and cannot be read.
pub fn diff_ids(
    view: &(impl View + ?Sized),
    metadata: &RepositoryPath,
    manifest: &PublishedManifest,
    records: &LayerRecords,
) -> Result<Vec<DiffId>> {
    if let Some(file) = RepositoryPath::of_name(Some(metadata), ImageMetadata::Config.name())
        && let Some(json) = view.read(&file)?
        && ConfigDigest::from(Digest::of(&json)) == manifest.config.digest
        && let Ok(config) = ImageConfig::parse(&json)
    {
        return Ok(config.diff_ids);
    }
    let mut known = Vec::new();
    for layer in manifest.layers() {
        match records.diff_id(view, layer)? {
            Some(diff_id) => known.push(diff_id),
            None => break,
        }
    }
    Ok(known)
}
