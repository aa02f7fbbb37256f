//! What can go wrong while an image is converted. Every variant names what it is about, keeps its cause, and
//! says what to do where that is not obvious.

use layer_layout::{DiffId, LayerDigest};

use crate::{layer, repository, source};

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image was not converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read from its source.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The image could not be written to the repository.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// A layer is not what its image promises, is hostile, or could not be unpacked.
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
    /// A text or document is malformed.
    #[error(transparent)]
    Layout(#[from] layer_layout::Error),
    /// The user interrupted the conversion.
    #[error("interrupted; nothing was published")]
    Cancelled,
    /// A thread of this program panicked.
    #[error("internal error: a worker died: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

impl Error {
    /// The error for a layer of `image`. An error of its source is kept as it is, because it already names
    /// the image and the layer.
    pub(crate) fn of_layer(image: &str, layer: LayerDigest, cause: LayerError) -> Self {
        let wrap = |cause: LayerError| Self::Layer {
            image: image.to_owned(),
            layer,
            cause: Box::new(cause),
        };
        match cause {
            LayerError::Content(layer::Error::Read(read)) => match read.downcast() {
                Ok(said) => Self::Source(said),
                Err(read) => wrap(LayerError::Content(layer::Error::Read(read))),
            },
            LayerError::Repository(repository::Error::Content { path, cause: read }) => {
                match read.downcast() {
                    Ok(said) => Self::Source(said),
                    Err(cause) => wrap(repository::Error::Content { path, cause }.into()),
                }
            }
            cause => wrap(cause),
        }
    }
}

/// What can be wrong with one layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its tar is broken, hostile or over a limit.
    #[error(transparent)]
    Content(#[from] layer::Error),
    /// It could not be written.
    #[error(transparent)]
    Repository(#[from] repository::Error),
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
