//! Why credentials could not be had.

use std::path::PathBuf;

/// Why credentials could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable of DUCC's scheme is missing or unreadable.
    #[error("environment variable {variable} {reason}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An auth file could not be read.
    #[error("cannot read the registry credentials in {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// An auth file is not what Docker and Podman write. The content is not shown, it holds secrets.
    #[error("{} is not a valid auth file: {reason}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A credential helper failed.
    #[error("credential helper {program}, named in {}, failed for {registry}: {reason}", path.display())]
    Helper {
        /// The program, `docker-credential-…`.
        program: String,
        /// The auth file that names it.
        path: PathBuf,
        /// The registry it was asked for.
        registry: String,
        /// What it said.
        reason: String,
    },
}

/// The result of this room's fallible functions.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;
