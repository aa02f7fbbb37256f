//! Why credentials could not be read.

use std::path::PathBuf;

/// Why credentials could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable of DUCC's scheme is missing or unreadable.
    #[error("environment variable {variable} {reason}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        reason: VariableError,
    },
    /// A login that was asked for by name cannot be used.
    #[error("the credentials {name:?} cannot be used for {registry}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// The registry of the image that they were named for.
        registry: String,
        /// Why not.
        reason: NameError,
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
    /// An auth file is not what Docker and Podman write. The content is not shown, because it contains secrets.
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

/// What is wrong with an environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// Its value is not text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A registry's description is incomplete.
    #[error("is missing, but DUCC_AUTH_REGISTRIES names its label")]
    MissingForLabel,
    /// There is a user name for pushes, and no password.
    #[error("is missing; it holds the password of the user that pushes")]
    MissingPassword,
}

/// Why a login cannot be used by its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no such label.
    #[error("DUCC_AUTH_REGISTRIES has {}", if known.is_empty() { "no labels".to_owned() } else { format!("only {}", known.join(", ")) })]
    Unknown {
        /// The labels that there are.
        known: Vec<String>,
    },
    /// It stands for a pull-through registry.
    #[error("it names a pull-through registry, not a login")]
    NoLogin,
    /// It is the login for another registry.
    #[error("it is the login for {own}, and is sent nowhere else")]
    OtherRegistry {
        /// That registry.
        own: String,
    },
}

/// The result of this room's fallible functions.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;
