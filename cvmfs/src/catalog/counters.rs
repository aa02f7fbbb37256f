//! The 24 numbers of a catalog: what it holds, and what the catalogs below it hold.

use std::fmt;
use std::ops::AddAssign;

use super::row::Columns;
use super::schema::{
    CHUNKED, EXTERNAL, MODE_DIRECTORY, MODE_REGULAR, MODE_SYMLINK, MODE_TYPE, MOUNTPOINT,
};

/// Number of counters of one kind.
pub const COUNTERS: usize = 12;

/// Sums over entries. Hidden ones count, every hard link counts fully.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Regular files, whatever their content.
    pub regular: u64,
    /// Symbolic links.
    pub symlink: u64,
    /// Devices, FIFOs and sockets.
    pub special: u64,
    /// Directories, the catalog's own among them. A mountpoint counts in the parent and in the child.
    pub dir: u64,
    /// Mountpoints of nested catalogs.
    pub nested: u64,
    /// Files in chunks.
    pub chunked: u64,
    /// The chunks.
    pub chunks: u64,
    /// Bytes in regular files, whatever their content.
    pub file_size: u64,
    /// Bytes in files in chunks.
    pub chunked_size: u64,
    /// Entries with extended attributes.
    pub xattr: u64,
    /// Files whose content is on another server.
    pub external: u64,
    /// Bytes in those.
    pub external_file_size: u64,
}

/// The counters of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Of the catalog itself (`self_…`).
    pub own: Counts,
    /// Of all catalogs below it, without itself (`subtree_…`).
    pub subtree: Counts,
}

/// A counter's name in the table, without its prefix, and the schema revision that introduced it.
pub(super) const NAMES: [(&str, i64); COUNTERS] = [
    ("regular", 0),
    ("symlink", 0),
    ("special", 5),
    ("dir", 0),
    ("nested", 0),
    ("chunked", 0),
    ("chunks", 0),
    ("file_size", 0),
    ("chunked_size", 0),
    ("xattr", 2),
    ("external", 3),
    ("external_file_size", 3),
];

impl Counts {
    /// The values in the order of [`NAMES`].
    pub(super) fn values(&self) -> [u64; COUNTERS] {
        [
            self.regular,
            self.symlink,
            self.special,
            self.dir,
            self.nested,
            self.chunked,
            self.chunks,
            self.file_size,
            self.chunked_size,
            self.xattr,
            self.external,
            self.external_file_size,
        ]
    }

    /// From values in the order of [`NAMES`].
    pub(super) fn from_values(values: [u64; COUNTERS]) -> Self {
        let [
            regular,
            symlink,
            special,
            dir,
            nested,
            chunked,
            chunks,
            file_size,
            chunked_size,
            xattr,
            external,
            external_file_size,
        ] = values;
        Self {
            regular,
            symlink,
            special,
            dir,
            nested,
            chunked,
            chunks,
            file_size,
            chunked_size,
            xattr,
            external,
            external_file_size,
        }
    }

    /// What one row adds.
    pub(super) fn of(columns: &Columns<'_>, chunks: u64) -> Self {
        let flag = |bit: i64| columns.flags & bit != 0;
        let mut counts = Self { xattr: u64::from(columns.xattr.is_some()), ..Self::default() };
        match columns.mode & MODE_TYPE {
            MODE_REGULAR => {
                // Decoding refuses a row with a negative size.
                let size = u64::try_from(columns.size).unwrap_or(0);
                counts.regular = 1;
                counts.file_size = size;
                if flag(CHUNKED) {
                    counts.chunked = 1;
                    counts.chunked_size = size;
                    counts.chunks = chunks;
                }
                if flag(EXTERNAL) {
                    counts.external = 1;
                    counts.external_file_size = size;
                }
            }
            MODE_SYMLINK => counts.symlink = 1,
            MODE_DIRECTORY => {
                counts.dir = 1;
                counts.nested = u64::from(flag(MOUNTPOINT));
            }
            _ => counts.special = 1,
        }
        counts
    }

    /// The sums minus those of `less`; `None` if one of them is too small for that.
    pub fn checked_sub(&self, less: &Self) -> Option<Self> {
        let (mut values, less) = (self.values(), less.values());
        for (value, less) in values.iter_mut().zip(less) {
            *value = value.checked_sub(less)?;
        }
        Some(Self::from_values(values))
    }
}

impl AddAssign for Counts {
    /// Adds. A sum that does not fit into 64 bits stays at the largest number, so that a damaged catalog cannot make
    /// it look right.
    fn add_assign(&mut self, more: Self) {
        let (mut values, more) = (self.values(), more.values());
        for (value, more) in values.iter_mut().zip(more) {
            *value = value.saturating_add(more);
        }
        *self = Self::from_values(values);
    }
}

impl Counters {
    /// What the catalog and all below it hold: what it adds to its parent's subtree counters.
    pub fn total(&self) -> Counts {
        let mut total = self.own;
        total += self.subtree;
        total
    }
}

impl fmt::Display for Counts {
    /// The counters that are not 0: `regular 3, dir 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for ((name, _), value) in NAMES.iter().zip(self.values()) {
            if value > 0 {
                write!(f, "{separator}{name} {value}")?;
                separator = ", ";
            }
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}
