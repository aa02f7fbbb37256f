//! Rows on their way into a database, packed as bytes: so they can be counted, kept in a file and moved without an
//! allocation for each.

use crate::entry::Chunk;
use crate::hash::{Algorithm, ContentHash, LENGTH};
use crate::path::PathHash;

use super::row::Columns;

/// Bytes of the length at the beginning of a row. The length does not include them.
pub(super) const PREFIX: usize = 4;

/// The length of an attribute blob that is not there.
const NONE: u32 = u32::MAX;

/// A packed row.
pub(super) struct PackedRow<'a> {
    pub(super) columns: Columns<'a>,
    chunks: &'a [u8],
}

const CHUNK: usize = 8 + 8 + LENGTH;

/// Appends a row to `out`. `None`, and nothing appended, if it is over 4 GiB.
pub(super) fn pack(columns: &Columns<'_>, chunks: &[Chunk], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).ok().filter(|&length| length != NONE);
    let (name, symlink) = (length(columns.name)?, length(columns.symlink)?);
    let xattr = columns.xattr.map_or(Some(NONE), length)?;
    out.extend_from_slice(&[0; PREFIX]);
    out.extend_from_slice(&columns.path.0);
    out.extend_from_slice(&columns.parent.0);
    for number in [
        columns.hardlinks,
        columns.size,
        columns.mtime,
        columns.mtimens.unwrap_or(-1),
        columns.flags,
        columns.uid,
        columns.gid,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [columns.mode, name, symlink, xattr] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::from(columns.hash.is_some()));
    for bytes in [columns.hash, Some(columns.name), Some(columns.symlink), columns.xattr] {
        out.extend_from_slice(bytes.unwrap_or_default());
    }
    for chunk in chunks {
        out.extend_from_slice(&chunk.offset.to_le_bytes());
        out.extend_from_slice(&chunk.size.to_le_bytes());
        out.extend_from_slice(&chunk.hash.digest);
    }
    let Ok(size) = u32::try_from(out.len() - start - PREFIX) else {
        out.truncate(start);
        return None;
    };
    out[start..start + PREFIX].copy_from_slice(&size.to_le_bytes());
    Some(())
}

/// The length of the row that `bytes` begin with, its prefix included; `None` if there are too few bytes to
/// tell.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<PREFIX>()?;
    Some(usize::try_from(u32::from_le_bytes(*prefix)).ok()? + PREFIX)
}

/// Unpacks the row that `bytes` begin with; `None` if it is none.
pub(super) fn unpack(bytes: &[u8]) -> Option<PackedRow<'_>> {
    let mut rest = Rest(bytes.get(PREFIX..length(bytes)?)?);
    let path = PathHash(*rest.array()?);
    let parent = PathHash(*rest.array()?);
    let [hardlinks, size, mtime, mtimens, flags, uid, gid] = rest.numbers()?;
    let mut words = [0; 4];
    for word in &mut words {
        *word = u32::from_le_bytes(*rest.array()?);
    }
    let [mode, name, symlink, xattr] = words;
    let [has_hash] = *rest.array()?;
    let hash = if has_hash == 0 { None } else { Some(rest.bytes(LENGTH)?) };
    let name = rest.bytes(usize::try_from(name).ok()?)?;
    let symlink = rest.bytes(usize::try_from(symlink).ok()?)?;
    let xattr = match xattr {
        NONE => None,
        length => Some(rest.bytes(usize::try_from(length).ok()?)?),
    };
    let mtimens = (mtimens >= 0).then_some(mtimens);
    let columns = Columns {
        path,
        parent,
        hardlinks,
        hash,
        size,
        mode,
        mtime,
        mtimens,
        flags,
        name,
        symlink,
        uid,
        gid,
        xattr,
    };
    Some(PackedRow { columns, chunks: rest.0 })
}

impl PackedRow<'_> {
    /// Its chunks. Of their hashes only the digests are kept; the algorithm is in the row's flags.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        let chunk = |bytes: &[u8]| {
            let mut rest = Rest(bytes);
            let number = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
            Some(Chunk {
                offset: number(rest.array()?),
                size: number(rest.array()?),
                hash: ContentHash { algorithm: Algorithm::default(), digest: *rest.array()? },
            })
        };
        self.chunks.chunks_exact(CHUNK).filter_map(chunk).collect()
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(array)
    }

    fn numbers<const N: usize>(&mut self) -> Option<[i64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = i64::from_le_bytes(*self.array()?);
        }
        Some(numbers)
    }
}
