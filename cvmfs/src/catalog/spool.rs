//! Packed rows that wait until it is known which catalog they belong to: in memory while there are few, otherwise in
//! a file. Nothing relies on their order.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::entry::Chunk;
use crate::path::{PathHash, TreePath};
use crate::scratch::Scratch;
use crate::{Error, Result};

use super::packed_row::{self, PackedRow};
use super::row::Columns;

/// Bytes up to which rows are copied behind those before them, rather than kept as a piece of their own.
const SMALL: usize = 64 << 10;
/// Bytes of rows up to which a catalog is made from memory.
const IN_MEMORY: u64 = 16 << 20;
/// Bytes that are read for a row before its length is known; few rows are longer.
const GUESS: usize = 384;

/// The file that rows spill into. They are appended, and the file stays until its last reader is gone.
pub(super) struct Spill {
    scratch: Scratch,
    file: Option<Arc<File>>,
    end: u64,
}

/// A set of rows.
#[derive(Default)]
pub(super) struct Rope {
    tail: Vec<u8>,
    pieces: Vec<Piece>,
    /// Number of rows.
    pub(super) rows: u64,
    /// Hard links: directory, number of the group there, members.
    pub(super) groups: Vec<(PathHash, u32, u32)>,
}

enum Piece {
    Memory(Vec<u8>),
    File { offset: u64, length: u64 },
}

/// The rows of one catalog, sorted: by directory, in a directory by name or by path hash.
pub(super) struct Sorted {
    rows: SortedRows,
    size: u64,
    scratch: Scratch,
}

enum SortedRows {
    Memory { rows: Vec<u8>, order: Vec<usize> },
    File { rows: Arc<File>, order: Vec<u64> },
}

impl Rope {
    /// Adds a row; `path` is that of its entry.
    pub(super) fn push(
        &mut self,
        columns: &Columns<'_>,
        chunks: &[Chunk],
        path: impl FnOnce() -> TreePath,
    ) -> Result<()> {
        packed_row::pack(columns, chunks, &mut self.tail).ok_or_else(|| Error::Unpublishable {
            path: path(),
            reason: "its metadata takes over 4 GiB".to_owned(),
        })?;
        self.rows += 1;
        Ok(())
    }

    /// Adds all rows of `other`.
    pub(super) fn append(&mut self, other: Self) {
        self.rows += other.rows;
        self.groups.extend(other.groups);
        self.pieces.extend(other.pieces);
        if other.tail.len() < SMALL {
            self.tail.extend_from_slice(&other.tail);
        } else {
            self.pieces.push(Piece::Memory(other.tail));
        }
    }

    /// Bytes in memory.
    pub(super) fn in_memory(&self) -> usize {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Memory(bytes) => bytes.len(),
            Piece::File { .. } => 0,
        });
        self.tail.len() + pieces.sum::<usize>()
    }

    fn bytes(&self) -> u64 {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Memory(bytes) => bytes.len() as u64,
            Piece::File { length, .. } => *length,
        });
        self.tail.len() as u64 + pieces.sum::<u64>()
    }
}

