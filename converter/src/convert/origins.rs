//! `origin.json` of the layers of a group: which images use them.
//!
//! All images of a group are noted before the file is written, once. Otherwise what is written for a layer that many share
//! would grow with the square of their number.

use std::collections::BTreeMap;

use layer_layout::path::{self, LayerMetadata};
use layer_layout::record::OriginRecord;
use layer_layout::{ConfigDigest, RepositoryPath};

use super::target::{Layer, Target};
use super::workspace::Workspace;
use crate::{Error, Result};

/// The records of layers, by their paths, while images are noted in them.
#[derive(Debug, Default)]
pub(super) struct Origins(BTreeMap<RepositoryPath, Origin>);

#[derive(Debug)]
struct Origin {
    /// The file as it is, if there is one.
    before: Option<Vec<u8>>,
    record: OriginRecord,
    /// The images of the group that use the layer.
    images: Vec<ConfigDigest>,
}

impl Origins {
    /// Notes an image in the records of its layers, and gives their paths.
    ///
    /// # Errors
    /// If a record cannot be read or understood.
    pub(super) fn add(&mut self, work: &Workspace, target: &Target) -> Result<Vec<RepositoryPath>> {
        let digests = target.distinct_layers().map(Layer::digest);
        let paths: Vec<_> =
            digests.map(|digest| path::layer_metadata(&digest, LayerMetadata::Origin)).collect();
        for path in &paths {
            if self.0.contains_key(path) {
                continue;
            }
            let before = work.transaction.read(path)?;
            let parsed = before.as_deref().map(OriginRecord::parse).transpose();
            let record = parsed.map_err(|error| Error::Image {
                image: target.image.reference.clone(),
                reason: format!("{path} in the repository is broken: {error}"),
            })?;
            let record = record.unwrap_or_default();
            self.0.insert(path.clone(), Origin { before, record, images: Vec::new() });
        }
        for path in &paths {
            if let Some(origin) = self.0.get_mut(path) {
                origin.images.push(target.config_digest());
            }
        }
        Ok(paths)
    }

    /// Writes the records that change. An image that turns out to be unpublishable after this may stay in one: nobody
    /// concludes from the record that an image is there.
    ///
    /// # Errors
    /// If one cannot be written.
    pub(super) fn write(self, work: &Workspace) -> Result<()> {
        for (path, Origin { before, mut record, images }) in self.0 {
            record.add(images);
            let after = record.to_json();
            if before.as_ref() != Some(&after) {
                work.transaction.write_file(&path, &after)?;
            }
        }
        Ok(())
    }
}
