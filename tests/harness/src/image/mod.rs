//! A reproducible image builder: the same entries always give the same digests.
//!
//! Tests describe a layer as a list of typed [`Entry`]s, including hostile ones, and get an [`Image`] that can be
//! written as an OCI layout or a docker-archive or pushed to a registry. The formats are OCI image-spec 1.1 and Docker's
//! image manifest version 2, schema 2.

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
    /// All blobs it needs except manifests: configs and layers.
    fn blobs(&self) -> Vec<&Blob>;
    /// The manifests that it lists, if it is an index.
    fn manifests(&self) -> Vec<&Blob>;
}
