//! What can go wrong while an image is converted. Every variant names the thing, keeps its cause, and says
//! what to do where that is not plain.

use layer_layout::{DiffId, LayerDigest};

use crate::{layer, repository, source};

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image was not converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be had from where it should come from.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The image could not be written to where it should go.
    #[error(transparent)]
    Repository(#[from] repository::Error),
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
    /// The user gave up.
    #[error("interrupted; nothing was published")]
    Cancelled,
    /// A thread of this program died.
    #[error("internal error: a worker died: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

impl Error {
    /// What the engine of CernVM-FS repositories said, if the error is one of its own.
    pub fn of_engine(&self) -> Option<&cvmfs_repository::Error> {
        match self {
            Self::Repository(error) => error.of_engine(),
            Self::Layer { cause, .. } => match &**cause {
                LayerError::Repository(error) => error.of_engine(),
                _ => None,
            },
            _ => None,
        }
    }

    /// What was wrong with a layer of `image`. What its source said is told as it is: that names image and
    /// layer already.
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
