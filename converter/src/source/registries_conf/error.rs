//! Why `registries.conf` could not be used.

use std::path::PathBuf;

/// Why `registries.conf` could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// A file is not TOML, or a member has the wrong type.
    #[error("{} is not a registries.conf: {reason}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why not.
        reason: String,
    },
    /// A file is in the format that Podman, too, reads no longer.
    #[error("{} is in version 1 of the format; write [[registry]] tables, see containers-registries.conf(5)", .0.display())]
    Version1(PathBuf),
    /// A rule contradicts itself or lacks something.
    #[error("{}: the [[registry]] for {prefix:?} {reason}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// Its prefix, or its location if it has none.
        prefix: String,
        /// What is wrong.
        reason: &'static str,
    },
}
