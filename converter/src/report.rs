//! What a conversion did, for people and for programs (`--json`).

use layer_layout::{ConfigDigest, DiffId, Digest, LayerDigest};
use serde::Serialize;

/// The report on one conversion. Sizes are in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The image as the user named it.
    pub image: String,
    /// How it ended.
    pub status: Status,
    /// Digest of the manifest of the published platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<Digest>,
    /// Digest of the configuration, which is the image ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<ConfigDigest>,
    /// `os/architecture[/variant]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The path that people type, relative to the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_path: Option<String>,
    /// The layers, base first, each digest once.
    pub layers: Vec<Layer>,
    /// Number of layers that this run fetched from the source.
    pub layers_fetched: usize,
    /// Number of layers that the repository already had.
    pub layers_skipped: usize,
    /// Bytes of layers that this run fetched from the source, retries included.
    pub bytes_in: u64,
    /// Bytes of the uncompressed tars that were unpacked.
    pub bytes_out: u64,
    /// Wall time of the whole conversion.
    pub seconds: f64,
    /// The thin image, if one was asked for and is in its registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thin: Option<Thin>,
    /// What a user should know although nothing failed.
    pub remarks: Vec<String>,
    /// What went wrong, with its causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a conversion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Something new is in the repository.
    Converted,
    /// Everything that was asked for was already there.
    UpToDate,
    /// Something that was asked for is missing.
    Failed,
}

/// One layer of the image.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// Digest of the blob in the registry.
    pub digest: LayerDigest,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Whether this run fetched it from the source.
    pub fetched: bool,
}

/// A thin image in a registry.
#[derive(Debug, Clone, Serialize)]
pub struct Thin {
    /// Its name.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Whether this run pushed it; otherwise the registry already had it.
    pub pushed: bool,
}

impl Report {
    /// A report on `image`, about which nothing is known yet.
    pub fn new(image: String) -> Self {
        Self {
            image,
            status: Status::Failed,
            manifest_digest: None,
            config_digest: None,
            platform: None,
            public_path: None,
            layers: Vec::new(),
            layers_fetched: 0,
            layers_skipped: 0,
            bytes_in: 0,
            bytes_out: 0,
            seconds: 0.0,
            thin: None,
            remarks: Vec::new(),
            error: None,
        }
    }
}
