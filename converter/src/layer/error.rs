//! What can be wrong with a layer's content.

use std::fmt;
use std::io;

use layer_layout::layer_path::PathError;

use super::compression::Compression;

/// The result of this room's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A layer that cannot or must not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The blob could not be read. The cause is its reader's error, unchanged.
    #[error("cannot read the layer's blob")]
    Read(#[source] io::Error),
    /// The blob's compressed data is broken, ends early or is followed by something else.
    #[error("the layer's {compression} data is broken; publish the image again")]
    Decompress {
        /// The format according to the blob's first bytes.
        compression: Compression,
        /// The decompressor's error.
        #[source]
        cause: io::Error,
    },
    /// The blob has a compression that image layers do not have.
    #[error(
        "the layer is compressed with {name}; a layer is gzip, zstd or plain tar: rebuild the image"
    )]
    Compression {
        /// The compression according to the blob's first bytes.
        name: &'static str,
    },
    /// The tar ends in the middle of something.
    #[error("the layer's tar ends early, {within}; rebuild the image")]
    Truncated {
        /// Where it ends.
        within: Within,
    },
    /// A header is not a tar header: its checksum does not match its bytes.
    #[error("no tar header at byte {offset}, {within}: its checksum is wrong; rebuild the image")]
    Checksum {
        /// Offset in the uncompressed layer, in bytes.
        offset: u64,
        /// Where in the tar.
        within: Within,
    },
    /// A header field or PAX record has a value that makes no sense.
    #[error("entry {entry}: its {field} is {value:?}: {reason}; rebuild the image")]
    Field {
        /// Name of the entry.
        entry: EntryName,
        /// Name of the header field or PAX record.
        field: &'static str,
        /// The value.
        value: EntryName,
        /// Why that is not accepted.
        reason: &'static str,
    },
    /// A PAX header is not a sequence of `<length> <keyword>=<value>` records.
    #[error(
        "the PAX header at byte {offset} is broken at its byte {position}: {reason}; rebuild the image"
    )]
    Pax {
        /// Offset of the header's content in the uncompressed layer, in bytes.
        offset: u64,
        /// Offset in the header's content, in bytes.
        position: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A name is not a path inside the layer.
    #[error("entry {entry}: {cause}; rebuild the image")]
    Path {
        /// The name.
        entry: EntryName,
        /// Why.
        cause: PathError,
    },
    /// The layer's root would become something other than a directory.
    #[error("entry {entry}: names the layer's root, which must be a directory; rebuild the image")]
    Root {
        /// The name.
        entry: EntryName,
    },
    /// A name that begins with `.wh.` cannot be a whiteout.
    #[error("entry {entry}: {reason}; rebuild the image")]
    Whiteout {
        /// The name.
        entry: EntryName,
        /// Why.
        reason: &'static str,
    },
    /// A link has a target that no link can have.
    #[error("entry {entry}: links to {target:?}: {reason}; rebuild the image")]
    Link {
        /// The name.
        entry: EntryName,
        /// What it links to.
        target: EntryName,
        /// Why that is not accepted.
        reason: LinkError,
    },
    /// An entry has a type that has no meaning in an image.
    #[error("entry {entry}: unknown tar entry type {:?}; rebuild the image", char::from(*flag))]
    Type {
        /// The name.
        entry: EntryName,
        /// The flag.
        flag: u8,
    },
    /// The map of a sparse file contradicts the file, or itself.
    #[error("entry {entry}: broken map of a sparse file: {reason}; rebuild the image")]
    Sparse {
        /// The name.
        entry: EntryName,
        /// What is wrong.
        reason: &'static str,
    },
    /// The layer exceeds the [`Limits`](super::Limits).
    #[error(
        "{within}: {what} exceeds the limit of {limit}; raise the limit if the image is to be trusted"
    )]
    Limit {
        /// Where.
        within: Within,
        /// What exceeds the limit, with its unit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The thread that decompresses could not be started.
    #[error("cannot start a thread; is a limit on processes or memory too low?")]
    Thread(#[source] io::Error),
    /// Reading continued after an error. What would follow cannot be trusted.
    #[error("reading the layer continued after an error")]
    Failed,
}

impl Error {
    /// Whether damage to the blob is a likely cause. Bad names and exceeded limits are rather intended.
    pub(super) fn may_be_damage(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. }
                | Self::Checksum { .. }
                | Self::Field { .. }
                | Self::Pax { .. }
                | Self::Type { .. }
                | Self::Sparse { .. }
        )
    }
}

impl From<Error> for io::Error {
    /// For readers of content: errors of the blob's reader come unchanged, others as invalid data with the
    /// [`Error`] inside.
    fn from(error: Error) -> Self {
        match error {
            Error::Read(cause) => cause,
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Why a link's target is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The target is empty.
    #[error("the target is empty")]
    Empty,
    /// A hard link to its own name.
    #[error("a file cannot be a hard link to itself")]
    Itself,
    /// A hard link to the layer's root.
    #[error("a hard link to a directory")]
    Root,
    /// A hard link to a `.wh.` name, which is not a file.
    #[error("the target is a whiteout or AUFS bookkeeping, not a file")]
    Whiteout,
    /// A hard link to something outside the layer, or any link to what Linux cannot store.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Where in a layer something went wrong, as far as known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Within {
    /// In the whole layer.
    Layer,
    /// Before the first entry.
    Start,
    /// In an entry: its header, its content, or a header about it.
    Entry(EntryName),
    /// Between this entry and the next one.
    After(EntryName),
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer => f.write_str("in the whole layer"),
            Self::Start => f.write_str("before the first entry"),
            Self::Entry(name) => write!(f, "in entry {name}"),
            Self::After(name) => write!(f, "after entry {name}"),
        }
    }
}

/// Bytes of a tar as a message shows them: escaped, and cut if they are long. Not to be used as a path.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryName(Vec<u8>);

impl EntryName {
    /// The number of bytes that are shown: enough to recognize a name.
    const SHOWN: usize = 256;

    /// Bytes as they stand in the tar.
    pub(super) fn new(bytes: &[u8]) -> Self {
        // One byte more than shown, to know whether something was cut.
        Self(bytes[..bytes.len().min(Self::SHOWN + 1)].to_vec())
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(Self::SHOWN)];
        let cut = if self.0.len() > Self::SHOWN { "…" } else { "" };
        write!(f, "{}{cut}", shown.escape_ascii())
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
