//! What can go wrong while an image is converted. Every variant names what it is about, keeps its cause, and
//! says what to do where that is not obvious.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use layer_layout::{DiffId, LayerDigest};
use tokio::task::JoinError;

use crate::attempts::Outpaced;
use crate::{layer, removal, repository, source};

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
    /// The repository's records of images that are to be removed could not be kept.
    #[error(transparent)]
    Records(#[from] removal::Error),
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
    /// The user gave up while the commit was under way, and it did not come to an end.
    #[error(
        "interrupted while the image was being published: either all of it appears or nothing; run the same \
         command again to see which"
    )]
    CancelledInCommit,
    /// The user gave up when only the thin image was missing.
    #[error("interrupted; the image is published, but its thin image may not be in the registry")]
    CancelledBeforeThin,
    /// Other publishers were faster, too often.
    #[error(transparent)]
    Outpaced(#[from] Outpaced),
    /// The images that it was to appear together with could not be published.
    #[error(transparent)]
    Group(Arc<Error>),
    /// A thread of this program did not come to its end.
    #[error("this is a bug in ducc, please report it: {0}")]
    Worker(String),
}

impl From<JoinError> for Error {
    fn from(error: JoinError) -> Self {
        let panic = match error.try_into_panic() {
            Ok(panic) => panic,
            Err(error) => return Self::Worker(format!("a thread was stopped too early ({error})")),
        };
        let text = match panic.downcast::<String>() {
            Ok(text) => Some(*text),
            Err(panic) => panic.downcast_ref::<&str>().map(ToString::to_string),
        };
        Self::Worker(match text {
            Some(text) => format!("a thread panicked: {text}"),
            None => "a thread panicked".to_owned(),
        })
    }
}

impl Error {
    /// What the engine of CernVM-FS repositories said, if the error is one of its own.
    pub fn of_engine(&self) -> Option<&cvmfs_repository::Error> {
        match self {
            Self::Repository(error) => error.of_engine(),
            Self::Group(error) => error.of_engine(),
            Self::Layer { cause, .. } => match &**cause {
                LayerError::Repository(error) => error.of_engine(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether another publisher or a garbage collection came in between, so that the same can be expected to succeed
    /// if it is done again, beginning with reading the repository.
    pub fn is_overtaken(&self) -> bool {
        self.of_repository().is_some_and(repository::Error::is_overtaken)
    }

    /// Whether a garbage collection has made worthless what was prepared.
    pub fn is_collected(&self) -> bool {
        self.of_repository().is_some_and(repository::Error::is_collected)
    }

    /// Whether the batch in which it happened should end, because nothing of it can be published any more, or because it
    /// takes the space that is wanted.
    pub(crate) fn ends_batch(&self) -> bool {
        let is_unfinished =
            || matches!(self.of_repository(), Some(repository::Error::Unfinished(_)));
        self.is_collected() || is_unfinished() || self.is_for_want_of_space()
    }

    /// Whether it concerns all images of a batch, not only the one that met it.
    pub(crate) fn concerns_batch(&self) -> bool {
        self.ends_batch() || matches!(self, Self::Cancelled | Self::CancelledInCommit)
    }

    fn is_for_want_of_space(&self) -> bool {
        let first: &(dyn std::error::Error + 'static) = self;
        std::iter::successors(Some(first), |error| error.source()).any(|cause| {
            let of_system = cause.downcast_ref::<io::Error>().map(io::Error::kind);
            let of_database = cause
                .downcast_ref::<rusqlite::Error>()
                .and_then(rusqlite::Error::sqlite_error_code);
            matches!(of_system, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
                || of_database == Some(rusqlite::ErrorCode::DiskFull)
        })
    }

    /// Whether something else stands where an image has to go, which concerns that image alone.
    pub(crate) fn is_in_the_way(&self) -> bool {
        self.of_repository().is_some_and(repository::Error::is_in_the_way)
    }

    fn of_repository(&self) -> Option<&repository::Error> {
        match self {
            Self::Repository(error) | Self::Records(removal::Error::Repository(error)) => {
                Some(error)
            }
            Self::Group(error) => error.of_repository(),
            _ => None,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_ends_the_batch_wherever_it_is_met() {
        let system = |kind: ErrorKind| repository::Error::system("write", "/srv/f", kind);
        let layer = |kind| LayerError::Repository(system(kind));
        let digest = layer_layout::Digest::of(b"").into();
        let of_layer = |kind| Error::of_layer("r.io/a:1", digest, layer(kind));
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            assert!(Error::from(system(kind)).ends_batch());
            assert!(of_layer(kind).ends_batch());
            assert!(Error::Group(Arc::new(of_layer(kind))).ends_batch());
        }
        assert!(!of_layer(ErrorKind::ReadOnlyFilesystem).ends_batch());
        assert!(!Error::Cancelled.ends_batch());
        let unfinished = || Error::from(repository::Error::Unfinished("/srv".into()));
        assert!(Error::Group(Arc::new(unfinished())).ends_batch());
    }
}
