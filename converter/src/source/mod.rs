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
//! | `coding` | answers that are marked as compressed, and may be |
//! | `failure` | why a registry did not do what it was asked, and whether trying again may help |
//! | `platforms` | which images of an index are wanted; pure |
//! | `registry` | the OCI distribution-spec over HTTP: mirrors, retries, resumed downloads |
//! | `hosts` | what all images of a run share for each registry: connections, tokens, limits |
//! | [`push_thin`] | a thin image into a registry |
//! | [`list_tags`], [`created`] | what a wish list wants to know about a repository |
//! | [`credentials`] | which login to use for which registry |
//! | [`registries_conf`] | mirrors and other places |
//! | [`policy`] | whose signatures an image needs |
//! | `local` | OCI layouts and docker-archives |

mod blob;
mod coding;
mod created;
pub mod credentials;
mod error;
mod failure;
mod hosts;
mod image;
mod local;
mod manifest;
mod media_type;
mod options;
mod platforms;
pub mod policy;
pub mod registries_conf;
mod registry;

use bytes::Bytes;
use layer_layout::{Digest, ImageReference};

pub use blob::{BlobReader, OnBytes, Stopper};
pub use created::created;
pub use credentials::Credentials;
pub use error::{DocumentError, Error, Missing, Part, ReferenceError, Result, SetupError};
pub use failure::Failure;
pub(crate) use failure::retry_after;
pub use hosts::Registries;
pub use image::{Descriptor, Document, Image, KnownManifest, LayerDescriptor};
pub use manifest::lists;
pub use media_type::LayerRefusal;
pub use options::Options;
pub use platforms::{Images, Platforms, Remark};
pub use policy::{Policy, Refusal};
pub use registries_conf::RegistriesConf;
pub(crate) use registry::Retry;
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
    /// If a layout or archive cannot be read or the policy wants signatures, which it cannot have; if the
    /// reference is a wildcard or `registries.conf` blocks it, or a certificate for the registry cannot be used.
    pub async fn open(reference: &ImageReference, options: &Options) -> Result<Self> {
        match reference {
            ImageReference::Registry(reference) => registry::Registry::open(reference, options)
                .map(|it| Backend::Registry(Box::new(it))),
            _ if options.policy.is_some() => {
                let (image, reason) = (reference.to_string(), Box::new(Refusal::NotInARegistry));
                Err(Error::Unsigned { image, reason })
            }
            _ => local::open(reference, options).await.map(|it| Backend::Local(Box::new(it))),
        }
        .map(Self)
    }

    /// The digest of what the reference leads to now, an index or a manifest: whether it is still that of
    /// [`Image::index`] or [`Image::manifest`] tells whether an image has changed.
    ///
    /// A registry is asked once, with HEAD (and with GET if it does not like that or gives no SHA-256), and not
    /// at all if the reference has a digest. Nothing is checked against a policy.
    ///
    /// # Errors
    /// If the registry does not answer, or has no such tag.
    pub async fn current_digest(&self) -> Result<Digest> {
        match &self.0 {
            Backend::Registry(registry) => registry.current_digest().await,
            Backend::Local(local) => {
                let image = local.resolve().await?;
                Ok(image.index.map_or(image.manifest.digest, |index| index.digest))
            }
        }
    }

    /// Finds the image for the wanted platform.
    ///
    /// A registry is asked once, by tag or digest. If that leads to an index, it is asked a second time, for
    /// the platform's manifest, unless that manifest is `known`. A policy costs further requests.
    ///
    /// # Errors
    /// If there is no such image, it cannot be used, or is not signed as it has to be; the error says what there
    /// is instead.
    pub async fn resolve(&self, known: Option<&KnownManifest>) -> Result<Image> {
        match &self.0 {
            Backend::Registry(registry) => registry.resolve(known).await,
            Backend::Local(local) => local.resolve().await,
        }
    }

    /// Finds the images for several platforms. Attestations, signatures and other artifacts in an index are no
    /// images. An image that is not in an index is for the platform that its configuration names.
    ///
    /// A registry is asked once for the index, and once for each manifest that is not `known`; and once for the
    /// configuration of an image of which nothing else tells the platform. A layout or archive yields the one
    /// image that its reference and [`Options::platform`] choose.
    ///
    /// # Errors
    /// As [`Self::resolve`], also if there is an image for none of the platforms.
    pub async fn resolve_all(&self, wanted: &Platforms, known: &[KnownManifest]) -> Result<Images> {
        match &self.0 {
            Backend::Registry(registry) => registry.resolve_all(wanted, known).await,
            Backend::Local(local) => local.resolve_all(wanted).await,
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

    /// The content of a layer as served, usually compressed. If all download slots of the run are taken, this waits for
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
