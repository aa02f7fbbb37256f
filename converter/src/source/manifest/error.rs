//! Why a document is of no use.

use layer_layout::LayerDigest;

use super::super::media_type::LayerRefusal;

/// What is wrong with a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or not the JSON of an index or manifest.
    #[error("it is not a manifest: {0}")]
    NotAManifest(serde_json::Error),
    /// A member is missing or has the wrong type.
    #[error("{0}")]
    Json(serde_json::Error),
    /// Docker's first format.
    #[error(
        "it is in Docker's old format, schema 1; rebuild the image or push it again with a current Docker or \
         Podman"
    )]
    Schema1,
    /// Two readers would see two images (OCI image-spec advisory GHSA-77vh-xpmg-72qh).
    #[error("it is both an index and a manifest")]
    IndexAndManifest,
    /// Of the source and the document, one says that it is an index and the other that it is a manifest.
    #[error("it was served as {declared} but calls itself {own}")]
    MediaTypes {
        /// What the source says.
        declared: String,
        /// What the document says.
        own: String,
    },
    /// A JSON document of another kind.
    #[error("it has neither manifests nor layers")]
    NoImage,
    /// An index of something other than images.
    #[error("it lists no image, only attestations, signatures or images for Windows")]
    NoImages,
    /// A configuration without operating system or architecture.
    #[error("it does not say for which platform it is; ask for one platform")]
    NoPlatform,
    /// What should be an index is a manifest.
    #[error("it calls itself {0} but lists no manifests")]
    NoManifests(String),
    /// A manifest without its configuration.
    #[error("it calls itself {0} but names no configuration")]
    NoConfig(String),
    /// A media type that no image has.
    #[error("media type {0} is not that of a container image")]
    MediaType(String),
    /// A manifest of something else, for instance of a signature.
    #[error("it describes {0}, not a container image; name the image it belongs to")]
    Artifact(String),
    /// A descriptor's digest is malformed.
    #[error("{0}")]
    Digest(layer_layout::Error),
    /// A descriptor's digest is of another algorithm.
    #[error(
        "it names content by its {0} digest, and only SHA-256 is supported; push the image again with a tool that \
         uses SHA-256, as all do if they are not told otherwise"
    )]
    DigestAlgorithm(String),
    /// A descriptor without a size.
    #[error("it does not tell the size of {0}")]
    NoSize(String),
    /// The entry of an index that would be taken cannot be.
    #[error("its entry for {platform} cannot be used: {reason}")]
    Entry {
        /// What the entry is for, in words.
        platform: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Indexes lead to further ones without end.
    #[error("its indexes are nested too deep, or lead to too many others")]
    TooDeep,
    /// The `oci-layout` file of a layout is not the JSON that it should be.
    #[error("oci-layout is broken: {0}")]
    OciLayout(serde_json::Error),
    /// A layout of a version that is not known here.
    #[error("layout version {0:?} is unknown")]
    LayoutVersion(String),
    /// The `manifest.json` of a docker-archive is not the JSON that it should be.
    #[error("manifest.json is broken: {0}")]
    ArchiveManifest(serde_json::Error),
    /// The `manifest.json` of a docker-archive is empty.
    #[error("manifest.json names no image")]
    EmptyArchive,
    /// The configuration in a docker-archive has no `rootfs.diff_ids`.
    #[error("it has no list of layers: {0}")]
    NoLayers(serde_json::Error),
    /// The configuration in a docker-archive and the archive disagree.
    #[error("it promises {promised} layers, the archive has {got}")]
    LayerCount {
        /// Layers of the configuration.
        promised: usize,
        /// Layers of the archive.
        got: usize,
    },
    /// An archive of Docker's containerd store from which blobs are missing.
    #[error(
        "the archive lacks {missing}: Docker has saved an image whose content its store did not hold, as it does \
         without an error; copy the image from its registry instead, for instance with \
         `skopeo copy docker://{origin} docker-archive:FILE`"
    )]
    SavedWithoutContent {
        /// The member that is missing first.
        missing: String,
        /// Where the image comes from, as far as the archive tells.
        origin: String,
    },
}

/// Why a document cannot be used, without the name of its image.
#[derive(Debug)]
pub(in super::super) enum Unfit {
    /// The document itself.
    Document(DocumentError),
    /// One of its layers.
    Layer {
        /// Which.
        layer: LayerDigest,
        /// The media type of its descriptor.
        media_type: String,
        /// Why it cannot be unpacked.
        reason: LayerRefusal,
    },
    /// The configuration is larger than this limit, in bytes.
    ConfigTooLarge(u64),
}

impl From<DocumentError> for Unfit {
    fn from(error: DocumentError) -> Self {
        Self::Document(error)
    }
}
