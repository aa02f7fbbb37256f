//! What a source yields: the raw documents of an image, and descriptors that have been checked.

use bytes::Bytes;
use layer_layout::{ConfigDigest, Digest, LayerDigest, Platform, PublicName};

/// A JSON document exactly as its source served it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The raw bytes.
    pub bytes: Bytes,
    /// Its media type: an index or manifest of OCI or Docker.
    pub media_type: String,
    /// SHA-256 of `bytes`.
    pub digest: Digest,
}

impl Document {
    pub(super) fn new(bytes: Bytes, media_type: &str) -> Self {
        Self { digest: Digest::of(&bytes), media_type: media_type.to_owned(), bytes }
    }
}

/// A manifest that the caller has kept from an earlier conversion. If the tag still leads to it, it is not
/// fetched again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownManifest {
    /// The raw bytes.
    pub bytes: Bytes,
    /// SHA-256 of `bytes`.
    pub digest: Digest,
}

impl KnownManifest {
    /// A manifest from its raw bytes, as a registry served them.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(&bytes), bytes }
    }
}

/// What a manifest says about its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// SHA-256 of the content: the image ID.
    pub digest: ConfigDigest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Media type of the content.
    pub media_type: String,
}

/// What a manifest says about one of its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDescriptor {
    /// SHA-256 of the blob as served, usually compressed.
    pub digest: LayerDigest,
    /// Size of the blob as served, in bytes.
    pub size: u64,
    /// Media type of the blob: an OCI or Docker layer, uncompressed, gzip or zstd.
    pub media_type: String,
}

/// One image: its documents, and what they lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The whole name of the image as its user gave it, scheme or transport included.
    pub reference: String,
    /// The index or manifest list through which the manifest was found, if there was one.
    pub index: Option<Document>,
    /// The platform of the index's entry. Without an index, [`super::Source::resolve_all`] gives the platform
    /// that the configuration names, [`super::Source::resolve`] `None`.
    pub platform: Option<Platform>,
    /// The manifest. For a docker-archive, which has none, a Docker schema 2 manifest that depends on the
    /// archive's content only.
    pub manifest: Document,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, base first. The same layer may occur more than once.
    pub layers: Vec<LayerDescriptor>,
    /// The public name that the source suggests: the registry's name, the first usable `RepoTags` of a
    /// docker-archive, or `localhost/<directory or file>:<tag or latest>`.
    pub name: Option<PublicName>,
}
