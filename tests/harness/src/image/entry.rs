//! What a layer can contain, as typed values. Nothing is cleaned or checked: tests need bad input as well.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A modification time, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after them.
    pub nanos: u32,
}

impl Time {
    /// The time of entries for which none is given: 2024-01-01T00:00:00Z.
    pub const DEFAULT: Self = Self { seconds: 1_704_067_200, nanos: 0 };
}

/// What a regular file contains.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// Bytes that do not compress, the same for the same seed.
    Noise {
        /// Length in bytes.
        size: u64,
        /// Selects one of the possible contents.
        seed: u64,
    },
    /// This many zero bytes, written in full.
    Zeros(u64),
}

impl Content {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Noise { size, .. } | Self::Zeros(size) => *size,
        }
    }
}

/// How a sparse file is stored in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sparse {
    /// GNU tar's old form: type `S`, the map in the header.
    OldGnu,
    /// GNU tar's PAX form 1.0: the map at the beginning of the data.
    Pax,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Content),
    /// A regular file with holes: its size and the runs of data by offset.
    SparseFile {
        /// Length in bytes, holes included.
        size: u64,
        /// Data by offset, ascending. GNU tar wants runs of whole 512-byte blocks, except for the last one.
        data: Vec<(u64, Vec<u8>)>,
        /// The form in the archive.
        form: Sparse,
    },
    /// A symbolic link to these bytes.
    Symlink(Vec<u8>),
    /// A hard link to the entry of this path.
    HardLink(Vec<u8>),
    /// A character device, major and minor.
    CharDevice(u32, u32),
    /// A block device, major and minor.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// An entry with this type byte and this data, for what no decent archive contains.
    Other(u8, Vec<u8>),
    /// These bytes in place of header and data.
    Raw(Vec<u8>),
}

/// One entry of a layer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The path as it goes into the archive, any bytes.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time; nanoseconds take a PAX record.
    pub mtime: Time,
    /// Extended attributes by full name, as `SCHILY.xattr.` PAX records.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Additional PAX records, raw.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry owned by root with mode 0644 (directories: 0755) and [`Time::DEFAULT`].
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Self {
        let mode = match kind {
            Kind::Dir => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::DEFAULT,
            xattrs: BTreeMap::new(),
            records: Vec::new(),
        }
    }

    /// A directory.
    pub fn dir(path: impl Into<Vec<u8>>) -> Self {
        Self::new(path, Kind::Dir)
    }

    /// A regular file.
    pub fn file(path: impl Into<Vec<u8>>, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(path, Kind::File(Content::Bytes(bytes.into().into())))
    }

    /// An executable file.
    pub fn program(path: impl Into<Vec<u8>>, bytes: impl Into<Vec<u8>>) -> Self {
        Self::file(path, bytes).mode(0o755)
    }

    /// A large file that does not compress.
    pub fn noise(path: impl Into<Vec<u8>>, size: u64, seed: u64) -> Self {
        Self::new(path, Kind::File(Content::Noise { size, seed }))
    }

    /// A symbolic link.
    pub fn symlink(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self::new(path, Kind::Symlink(target.into()))
    }

    /// A hard link to the entry `target`.
    pub fn hard_link(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self::new(path, Kind::HardLink(target.into()))
    }

    /// A whiteout as the OCI image-spec defines it: removes `path` of the layers below.
    pub fn whiteout(path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = path.split_at(start);
        Self::file([parent, b".wh.", name].concat(), "")
    }

    /// An opaque whiteout: hides everything that the layers below have in `dir`.
    pub fn opaque(dir: impl AsRef<[u8]>) -> Self {
        Self::file([dir.as_ref(), b"/.wh..wh..opq"].concat(), "")
    }

    /// With these permission bits.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// With this owner and group.
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// With this modification time.
    pub fn mtime(mut self, seconds: i64, nanos: u32) -> Self {
        self.mtime = Time { seconds, nanos };
        self
    }

    /// With this extended attribute, for instance `user.note`.
    pub fn xattr(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.xattrs.insert(name.into(), value.into());
        self
    }

    /// With this additional PAX record, which may contradict the header.
    pub fn record(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.records.push((key.into(), value.into()));
        self
    }
}
