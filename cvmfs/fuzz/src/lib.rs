//! What the fuzz targets and the maker of their seeds have in common: a row of a catalog as bytes.

use cvmfs_repository::catalog::row::{ChunkColumns, Columns};
use cvmfs_repository::path::PathHash;

/// The columns of a row, and of its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowInput {
    numbers: [i64; 7],
    nanoseconds: Option<i64>,
    path: [u8; 16],
    parent: [u8; 16],
    name: Vec<u8>,
    symlink: Vec<u8>,
    hash: Option<Vec<u8>>,
    xattr: Option<Vec<u8>>,
    chunks: Vec<(i64, i64, Vec<u8>)>,
}

impl RowInput {
    /// The columns as bytes can hold them.
    pub fn new(columns: &Columns<'_>, chunks: &[ChunkColumns<'_>]) -> Self {
        let Columns { hardlinks, size, mtime, flags, uid, gid, .. } = *columns;
        Self {
            numbers: [hardlinks, size, columns.mode.into(), mtime, flags, uid, gid],
            nanoseconds: columns.mtimens,
            path: columns.path.0,
            parent: columns.parent.0,
            name: columns.name.to_vec(),
            symlink: columns.symlink.to_vec(),
            hash: columns.hash.map(<[u8]>::to_vec),
            xattr: columns.xattr.map(<[u8]>::to_vec),
            chunks: chunks
                .iter()
                .map(|chunk| (chunk.offset, chunk.size, chunk.hash.to_vec()))
                .collect(),
        }
    }

    /// What any bytes stand for; what is missing at their end is zero or empty.
    pub fn read(bytes: &[u8]) -> Self {
        let mut rest = Cursor(bytes);
        let mut row = Self {
            numbers: std::array::from_fn(|_| rest.number()),
            nanoseconds: rest.flag().then(|| rest.number()),
            path: rest.array(),
            parent: rest.array(),
            name: rest.bytes(),
            symlink: rest.bytes(),
            hash: rest.flag().then(|| rest.bytes()),
            xattr: rest.flag().then(|| rest.bytes()),
            chunks: Vec::new(),
        };
        while !rest.0.is_empty() {
            row.chunks.push((rest.number(), rest.number(), rest.bytes()));
        }
        row
    }

    /// Bytes that stand for it.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let string = |bytes: &mut Vec<u8>, string: &[u8]| {
            bytes.extend(u16::try_from(string.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend(&string[..string.len().min(u16::MAX.into())]);
        };
        let optional = |bytes: &mut Vec<u8>, value: &Option<Vec<u8>>| {
            bytes.push(value.is_some().into());
            if let Some(value) = value {
                string(bytes, value);
            }
        };
        bytes.extend(self.numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.push(self.nanoseconds.is_some().into());
        bytes.extend(self.nanoseconds.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(self.path);
        bytes.extend(self.parent);
        string(&mut bytes, &self.name);
        string(&mut bytes, &self.symlink);
        optional(&mut bytes, &self.hash);
        optional(&mut bytes, &self.xattr);
        for (offset, size, hash) in &self.chunks {
            bytes.extend(offset.to_le_bytes());
            bytes.extend(size.to_le_bytes());
            string(&mut bytes, hash);
        }
        bytes
    }

    /// The columns.
    pub fn columns(&self) -> Columns<'_> {
        let [hardlinks, size, mode, mtime, flags, uid, gid] = self.numbers;
        Columns {
            path: PathHash(self.path),
            parent: PathHash(self.parent),
            hardlinks,
            hash: self.hash.as_deref(),
            size,
            mode: (mode & i64::from(u32::MAX)) as u32,
            mtime,
            mtimens: self.nanoseconds,
            flags,
            name: &self.name,
            symlink: &self.symlink,
            uid,
            gid,
            xattr: self.xattr.as_deref(),
        }
    }

    /// The columns of its chunks.
    pub fn chunks(&self) -> Vec<ChunkColumns<'_>> {
        self.chunks
            .iter()
            .map(|(offset, size, hash)| ChunkColumns { offset: *offset, size: *size, hash })
            .collect()
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut array = [0; N];
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    fn number(&mut self) -> i64 {
        i64::from_le_bytes(self.array())
    }

    fn flag(&mut self) -> bool {
        self.array::<1>()[0] & 1 == 1
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(u16::from_le_bytes(self.array()));
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}
