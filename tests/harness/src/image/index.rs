//! One name for several platforms: an OCI index or a Docker manifest list.

use anyhow::Result;
use serde_json::{Value, json};

use super::Artifact;
use super::blob::Blob;
use super::manifest::{Format, Image};

/// An index and the images it names.
#[derive(Debug, Clone)]
pub struct Index {
    /// The index itself.
    pub index: Blob,
    /// The images in order.
    pub images: Vec<Image>,
}

impl Index {
    /// An index of `images`, with the platforms of their configs.
    pub fn new(format: Format, images: Vec<Image>) -> Result<Self> {
        let media_type = match format {
            Format::Oci => "application/vnd.oci.image.index.v1+json",
            Format::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        let manifests: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut descriptor = image.manifest.descriptor();
                if let Some(object) = descriptor.as_object_mut() {
                    object.insert("platform".to_owned(), image.settings.platform());
                }
                descriptor
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        Ok(Self { index: Blob::from_json(media_type, &index)?, images })
    }
}

impl Artifact for Index {
    fn top(&self) -> &Blob {
        &self.index
    }

    fn blobs(&self) -> Vec<&Blob> {
        self.images.iter().flat_map(Artifact::blobs).collect()
    }

    fn manifests(&self) -> Vec<&Blob> {
        self.images.iter().map(|image| &image.manifest).collect()
    }
}
