//! A layer tar as a stream of checked entries.
//!
//! Input is an untrusted byte stream (OCI image-spec, `layer.md`): gzip, zstd or plain. Output is a
//! sequence of [`Entry`]s with clean relative paths. Nothing here touches a file system.
//!
//! ```text
//! blob ──▶ pipeline ──▶ stream ──▶ header, pax, sparse ──▶ reader ──▶ Entry, content
//! ```
//!
//! Where the tar formats leave something open, layers are read as Go's `archive/tar` and containerd read
//! them, because one DiffID must give the same files on every node, whoever unpacks it.
//!
//! Why neither `tar` nor `tar-core` parses them: `header` says what `tar` reads otherwise than Go. `tar-core` (0.1) is
//! made for this use, with limits and without input and output, but reads otherwise, too: times are whole seconds, a
//! checksum of signed bytes is wrong, a second PAX header is an error, a PAX header may end in anything, and a single
//! block of zeros is passed over. What it leaves to its user is here as well: paths, whiteouts, and the check of sparse
//! maps.

mod blob;
mod entry;
mod error;
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

pub use blob::Compression;
pub use entry::{Entry, Kind, LayerPath, Metadata, PathError, Timestamp, Xattrs};
pub use error::{EntryName, Error, LinkError, Result, Within};
pub use limits::Limits;
pub use reader::{Content, LayerReader, Summary};
pub use sparse::Segment;
