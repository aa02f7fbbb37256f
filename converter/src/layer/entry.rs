//! What a layer says about one name.

use std::collections::BTreeMap;

use layer_layout::LayerPath;

/// A point in time: seconds since 1970 UTC (may be negative) and nanoseconds (0 to 999,999,999) after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded towards the past.
    pub seconds: i64,
    /// Nanoseconds on top.
    pub nanoseconds: u32,
}

/// Extended attributes: full name (for instance `security.capability`) to value.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a name carries besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky; no type bits.
    pub mode: u32,
    /// Owner; never `u32::MAX`, which `chown` takes for "leave it".
    pub uid: u32,
    /// Group; never `u32::MAX`.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Timestamp,
    /// Extended attributes in a namespace that Linux has, without those that belong to overlayfs.
    pub xattrs: Xattrs,
}

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file; its content follows in the stream.
    File {
        /// Size of the content in bytes, holes included.
        size: u64,
    },
    /// A symbolic link; the target is any non-empty text without NUL.
    Symlink {
        /// What the link says, uninterpreted.
        target: Vec<u8>,
    },
    /// A further name of a file of this layer or of a lower one.
    HardLink {
        /// The other name.
        target: LayerPath,
    },
    /// A character device.
    CharacterDevice {
        /// Device number.
        major: u32,
        /// Device number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Device number.
        major: u32,
        /// Device number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The path does not exist from this layer on, unless the layer itself has it. A `.wh.` name of the tar,
    /// or the character device 0:0, which overlayfs takes for the same.
    Whiteout,
    /// The path is a directory in which nothing of the lower layers is seen.
    Opaque,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: LayerPath,
    /// What. For [`Kind::Whiteout`] and [`Kind::Opaque`], `path` is the name they act on, not a `.wh.` one.
    pub kind: Kind,
    /// Its attributes; without meaning for hard links, whiteouts and opaque marks.
    pub metadata: Metadata,
}
