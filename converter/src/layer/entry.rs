//! An entry of a layer: a name, what it is, and its attributes.

use std::collections::BTreeMap;

use layer_layout::LayerPath;

/// A point in time: seconds since 1970 UTC (may be negative) and nanoseconds (0 to 999,999,999) after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded towards the past.
    pub seconds: i64,
    /// Nanoseconds after that.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The latest time that 64 bits can count in nanoseconds since 1970: 2262-04-11T23:47:16.854775807Z.
    const MAX: Self = Self { seconds: 9_223_372_036, nanoseconds: 854_775_807 };

    /// What a container has of this time if a layer says it: 1970 in place of what is earlier or after
    /// 2262-04-11T23:47:16.854775807Z. Rule: containerd's `archive` (`boundTime`) and Docker's.
    #[must_use]
    pub fn bounded(self) -> Self {
        if (Self::default()..=Self::MAX).contains(&self) { self } else { Self::default() }
    }
}

/// Extended attributes: full name (for instance `security.capability`) to value.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The attributes of a name, apart from its content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky; no type bits.
    pub mode: u32,
    /// Owner; never `u32::MAX`, with which `chown` leaves the owner as it is.
    pub uid: u32,
    /// Group; never `u32::MAX`.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Timestamp,
    /// Extended attributes in the namespaces `security`, `system` and `user`, without those that belong to overlayfs.
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
    /// A symbolic link.
    Symlink {
        /// The target as it stands in the tar: any non-empty bytes without NUL.
        target: Vec<u8>,
    },
    /// Another name of a file in this layer or a lower one.
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
    /// Whatever the lower layers have at the path is hidden. In the tar this is a `.wh.` name, or the
    /// character device 0:0, which overlayfs uses for the same.
    Whiteout,
    /// The path is a directory in which everything from the lower layers is hidden.
    Opaque,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path. For [`Kind::Whiteout`] and [`Kind::Opaque`], that on which they act, not a `.wh.` name.
    pub path: LayerPath,
    /// What it is.
    pub kind: Kind,
    /// Its attributes; meaningless for hard links, whiteouts and opaque marks.
    pub metadata: Metadata,
}
