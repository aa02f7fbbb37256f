//! Where an image comes from: a registry, an OCI image layout, or a docker-archive.
//!
//! A [`Source`] yields the raw documents of one image and a stream for each of its layers. Nothing that it
//! yields is unchecked: documents have the digest they were asked for by, descriptors were parsed, and a
//! [`BlobReader`] does not come to its end unless digest *and* size are right.
//!
//! | module | what it is for |
//! |---|---|
//! | `manifest` | indexes and manifests: pure parsing, the choice of a platform |
//! | `blob` | reading with verification |
//! | `failure` | why a registry did not do what it was asked, and whether trying again may help |
//! | `registry` | the OCI distribution-spec over HTTP: authentication, retries, resumed downloads |
//! | [`push_thin`] | a thin image into a registry |
//! | [`credentials`] | who to be towards which registry |
//! | `local` | layouts and archives |

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
pub use registry::{Pushed, push_thin};

/// One image at the place it comes from.
#[derive(Debug)]
pub struct Source(Kind);

#[derive(Debug)]
enum Kind {
    Registry(Box<registry::Registry>),
    Local(Box<local::LocalImage>),
}

impl Source {
    /// Prepares access. A registry is not contacted yet; the index of an archive is read.
    ///
    /// # Errors
    /// If a layout or archive cannot be read, the reference is a wildcard, or a CA certificate for the
    /// registry is broken.
    pub async fn open(reference: &ImageReference, options: &Options) -> Result<Self> {
        match reference {
            ImageReference::Registry(reference) => {
                registry::Registry::open(reference, options).map(|it| Kind::Registry(Box::new(it)))
            }
            _ => local::open(reference, options).await.map(|it| Kind::Local(Box::new(it))),
        }
        .map(Self)
    }

    /// Finds the image for the wanted platform.
    ///
    /// A registry is asked once by tag or digest; if that leads to an index, a second time for the manifest
    /// of the platform, unless that is `known`.
    ///
    /// # Errors
    /// If there is no such image, or it cannot be used; the error names what there is instead.
    pub async fn resolve(&self, known: Option<&KnownManifest>) -> Result<Image> {
        match &self.0 {
            Kind::Registry(registry) => registry.resolve(known).await,
            Kind::Local(local) => local.resolve().await,
        }
    }

    /// The raw configuration of an image, with the right digest and size.
    ///
    /// # Errors
    /// If it cannot be had or is not what the manifest promises.
    pub async fn config(&self, image: &Image) -> Result<Bytes> {
        match &self.0 {
            Kind::Registry(registry) => registry.config(&image.config).await,
            Kind::Local(local) => local.config(&image.config).await,
        }
    }

    /// The content of a layer as served, usually compressed. Waits until one of the parallel downloads is
    /// free, in the order of the calls; it is free again when the reader is dropped or all has come in.
    ///
    /// `on_bytes` hears of every byte once, also if a download had to be resumed.
    ///
    /// # Errors
    /// If a layout or archive has no such layer. What goes wrong with a download fails the reader.
    pub async fn layer(&self, layer: &LayerDescriptor, on_bytes: OnBytes) -> Result<BlobReader> {
        match &self.0 {
            Kind::Registry(registry) => registry.layer(layer, on_bytes).await,
            Kind::Local(local) => local.layer(layer, on_bytes).await,
        }
    }
}

#[cfg(test)]
mod tests;
