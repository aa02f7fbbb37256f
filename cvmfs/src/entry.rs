//! What a repository knows about one name.

use crate::compression::Compression;
use crate::hash::{Algorithm, ContentHash, ObjectId, ObjectKind};
use crate::xattr::Xattrs;

/// Longest name of an entry in bytes (Linux `NAME_MAX`).
pub const MAX_NAME: usize = 255;

/// Everything that is stored for one name, except the name itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky bit (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// The other names of the same inode. Directories have none.
    pub links: Links,
    /// Whether `readdir` leaves it out.
    pub hidden: bool,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970, may be negative.
    pub seconds: i64,
    /// Nanoseconds on top of them, 0 … 999,999,999; `None` if the catalog says nothing.
    pub nanoseconds: Option<u32>,
}

/// Hard links. Only names in one directory can be links of one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Links {
    /// Number of the group, unique in one catalog; 0 for an entry that has no other name.
    pub group: u32,
    /// Number of names in the group, at least 1.
    pub count: u32,
}

impl Links {
    /// An entry with one name.
    pub const ONE: Self = Self { group: 0, count: 1 };
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File(File),
    /// A symbolic link with its target as it is stored, see [`link_target`](crate::link_target).
    Symlink(Vec<u8>),
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
}

/// Content of a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Uncompressed size in bytes.
    pub size: u64,
    /// How its objects are stored.
    pub compression: Compression,
    /// Where it is.
    pub content: Content,
}

/// Where the content of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In one object ([`ObjectKind::File`](crate::hash::ObjectKind::File)).
    Whole(ContentHash),
    /// In pieces ([`ObjectKind::Chunk`](crate::hash::ObjectKind::Chunk)), in order and without gaps.
    Chunks(Algorithm, Vec<Chunk>),
    /// Not in the repository: clients fetch it from another server by path. The hash, if one is known.
    External(Option<ContentHash>),
}

impl Content {
    /// The objects that hold it.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> {
        let (whole, chunks) = match self {
            Self::Whole(hash) => (Some(hash.object(ObjectKind::File)), &[][..]),
            Self::Chunks(_, chunks) => (None, chunks.as_slice()),
            Self::External(_) => (None, &[][..]),
        };
        whole.into_iter().chain(chunks.iter().map(|chunk| chunk.hash.object(ObjectKind::Chunk)))
    }
}

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Where it begins in the uncompressed file.
    pub offset: u64,
    /// Uncompressed size in bytes.
    pub size: u64,
    /// Its object.
    pub hash: ContentHash,
}

impl Entry {
    /// A directory without extended attributes.
    pub fn directory(mode: u32, mtime: Time) -> Self {
        Self {
            kind: EntryKind::Directory,
            mode,
            uid: 0,
            gid: 0,
            mtime,
            xattrs: Xattrs::default(),
            links: Links::ONE,
            hidden: false,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory)
    }
}

impl Device {
    /// The number as glibc's `makedev` packs it into 64 bits; catalogs hold it in the column `size`.
    pub fn packed(self) -> u64 {
        let (major, minor) = (u64::from(self.major), u64::from(self.minor));
        (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
    }

    /// The device of a packed number.
    pub fn unpacked(number: u64) -> Self {
        let low = |value: u64| u32::try_from(value & 0xffff_ffff).expect("a half has 32 bits");
        Self {
            major: low(((number >> 8) & 0xfff) | ((number >> 32) & 0xffff_f000)),
            minor: low((number & 0xff) | ((number >> 12) & 0xffff_ff00)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_glibcs() {
        for (major, minor, packed) in [
            (1, 3, 259),
            (5, 1, 1281),
            (8, 17, 2065),
            (259, 65_537, 268_501_761),
            (0, 0, 0),
            (u32::MAX, u32::MAX, u64::MAX),
        ] {
            let device = Device { major, minor };
            assert_eq!(device.packed(), packed);
            assert_eq!(Device::unpacked(packed), device);
        }
    }
}
