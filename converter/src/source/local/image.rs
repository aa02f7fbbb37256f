//! One image in a layout or archive, once it has been found.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use layer_layout::LayerDigest;

use super::blocking::blocking;
use super::section::Section;
use super::store::Store;
use crate::source::blob::{BlobReader, Expected, OnBytes};
use crate::source::error::{Error, Missing, Part, Result};
use crate::source::image::{Descriptor, Image, LayerDescriptor};
use crate::source::manifest::CONFIG_LIMIT;
use crate::source::platforms::{Images, Platforms, of_config};

/// One image in a layout or archive.
#[derive(Debug)]
pub(in crate::source) struct LocalImage {
    pub(super) image: Image,
    pub(super) store: Arc<Store>,
    /// The name of the file with the configuration.
    pub(super) config: String,
    /// The name of the file with each layer.
    pub(super) layers: HashMap<LayerDigest, String>,
}

impl LocalImage {
    pub(in crate::source) async fn resolve(&self) -> Result<Image> {
        Ok(self.image.clone())
    }

    pub(in crate::source) async fn resolve_all(&self, wanted: &Platforms) -> Result<Images> {
        let mut image = self.image.clone();
        let platform = match image.platform.take() {
            Some(platform) => platform,
            None => of_config(&image.reference, &self.config(&image.config).await?)?,
        };
        if !wanted.accept(&platform) {
            return Err(wanted.refusal(&image.reference, vec![platform]));
        }
        image.platform = Some(platform);
        Ok(Images { images: vec![image], remarks: Vec::new() })
    }

    pub(in crate::source) async fn config(&self, config: &Descriptor) -> Result<Bytes> {
        let (store, name) = (Arc::clone(&self.store), self.config.clone());
        let image = self.image.reference.clone();
        let expected = Expected {
            image: image.as_str().into(),
            part: Part::Config,
            digest: *config.digest.digest(),
            size: config.size,
        };
        blocking(move || {
            let bytes = store.document(&image, Part::Config, &name, CONFIG_LIMIT)?;
            expected.check(&bytes)?;
            Ok(bytes)
        })
        .await
    }

    pub(in crate::source) async fn layer(
        &self,
        layer: &LayerDescriptor,
        on_bytes: OnBytes,
    ) -> Result<BlobReader> {
        let image = self.image.reference.clone();
        let expected = Expected {
            image: image.as_str().into(),
            part: Part::Layer(layer.digest),
            digest: *layer.digest.digest(),
            size: layer.size,
        };
        let name = self.layers.get(&layer.digest).ok_or_else(|| Error::Missing {
            image: image.clone(),
            what: Missing::Layer(layer.digest),
            candidates: Vec::new(),
        })?;
        let (store, name) = (Arc::clone(&self.store), name.clone());
        let Section { reader, .. } = blocking(move || store.open(&image, &name)).await?;
        Ok(BlobReader::new(Counted { reader, on_bytes }, expected))
    }
}

/// Reports what is read.
struct Counted {
    reader: Box<dyn Read + Send>,
    on_bytes: OnBytes,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count > 0 {
            (self.on_bytes)(count as u64);
        }
        Ok(count)
    }
}
