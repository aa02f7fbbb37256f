//! One row of the table `catalog`: as columns, and as what they mean.
//!
//! Both directions are pure functions of values. [`Columns::decode`] takes whatever a database holds, so this is
//! where rows that make no sense are refused.

use std::fmt;

use crate::compression::Compression;
use crate::entry::{Chunk, Content, Device, Entry, EntryKind, File, Links, MAX_NAME, Time};
use crate::hash::{Algorithm, ContentHash};
use crate::path::PathHash;
use crate::xattr::Xattrs;

use super::schema::{
    ALGORITHM_SHIFT, BIND, CHUNKED, COMPRESSION_SHIFT, DIRECTORY, DIRECTORY_SIZE, EXTERNAL, FILE,
    HIDDEN, MODE_BITS, MODE_BLOCK, MODE_CHARACTER, MODE_DIRECTORY, MODE_FIFO, MODE_REGULAR,
    MODE_SOCKET, MODE_SYMLINK, MODE_TYPE, MOUNTPOINT, ROOT, SPECIAL, SYMLINK, THREE_BITS,
};

/// An entry in its place in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The row's number. Gaps are normal.
    pub id: i64,
    /// The entry's path.
    pub path: PathHash,
    /// The path of its directory; [`PathHash::NONE`] for the repository's root.
    pub parent: PathHash,
    /// Its name; empty for the repository's root.
    pub name: Vec<u8>,
    /// What it is.
    pub entry: Entry,
    /// Whether a catalog begins here.
    pub mount: Mount,
    /// Link count as stored. For directories, whose [`Entry::links`] say nothing, it is 2 plus the number of
    /// subdirectories.
    pub links: u32,
    /// The column `size` as stored: any number for directories, 0 or the target's length for links. The size of a
    /// file is in its [`EntryKind`].
    pub size: u64,
}

/// How a directory takes part in the tree of catalogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mount {
    /// Not at all.
    #[default]
    None,
    /// A nested catalog begins here, and this is the entry in its parent.
    Nested,
    /// A nested catalog begins here, and this is the entry in that catalog.
    Root,
    /// Another revision's root catalog is shown here.
    Bind,
}

/// Why columns are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A column holds a value of the wrong type.
    #[error("the column {0} is of the wrong type")]
    Type(&'static str),
    /// A column holds a value that it cannot have.
    #[error("the column {0} holds an impossible value")]
    Value(&'static str),
    /// A file has no content.
    #[error("it is a file without hash")]
    NoContent,
    /// The chunks of a file leave gaps, overlap, or do not add up to its size.
    #[error("its chunks do not cover it")]
    Chunks,
    /// Flags that exclude each other.
    #[error("it is two kinds of mountpoint at once")]
    Mount,
}

/// The columns of a row, with the types that the schema gives them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Columns<'a> {
    /// `md5path_1`, `md5path_2`.
    pub path: PathHash,
    /// `parent_1`, `parent_2`.
    pub parent: PathHash,
    /// Group of hard links in the upper half, link count in the lower.
    pub hardlinks: i64,
    /// Digest, if there is one.
    pub hash: Option<&'a [u8]>,
    /// Bytes, or a device number.
    pub size: i64,
    /// `st_mode`.
    pub mode: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds.
    pub mtimens: Option<i64>,
    /// See the format.
    pub flags: i64,
    /// Last component of the path.
    pub name: &'a [u8],
    /// Target of a link, else empty.
    pub symlink: &'a [u8],
    /// Owner.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// Extended attributes.
    pub xattr: Option<&'a [u8]>,
}

/// Where a row is in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location<'a> {
    /// The path.
    pub path: PathHash,
    /// The directory's path.
    pub parent: PathHash,
    /// The name.
    pub name: &'a [u8],
}

