//! What can go wrong with a repository. Every variant names the thing and, where it is not plain, says what
//! to do.

use std::io;
use std::path::PathBuf;

use crate::path::TreePath;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a repository was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no repository in this storage.
    #[error("there is no repository in {0}; `ducc repository create` makes one")]
    NoSuchRepository(String),
    /// Something in the repository is not what the format or its own hash says.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// The object, file or row.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is not signed by whom it should be, or no longer.
    #[error("{what} cannot be trusted: {reason}")]
    Untrusted {
        /// The manifest, whitelist or certificate.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A key file is missing or unusable.
    #[error("cannot use the key {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The storage refused an operation.
    #[error("cannot {action} {object} in {storage}")]
    Storage {
        /// What was tried, as it continues "cannot …".
        action: &'static str,
        /// The object or file.
        object: String,
        /// The storage.
        storage: String,
        /// Its answer.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An object that should be there is not.
    #[error("{object} is missing in {storage}")]
    Missing {
        /// The object.
        object: String,
        /// The storage.
        storage: String,
    },
    /// The system refused an operation on a file of this machine.
    #[error("cannot {action} {}", path.display())]
    System {
        /// What was tried, as it continues "cannot …".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },
    /// SQLite refused an operation.
    #[error("cannot {action} {what}")]
    Database {
        /// What was tried, as it continues "cannot …".
        action: &'static str,
        /// The catalog or other database.
        what: String,
        /// SQLite's answer.
        #[source]
        cause: rusqlite::Error,
    },
    /// The caller's source of content failed.
    #[error("cannot read the content")]
    Content(#[source] io::Error),
    /// A garbage collection came between the beginning of a publish and its end.
    #[error("objects were collected while this was being prepared; publish again")]
    Collected,
    /// Somebody else has put something at a path since the author of an edit looked there.
    #[error("{0} was changed by another publisher while this was being prepared; publish again")]
    Conflict(TreePath),
    /// Something that a user asked for cannot be done as asked.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// Whether doing the same once more, from a fresh look at the repository, can be expected to work.
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Collected | Self::Conflict(_))
    }
}
