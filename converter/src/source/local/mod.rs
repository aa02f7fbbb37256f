//! Images in files: OCI image layouts, as a directory or in a tar, and docker-archives.
//!
//! What is in a file is trusted no more than what a registry sends: every blob is checked while it is read.
//! Nothing is unpacked to disk.

mod archive;
mod docker_archive;
mod layout;
mod store;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use layer_layout::{ImageReference, LayerDigest};

use self::archive::Archive;
use self::store::{Section, Store};
use super::blob::{BlobReader, Expected, OnBytes};
use super::error::{Error, Part, Result};
use super::image::{Descriptor, Image, LayerDescriptor};
use super::manifest::CONFIG_LIMIT;
use super::options::Options;

/// One image in a layout or archive.
#[derive(Debug)]
pub(super) struct Local {
    image: Image,
    store: Arc<Store>,
    /// Where the configuration is.
    config: String,
    /// Where each layer is.
    layers: HashMap<LayerDigest, String>,
}

impl Local {
    pub(super) async fn open(reference: &ImageReference, options: &Options) -> Result<Self> {
        let (reference, platform) = (reference.clone(), options.platform.clone());
        blocking(move || {
            let name = reference.to_string();
            match &reference {
                ImageReference::OciLayout { directory, tag } => {
                    let store = Store::Directory(directory.clone());
                    layout::open(&name, stem(directory), store, tag.as_deref(), &platform)
                }
                ImageReference::OciArchive { file } => {
                    let store = Store::Archive(Archive::open(file)?);
                    layout::open(&name, stem(file), store, None, &platform)
                }
                ImageReference::DockerArchive { file } => {
                    docker_archive::open(&name, &stem(file), Archive::open(file)?)
                }
                ImageReference::Registry(_) => Err(Error::Reference {
                    image: name,
                    reason: "this is in a registry, not in a file".to_owned(),
                }),
            }
        })
        .await
    }

    pub(super) async fn resolve(&self) -> Result<Image> {
        Ok(self.image.clone())
    }

    pub(super) async fn config(&self, config: &Descriptor) -> Result<Bytes> {
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

    pub(super) async fn layer(
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
            what: format!("layer {}", layer.digest),
            candidates: Vec::new(),
        })?;
        let (store, name) = (Arc::clone(&self.store), name.clone());
        let Section { reader, .. } = blocking(move || store.open(&image, &name)).await?;
        Ok(BlobReader::new(Counted { reader, on_bytes }, expected))
    }
}

/// Tells of what is read.
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

/// The name that a directory or file gives to its image.
fn stem(path: &Path) -> String {
    // `.` and `..` have a name of their own only once they are resolved.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Runs file access where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests;