impl<'a> Columns<'a> {
    /// The columns of an entry. Directories get `links` as their link count; an entry with one name gets 1.
    pub fn encode(location: Location<'a>, entry: &'a Entry, mount: Mount, links: u32) -> Self {
        let mut columns = Columns {
            path: location.path,
            parent: location.parent,
            hardlinks: pack_links(if entry.links.group == 0 { Links::ONE } else { entry.links }),
            hash: None,
            size: 0,
            mode: entry.mode & MODE_BITS,
            mtime: entry.mtime.seconds,
            mtimens: entry.mtime.nanoseconds.map(i64::from),
            flags: if entry.hidden { HIDDEN } else { 0 },
            name: location.name,
            symlink: b"",
            uid: entry.uid.into(),
            gid: entry.gid.into(),
            xattr: entry.xattrs.blob(),
        };
        match &entry.kind {
            EntryKind::Directory => {
                columns.mode |= MODE_DIRECTORY;
                columns.size = DIRECTORY_SIZE;
                columns.hardlinks = pack_links(Links { group: 0, count: links });
                columns.flags |= DIRECTORY
                    | match mount {
                        Mount::None => 0,
                        Mount::Nested => MOUNTPOINT,
                        Mount::Root => ROOT,
                        Mount::Bind => BIND,
                    };
            }
            EntryKind::File(file) => columns.file(file),
            EntryKind::Symlink(target) => {
                columns.mode |= MODE_SYMLINK;
                columns.flags |= FILE | SYMLINK;
                columns.size = signed(target.len() as u64);
                columns.symlink = target;
            }
            EntryKind::Character(device) => columns.special(MODE_CHARACTER, device.packed()),
            EntryKind::Block(device) => columns.special(MODE_BLOCK, device.packed()),
            EntryKind::Fifo => columns.special(MODE_FIFO, 0),
            EntryKind::Socket => columns.special(MODE_SOCKET, 0),
        }
        columns
    }

    fn file(&mut self, file: &'a File) {
        self.mode |= MODE_REGULAR;
        self.size = signed(file.size);
        self.flags |= FILE | i64::from(file.compression.code()) << COMPRESSION_SHIFT;
        let (hash, algorithm) = match &file.content {
            Content::Whole(hash) => (Some(hash), Some(hash.algorithm)),
            Content::Chunks(algorithm, _) => {
                self.flags |= CHUNKED;
                (None, Some(*algorithm))
            }
            Content::External(hash) => {
                self.flags |= EXTERNAL;
                (hash.as_ref(), hash.map(|hash| hash.algorithm))
            }
        };
        self.hash = hash.map(|hash| hash.digest.as_slice());
        self.flags |= i64::from(algorithm.map_or(0, Algorithm::code)) << ALGORITHM_SHIFT;
    }

    fn special(&mut self, mode: u32, number: u64) {
        self.mode |= mode;
        self.flags |= FILE | SPECIAL;
        self.size = signed(number);
    }

    /// Whether the table `chunks` has rows for it.
    pub fn is_chunked(&self) -> bool {
        self.mode & MODE_TYPE == MODE_REGULAR && self.flags & CHUNKED != 0
    }

