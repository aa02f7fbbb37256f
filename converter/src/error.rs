//! What can go wrong while an image is converted. Every variant names the thing, keeps its cause, and says
//! what to do where that is not plain.

use std::path::PathBuf;

use layer_layout::{DiffId, LayerDigest};

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image was not converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be had from where it should come from.
    #[error(transparent)]
    Source(#[from] crate::source::Error),
    /// The image could not be written to where it should go.
    #[error(transparent)]
    Repository(#[from] crate::repository::Error),
    /// A layer was not what its image promised, or is hostile, or could not be unpacked.
    #[error("layer {layer} of {image}")]
    Layer {
        /// The image as its user named it.
        image: String,
        /// The layer.
        layer: LayerDigest,
        /// What is wrong with it.
        #[source]
        cause: Box<LayerError>,
    },
    /// The image's own documents contradict each other or themselves.
    #[error("image {image}: {reason}")]
    Image {
        /// The image as its user named it.
        image: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A text or document was not what it has to be.
    #[error(transparent)]
    Layout(#[from] layer_layout::Error),
    /// A file of the machine itself could not be used.
    #[error("{}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The user gave up.
    #[error("interrupted; nothing was published")]
    Cancelled,
    /// A thread of this program died.
    #[error("internal error: a worker died: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// What can be wrong with one layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its blob could not be had, or is not what its descriptor says.
    #[error(transparent)]
    Source(#[from] crate::source::Error),
    /// Its tar is broken, hostile or over a limit.
    #[error(transparent)]
    Content(#[from] crate::layer::Error),
    /// It could not be written.
    #[error(transparent)]
    Repository(#[from] crate::repository::Error),
    /// Its uncompressed content is not what the image's configuration promises.
    #[error(
        "the uncompressed content has DiffID {got}, the image's configuration promises {expected}"
    )]
    DiffId {
        /// From the configuration's `rootfs.diff_ids`.
        expected: DiffId,
        /// From the content.
        got: DiffId,
    },
}
