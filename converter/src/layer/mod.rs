//! A layer tar as a stream of checked entries.
//!
//! Input is an untrusted byte stream (OCI image-spec, `layer.md`): gzip, zstd or plain. Output is a
//! sequence of [`Entry`]s with clean relative paths. Nothing here touches a file system.
//!
//! ```text
//! blob ──▶ pipeline ──▶ stream ──▶ header, pax, sparse ──▶ reader ──▶ Entry, Content
//! ```
//!
//! Where the tar formats leave something open, layers are read as Go's `archive/tar` and containerd read
//! them, because one DiffID must give the same files on every node, no matter which program unpacks it.
//!
//! Why neither `tar` nor `tar-core` parses them: the head of `header` tells what `tar` reads differently from Go.
//! `tar-core` (0.1) is made for this use, with limits and without I/O, but it reads some tars differently, too: it
//! rounds times to whole seconds, rejects checksums of signed bytes and a second PAX header, accepts anything at the
//! end of a PAX header, and skips a single block of zeros. What it leaves to its user is here as well: paths,
//! whiteouts, and the check of sparse maps.

mod blob;
mod compression;
mod content;
mod entry;
mod error;
mod gzip;
mod header;
mod limits;
mod member;
mod number;
mod pax;
mod pipeline;
mod reader;
mod sparse;
mod stream;
mod whiteout;

pub use compression::Compression;
pub use content::{Content, ContentProgress};
pub use entry::{Entry, Kind, Metadata, Timestamp, Xattrs};
pub use error::{EntryName, Error, LinkError, Result, Within};
pub use layer_layout::LayerPath;
pub use layer_layout::layer_path::PathError;
pub use limits::Limits;
pub use reader::{LayerReader, Summary};
pub use sparse::Segment;