    /// What the columns mean. Unknown flags are ignored, as the format wants it.
    ///
    /// # Errors
    /// If they make no sense; never a panic.
    pub fn decode(&self, id: i64, chunks: &[ChunkColumns<'_>]) -> Result<Row, Unfit> {
        check_name(self.name)?;
        let unsigned = |value, column| u32::try_from(value).map_err(|_| Unfit::Value(column));
        let mount = match self.flags & (MOUNTPOINT | ROOT | BIND) {
            0 => Mount::None,
            MOUNTPOINT => Mount::Nested,
            ROOT => Mount::Root,
            BIND => Mount::Bind,
            _ => return Err(Unfit::Mount),
        };
        let links = self.links();
        let directory = self.mode & MODE_TYPE == MODE_DIRECTORY;
        let entry = Entry {
            kind: self.kind(chunks)?,
            mode: self.mode & MODE_BITS,
            uid: unsigned(self.uid, "uid")?,
            gid: unsigned(self.gid, "gid")?,
            mtime: Time {
                seconds: self.mtime,
                nanoseconds: match self.mtimens {
                    None => None,
                    Some(nanoseconds @ 0..1_000_000_000) => Some(unsigned(nanoseconds, "mtimens")?),
                    Some(_) => return Err(Unfit::Value("mtimens")),
                },
            },
            xattrs: Xattrs::from_blob(self.xattr.map(<[u8]>::to_vec)),
            links: if directory { Links::ONE } else { links },
            hidden: self.flags & HIDDEN != 0,
        };
        Ok(Row {
            id,
            path: self.path,
            parent: self.parent,
            name: self.name.to_vec(),
            entry,
            mount,
            links: links.count,
            size: self.size.cast_unsigned(),
        })
    }

    /// The two halves of the column `hardlinks`.
    pub(super) fn links(&self) -> Links {
        let low = |value: u64| u32::try_from(value & 0xffff_ffff).expect("a half has 32 bits");
        let packed = self.hardlinks.cast_unsigned();
        Links { group: low(packed >> 32), count: low(packed).max(1) }
    }

    fn kind(&self, chunks: &[ChunkColumns<'_>]) -> Result<EntryKind, Unfit> {
        let device = || Device::unpacked(self.size.cast_unsigned());
        Ok(match self.mode & MODE_TYPE {
            MODE_DIRECTORY => EntryKind::Directory,
            MODE_REGULAR => EntryKind::File(self.content(chunks)?),
            MODE_SYMLINK if self.symlink.contains(&0) => return Err(Unfit::Value("symlink")),
            MODE_SYMLINK => EntryKind::Symlink(self.symlink.to_vec()),
            MODE_CHARACTER => EntryKind::Character(device()),
            MODE_BLOCK => EntryKind::Block(device()),
            MODE_FIFO => EntryKind::Fifo,
            MODE_SOCKET => EntryKind::Socket,
            _ => return Err(Unfit::Value("mode")),
        })
    }

    fn content(&self, chunks: &[ChunkColumns<'_>]) -> Result<File, Unfit> {
        let code = |shift: u32| {
            u8::try_from(self.flags >> shift & THREE_BITS).expect("three bits fit into a byte")
        };
        let algorithm = || Algorithm::from_code(code(ALGORITHM_SHIFT)).ok_or(Unfit::Value("flags"));
        let hash = |digest: &[u8]| {
            let digest = digest.try_into().map_err(|_| Unfit::Value("hash"))?;
            Ok::<_, Unfit>(ContentHash { algorithm: algorithm()?, digest })
        };
        let size = u64::try_from(self.size).map_err(|_| Unfit::Value("size"))?;
        let content = if self.flags & EXTERNAL != 0 {
            Content::External(self.hash.map(hash).transpose()?)
        } else if self.flags & CHUNKED != 0 {
            let mut end = 0;
            let mut pieces = Vec::with_capacity(chunks.len());
            for chunk in chunks {
                let size = u64::try_from(chunk.size).map_err(|_| Unfit::Chunks)?;
                if u64::try_from(chunk.offset) != Ok(end) || size == 0 {
                    return Err(Unfit::Chunks);
                }
                pieces.push(Chunk { offset: end, size, hash: hash(chunk.hash)? });
                end = end.checked_add(size).ok_or(Unfit::Chunks)?;
            }
            if end != size || pieces.is_empty() {
                return Err(Unfit::Chunks);
            }
            Content::Chunks(algorithm()?, pieces)
        } else {
            Content::Whole(hash(self.hash.ok_or(Unfit::NoContent)?)?)
        };
        Ok(File { size, compression: Compression::from_code(code(COMPRESSION_SHIFT)), content })
    }
}

impl fmt::Debug for Columns<'_> {
    /// The name, for tests' messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {:?}", String::from_utf8_lossy(self.name))
    }
}

/// A row of the table `chunks`, in the order of their offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkColumns<'a> {
    /// Where it begins in the file.
    pub offset: i64,
    /// Bytes.
    pub size: i64,
    /// Digest of its object.
    pub hash: &'a [u8],
}

/// Whether a name can be that of an entry: not empty, at most 255 bytes, no slash, no NUL, not `.` or `..`.
pub(super) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= MAX_NAME
        && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}

fn check_name(name: &[u8]) -> Result<(), Unfit> {
    // The root of a repository has none. That everything else has one is checked where the location is known.
    if name.is_empty() || is_name(name) { Ok(()) } else { Err(Unfit::Value("name")) }
}

/// The column `hardlinks`.
pub(super) fn pack_links(links: Links) -> i64 {
    (u64::from(links.group) << 32 | u64::from(links.count)).cast_signed()
}

/// A number that SQLite can hold; sizes above its range do not occur.
fn signed(number: u64) -> i64 {
    number.cast_signed()
}
