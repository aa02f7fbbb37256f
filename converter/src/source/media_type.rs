//! The media types of images, and what each is.
//!
//! OCI image-spec, `media-types.md`, with its table of compatible Docker types (Docker image manifest
//! version 2, schema 2). `application/vnd.docker.image.rootfs.diff.tar.zstd` is in neither, but is what
//! BuildKit and containerd write into Docker manifests of zstd images.

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

pub(super) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
pub(super) const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(super) const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// How the types of OCI's layers begin.
const OCI_LAYER: &str = "application/vnd.oci.image.layer.";

const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const DOCKER_SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// All types of manifests, for the `Accept` header: a registry converts what is not listed, or refuses it.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// What a document of a registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DocumentKind {
    /// Several manifests, by platform.
    Index,
    /// One image.
    Manifest,
    /// Docker's first format, which has neither a configuration nor sizes.
    Schema1,
}

impl DocumentKind {
    /// The kind that a media type stands for; `None` if it is not that of a manifest.
    pub(super) fn of(media_type: &str) -> Option<Self> {
        match media_type {
            OCI_INDEX | DOCKER_LIST => Some(Self::Index),
            OCI_MANIFEST | DOCKER_MANIFEST => Some(Self::Manifest),
            DOCKER_SCHEMA_1 | DOCKER_SCHEMA_1_SIGNED => Some(Self::Schema1),
            _ => None,
        }
    }
}

/// A media type without parameters, in lower case: a `Content-Type` may carry some, and case does not matter (RFC 9110,
/// section 8.3.1).
pub(super) fn essence(media_type: &str) -> String {
    let (essence, _) = media_type.split_once(';').unwrap_or((media_type, ""));
    essence.trim().to_ascii_lowercase()
}

/// The configuration of an artifact that has none (OCI image-spec, `manifest.md`, "Guidance for an empty descriptor").
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Whether a descriptor of this type certainly does not lead to an image's configuration, whatever the layers are.
pub(super) fn is_no_config(media_type: &str) -> bool {
    essence(media_type) == EMPTY
}

/// Whether a type says nothing of what it is for. Rule: Docker, which finds such ones in old images.
pub(super) fn is_generic(media_type: &str) -> bool {
    matches!(
        essence(media_type).as_str(),
        "" | "application/octet-stream" | "application/json" | "text/html" | "text/plain"
    )
}

/// Whether a descriptor of this type leads to an image's configuration. What has another type may do so all the same:
/// registries of 2016 wrote `application/octet-stream` (distribution/distribution issue 1622), or what a proxy said.
pub(super) fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Whether a layer of this type should not be compressed.
pub(super) fn is_plain(media_type: &str) -> bool {
    matches!(essence(media_type).as_str(), "application/vnd.oci.image.layer.v1.tar" | DOCKER_LAYER)
}

/// Why a layer cannot be used, judged by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayerRefusal {
    /// A layer that the registry does not hold.
    #[error(
        "a foreign layer is not in the registry and may not be redistributed (usual for Windows images); push a \
         copy of the image that contains it"
    )]
    Foreign,
    /// A layer that only the holder of a key can read.
    #[error(
        "the layer is encrypted; push a copy of the image that is not, for instance with \
         `skopeo copy --decryption-key`"
    )]
    Encrypted,
    /// Anything else.
    #[error("not a tar layer of OCI or Docker, so this is not a container image")]
    NotALayer,
}

/// Why a layer of this type cannot be used; `None` if it can. How a layer is compressed is seen from its content, and
/// whether it is one at all from its DiffID, so a type that says nothing does not matter.
pub(super) fn layer_refusal(media_type: &str) -> Option<LayerRefusal> {
    let media_type = essence(media_type);
    if media_type.starts_with(OCI_LAYER) && media_type.ends_with("+encrypted") {
        return Some(LayerRefusal::Encrypted);
    }
    match media_type.as_str() {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.v1.tar+zstd"
        | DOCKER_LAYER
        | DOCKER_LAYER_GZIP
        | DOCKER_LAYER_ZSTD
        | ""
        | "application/octet-stream" => None,
        "application/vnd.docker.image.rootfs.foreign.diff.tar"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => {
            Some(LayerRefusal::Foreign)
        }
        _ => Some(LayerRefusal::NotALayer),
    }
}