impl Spill {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Self { scratch: scratch.clone(), file: None, end: 0 }
    }

    /// Moves what a rope has in memory into the file.
    pub(super) fn spill(&mut self, rope: &mut Rope) -> Result<()> {
        let mut pieces: Vec<Piece> = Vec::new();
        let tail = Piece::Memory(std::mem::take(&mut rope.tail));
        for piece in std::mem::take(&mut rope.pieces).into_iter().chain([tail]) {
            let (start, more) = match piece {
                Piece::Memory(bytes) if bytes.is_empty() => continue,
                Piece::Memory(bytes) => (self.write(&bytes)?, bytes.len() as u64),
                Piece::File { offset, length } => (offset, length),
            };
            match pieces.last_mut() {
                Some(Piece::File { offset, length }) if *offset + *length == start => {
                    *length += more;
                }
                _ => pieces.push(Piece::File { offset: start, length: more }),
            }
        }
        rope.pieces = pieces;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<u64> {
        let start = self.end;
        let file = self.file()?;
        file.write_all_at(bytes, start).map_err(|cause| self.scratch.refused(cause))?;
        self.end += bytes.len() as u64;
        Ok(start)
    }

    fn file(&mut self) -> Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.scratch.file()?);
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Sorts the rows of a rope. Their order depends on nothing but the rows, so that the same tree gives the same
    /// database in whatever order its entries came.
    pub(super) fn sort(&mut self, mut rope: Rope) -> Result<Sorted> {
        let size = rope.bytes();
        let rows = if size <= IN_MEMORY {
            let rows = self.gather(rope)?;
            let order = order(&rows).ok_or_else(|| damaged(&self.scratch))?;
            SortedRows::Memory { rows, order }
        } else {
            self.spill(&mut rope)?;
            let rows = self.file()?;
            let order = self.order(&rows, &rope.pieces)?;
            SortedRows::File { rows, order }
        };
        Ok(Sorted { rows, size, scratch: self.scratch.clone() })
    }

    fn gather(&mut self, rope: Rope) -> Result<Vec<u8>> {
        let mut rows = rope.tail;
        for piece in rope.pieces {
            match piece {
                Piece::Memory(bytes) => rows.extend_from_slice(&bytes),
                Piece::File { offset, length } => {
                    let start = rows.len();
                    let length = usize::try_from(length).expect("only few rows are gathered");
                    rows.resize(start + length, 0);
                    let read = self.file()?.read_exact_at(&mut rows[start..], offset);
                    read.map_err(|cause| self.scratch.refused(cause))?;
                }
            }
        }
        Ok(rows)
    }

    /// The offsets of the rows in pieces of the file, sorted by directory and path hash.
    fn order(&self, file: &File, pieces: &[Piece]) -> Result<Vec<u64>> {
        let mut keys: Vec<(u64, u64, u64)> = Vec::new();
        let mut buffer = Vec::new();
        for piece in pieces {
            let Piece::File { offset, length } = piece else { continue };
            let (mut start, end) = (*offset, offset + length);
            buffer.clear();
            while start < end {
                // Many rows are read at once; the buffer begins with the one at `start`.
                let wanted = packed_row::length(&buffer).filter(|&length| length <= buffer.len());
                let Some(size) = wanted else {
                    let known = packed_row::length(&buffer).unwrap_or(0);
                    let fill = (known.max(SMALL) as u64).min(end - start);
                    buffer.resize(usize::try_from(fill).expect("a row fits into memory"), 0);
                    let read = file.read_exact_at(&mut buffer, start);
                    read.map_err(|cause| self.scratch.refused(cause))?;
                    if packed_row::length(&buffer).is_none_or(|size| size as u64 > end - start) {
                        return Err(damaged(&self.scratch));
                    }
                    continue;
                };
                let PackedRow { columns, .. } =
                    packed_row::unpack(&buffer).ok_or_else(|| damaged(&self.scratch))?;
                keys.push((half(columns.parent), half(columns.path), start));
                start += size as u64;
                buffer.drain(..size);
            }
        }
        keys.sort_unstable();
        Ok(keys.into_iter().map(|(.., start)| start).collect())
    }
}

/// The offsets of the rows in `rows`, sorted by directory and name.
fn order(rows: &[u8]) -> Option<Vec<usize>> {
    let mut keys = Vec::new();
    let mut start = 0;
    while start < rows.len() {
        let PackedRow { columns, .. } = packed_row::unpack(&rows[start..])?;
        keys.push((half(columns.parent), columns.name, start));
        start += packed_row::length(&rows[start..])?;
    }
    keys.sort_unstable();
    Some(keys.into_iter().map(|(.., start)| start).collect())
}

/// What rows are sorted by: half of a hash is enough.
fn half(path: PathHash) -> u64 {
    path.columns().0.cast_unsigned()
}

impl Sorted {
    /// Whether they are too many for memory.
    pub(super) fn is_large(&self) -> bool {
        matches!(self.rows, SortedRows::File { .. })
    }

    /// Bytes of all rows.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Hands out all rows in their order.
    pub(super) fn for_each(
        &self,
        each: &mut dyn FnMut(Columns<'_>, &[Chunk]) -> Result<()>,
    ) -> Result<()> {
        let mut hand_out = |row: Option<PackedRow<'_>>| {
            let row = row.ok_or_else(|| damaged(&self.scratch))?;
            each(row.columns, &row.chunks())
        };
        match &self.rows {
            SortedRows::Memory { rows, order } => {
                for &start in order {
                    hand_out(rows.get(start..).and_then(packed_row::unpack))?;
                }
            }
            SortedRows::File { rows, order } => {
                let mut buffer = Vec::new();
                for &start in order {
                    read(rows, start, &mut buffer).map_err(|cause| self.scratch.refused(cause))?;
                    hand_out(packed_row::unpack(&buffer))?;
                }
            }
        }
        Ok(())
    }
}

/// Reads at least the row at `start`.
fn read(file: &File, start: u64, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    buffer.resize(GUESS, 0);
    let mut filled = 0;
    loop {
        let more = file.read_at(&mut buffer[filled..], start + filled as u64)?;
        filled += more;
        match packed_row::length(&buffer[..filled]) {
            Some(length) if length <= filled => return Ok(()),
            _ if more == 0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Some(length) => buffer.resize(length, 0),
            None => {}
        }
    }
}

fn damaged(scratch: &Scratch) -> Error {
    let what = format!("a temporary file in {}", scratch.path().display());
    Error::Corrupt { what, reason: "it does not hold what was written to it".to_owned() }
}
