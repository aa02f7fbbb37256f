//! A layer tar as a stream of checked entries.
//!
//! Input is an untrusted byte stream (OCI image-spec, `layer.md`): gzip, zstd or plain. Output is a
//! sequence of [`Entry`]s with clean relative paths. Nothing here touches a file system.

mod entry;
mod error;

pub use entry::{Entry, Kind, LayerPath, Metadata, Timestamp, Xattrs};
pub use error::{Error, Result};
