//! What can go wrong, in the classes that containerd distinguishes.
//!
//! containerd's client turns the gRPC code into one of its error classes and cuts the class's text off the
//! end of the message (`errdefs`, `errgrpc`), so every message ends with exactly that text. No gRPC error
//! details are attached, because clients since 2.0 would print them as further errors.

use std::io;
use std::path::{Path, PathBuf};

use tonic::{Code, Status};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the snapshotter. The first five carry a message for people, which names the snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A snapshot, or a parent, does not exist.
    #[error("{0}: not found")]
    NotFound(String),
    /// A key or name is taken. As the answer to a `Prepare` with a target it means success: the layer is there.
    #[error("{0}: already exists")]
    AlreadyExists(String),
    /// The snapshot is of the wrong kind, or something depends on it.
    #[error("{0}: failed precondition")]
    FailedPrecondition(String),
    /// The request is not valid.
    #[error("{0}: invalid argument")]
    InvalidArgument(String),
    /// A repository that is needed cannot be reached or has lost something, or a local directory is lost.
    #[error("{0}: unavailable")]
    Unavailable(String),
    /// The metadata store failed.
    #[error("metadata store: {0}")]
    Store(#[from] rusqlite::Error),
    /// The local file system failed.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried: the words that fit between "cannot" and the path.
        doing: &'static str,
        /// The path in question.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A task of the daemon ended without a result.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// For `map_err`: an error of the file system at `path`.
    pub(crate) fn io<E: Into<io::Error>>(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    /// The code that containerd acts on.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NotFound,
            Self::AlreadyExists(_) => Code::AlreadyExists,
            Self::FailedPrecondition(_) => Code::FailedPrecondition,
            Self::InvalidArgument(_) => Code::InvalidArgument,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Code::ResourceExhausted
            }
            Self::Store(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                Code::ResourceExhausted
            }
            Self::Store(_) | Self::Io { .. } | Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
