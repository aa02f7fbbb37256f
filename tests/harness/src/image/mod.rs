//! A reproducible image builder: the same entries always give the same digests.
//!
//! Tests describe a layer as a list of typed [`Entry`]s, hostile ones too, and get an [`Image`] that can be written as an
//! OCI layout or a docker-archive or pushed to a registry. Formats: OCI image-spec 1.1 and Docker's image manifest
//! version 2, schema 2.

mod archive;
mod blob;
mod entry;
mod index;
mod layer;
mod layout;
mod manifest;
mod push;
mod tar_writer;

pub use archive::write_docker_archive;
pub use blob::{Blob, digest_of};
pub use entry::{Content, Entry, Kind, Sparse, Time};
pub use index::Index;
pub use layer::{Compression, Layer, LayerBuilder};
pub use layout::{read_layout, write_layout};
pub use manifest::{Config, Format, Image, host_architecture};
pub use push::push;
pub use tar_writer::{LongNames, TarWriter};

/// Something with a name in a registry or a layout: an image, or an index of images.
pub trait Artifact {
    /// The manifest or index itself.
    fn top(&self) -> &Blob;
    /// All blobs it needs (configs, layers), manifests excluded.
    fn blobs(&self) -> Vec<&Blob>;
    /// Manifests that the top one names.
    fn manifests(&self) -> Vec<&Blob>;
}
