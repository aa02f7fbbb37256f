//! Where an image comes from: a registry, an OCI image layout, or a docker-archive.
//!
//! A [`Source`] yields the raw documents of one image and a stream for each of its layers. Everything it
//! yields has been checked: documents have the digest by which they were asked for, descriptors have been
//! parsed, and a [`BlobReader`] reaches its end only if both digest and size are right.
//!
//! | module | what it is for |
//! |---|---|
//! | `manifest` | parsing indexes and manifests, and choosing a platform; pure |
//! | `blob` | reading with verification |
//! | `failure` | why a registry did not do what it was asked, and whether trying again may help |
//! | `registry` | the OCI distribution-spec over HTTP: authentication, retries, resumed downloads |
//! | [`push_thin`] | a thin image into a registry |
//! | [`list_tags`] | the tags of a repository |
//! | [`credentials`] | which login to use for which registry |
//! | `local` | OCI layouts and docker-archives |

mod blob;
pub mod credentials;
mod error;
mod failure;
mod image;
mod local;
mod manifest;
mod media_type;
mod options;
mod registry;

use bytes::Bytes;
use layer_layout::ImageReference;

pub use blob::{BlobReader, OnBytes, Stopper};
pub use credentials::Credentials;
pub use error::{DocumentError, Error, Missing, Part, ReferenceError, Result, SetupError};
pub use failure::Failure;
pub use image::{Descriptor, Document, Image, KnownManifest, LayerDescriptor};
pub use media_type::LayerRefusal;
pub use options::Options;
pub use registry::{Pushed, list_tags, push_thin};

/// The place one image comes from.
#[derive(Debug)]
pub struct Source(Backend);

#[derive(Debug)]
enum Backend {
    Registry(Box<registry::Registry>),
    Local(Box<local::LocalImage>),
}

impl Source {
    /// Prepares access. A registry is not contacted yet; the index of a layout or archive is read.
    ///
    /// # Errors
    /// If a layout or archive cannot be read, the reference is a wildcard, or a CA certificate for the
    /// registry cannot be used.
    pub async fn open(reference: &ImageReference, options: &Options) -> Result<Self> {
        match reference {
            ImageReference::Registry(reference) => registry::Registry::open(reference, options)
                .map(|it| Backend::Registry(Box::new(it))),
            _ => local::open(reference, options).await.map(|it| Backend::Local(Box::new(it))),
        }
        .map(Self)
    }

    /// Finds the image for the wanted platform.
    ///
    /// A registry is asked once, by tag or digest. If that leads to an index, it is asked a second time, for
    /// the platform's manifest, unless that manifest is `known`.
    ///
    /// # Errors
    /// If there is no such image, or it cannot be used; the error says what there is instead.
    pub async fn resolve(&self, known: Option<&KnownManifest>) -> Result<Image> {
        match &self.0 {
            Backend::Registry(registry) => registry.resolve(known).await,
            Backend::Local(local) => local.resolve().await,
        }
    }

    /// The raw configuration of an image; its digest and size have been checked.
    ///
    /// # Errors
    /// If it cannot be read or is not what the manifest promises.
    pub async fn config(&self, image: &Image) -> Result<Bytes> {
        match &self.0 {
            Backend::Registry(registry) => registry.config(&image.config).await,
            Backend::Local(local) => local.config(&image.config).await,
        }
    }

    /// The content of a layer as served, usually compressed. If all download slots are taken, this waits for
    /// one, first come, first served; the slot is free again when the whole layer has arrived or the reader is
    /// dropped.
    ///
    /// `on_bytes` is told of every byte exactly once, even if the download had to be resumed.
    ///
    /// # Errors
    /// If a layout or archive has no such layer. If a download fails, reading from the reader fails.
    pub async fn layer(&self, layer: &LayerDescriptor, on_bytes: OnBytes) -> Result<BlobReader> {
        match &self.0 {
            Backend::Registry(registry) => registry.layer(layer, on_bytes).await,
            Backend::Local(local) => local.layer(layer, on_bytes).await,
        }
    }
}

#[cfg(test)]
mod tests;
