//! Sparse files: where a file has data, and where it has holes.
//!
//! Rule: the GNU tar manual, "Storing Sparse Files": the old GNU format (type `S`, map in the header and in
//! blocks after it), and PAX versions 0.0, 0.1 (map in records) and 1.0 (map before the data).

use super::error::{EntryName, Error, Result, Within};
use super::header::Block;
use super::number;
use super::pax::Records;
use super::stream::{BLOCK, Stream};

/// A stretch of a file that has data. The rest of the file consists of holes, which read as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins, in bytes from the file's start.
    pub offset: u64,
    /// Its length in bytes; never 0.
    pub length: u64,
}

impl Segment {
    /// The offset just after it.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// The map of a file that is not sparse.
pub(super) fn whole(size: u64) -> Vec<Segment> {
    if size == 0 { Vec::new() } else { vec![Segment { offset: 0, length: size }] }
}

/// A tar's description of a sparse file, unchecked.
pub(super) struct Sparse {
    /// Size of the file in bytes, holes included.
    pub(super) size: u64,
    /// How many bytes of the stored content the map takes.
    pub(super) map_size: u64,
    /// Offset and length of each stretch.
    pub(super) map: Vec<(u64, u64)>,
}

impl Sparse {
    /// Checks that the map is in order, has no overlaps, lies within the file and accounts for all of the
    /// `stored` bytes. `stored` includes the map if it is stored there.
    pub(super) fn check(&self, entry: &[u8], stored: u64) -> Result<Vec<Segment>> {
        let broken = |reason| Error::Sparse { entry: EntryName::new(entry), reason };
        let mut segments: Vec<Segment> = Vec::with_capacity(self.map.len());
        let mut end: u64 = 0;
        let mut data: u64 = 0;
        for &(offset, length) in &self.map {
            if offset < end {
                return Err(broken("stretches overlap or are out of order"));
            }
            end = offset.checked_add(length).ok_or_else(|| broken("a stretch is too long"))?;
            if end > self.size {
                return Err(broken("a stretch lies beyond the file's end"));
            }
            data += length;
            match segments.last_mut() {
                _ if length == 0 => {}
                Some(last) if last.end() == offset => last.length += length,
                _ => segments.push(Segment { offset, length }),
            }
        }
        if self.map_size.checked_add(data) != Some(stored) {
            return Err(broken("the stretches do not add up to the stored bytes"));
        }
        Ok(segments)
    }
}

const OLD_MAP: usize = 386;
const OLD_ENTRIES: usize = 4;
const OLD_EXTENDED: usize = 482;
const OLD_REAL_SIZE: std::ops::Range<usize> = 483..495;
const EXTENSION_ENTRIES: usize = 21;
const EXTENSION_EXTENDED: usize = 504;
const NUMBER: usize = 12;

/// Reads a map in the old GNU format: four stretches in the header, and 21 in each block after it, as long as
/// a flag announces another one.
pub(super) fn read_old(
    entry: &[u8],
    header: &Block,
    stream: &mut Stream,
    limit: u64,
) -> Result<Sparse> {
    let number = |field: &[u8]| {
        number::field(field).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| Error::Sparse {
            entry: EntryName::new(entry),
            reason: "an offset, length or size is no number",
        })
    };
    let size = number(&header[OLD_REAL_SIZE])?;
    let mut map = Vec::new();
    let mut collect = |entries: &[u8]| -> Result<()> {
        for pair in entries.chunks_exact(2 * NUMBER) {
            // GNU tar also ends the list here.
            if pair[0] == 0 {
                break;
            }
            map.push((number(&pair[..NUMBER])?, number(&pair[NUMBER..])?));
        }
        Ok(())
    };
    collect(&header[OLD_MAP..OLD_MAP + OLD_ENTRIES * 2 * NUMBER])?;
    let mut extended = header[OLD_EXTENDED] != 0;
    let mut read: u64 = 0;
    while extended {
        read += BLOCK as u64;
        check_limit(entry, read, limit)?;
        let block = read_block(entry, stream)?;
        collect(&block[..EXTENSION_ENTRIES * 2 * NUMBER])?;
        extended = block[EXTENSION_EXTENDED] != 0;
    }
    Ok(Sparse { size, map_size: 0, map })
}

/// Reads the map that PAX records announce; `None` if they announce none. In version 1.0 it stands at the
/// beginning of the content, which is the next `stored` bytes of the stream.
pub(super) fn read_pax(
    entry: &[u8],
    records: &Records,
    stored: u64,
    stream: &mut Stream,
    limit: u64,
) -> Result<Option<Sparse>> {
    let broken = |reason| Error::Sparse { entry: EntryName::new(entry), reason };
    let in_records = match (records.sparse("major"), records.sparse("minor")) {
        (Some(b"1"), Some(b"0")) => false,
        (Some(b"0"), Some(b"0" | b"1")) => true,
        (None, None) if ["map", "numblocks"].iter().any(|key| records.sparse(key).is_some()) => {
            true
        }
        (None, None) => return Ok(None),
        _ => return Err(broken("an unknown version of the format")),
    };
    let size = records
        .sparse("size")
        .or_else(|| records.sparse("realsize"))
        .and_then(number::decimal)
        .ok_or_else(|| broken("the file's size is missing or no number"))?;
    let (map, map_size) = if in_records {
        (map_of_records(records).ok_or_else(|| broken("GNU.sparse.map is no list of pairs"))?, 0)
    } else {
        read_map(entry, stored, stream, limit)?
    };
    Ok(Some(Sparse { size, map_size, map }))
}

fn map_of_records(records: &Records) -> Option<Vec<(u64, u64)>> {
    let count = number::decimal(records.sparse("numblocks")?)?;
    let text = records.sparse("map").unwrap_or_default();
    let mut map = Vec::new();
    if !text.is_empty() {
        let mut numbers = text.split(|&b| b == b',').map(number::decimal);
        while let Some(offset) = numbers.next() {
            map.push((offset?, numbers.next()??));
        }
    }
    (map.len() as u64 == count).then_some(map)
}

/// Reads a map of version 1.0: decimal numbers, each followed by a newline; first the number of pairs, then
/// the pairs; padded to a full block.
fn read_map(
    entry: &[u8],
    stored: u64,
    stream: &mut Stream,
    limit: u64,
) -> Result<(Vec<(u64, u64)>, u64)> {
    let broken = |reason| Error::Sparse { entry: EntryName::new(entry), reason };
    let mut read: u64 = 0;
    let mut digits = Vec::new();
    let mut numbers = Vec::new();
    let mut due: Option<u64> = None;
    loop {
        read += BLOCK as u64;
        if read > stored {
            return Err(broken("the map is longer than the stored bytes"));
        }
        check_limit(entry, read, limit)?;
        for &byte in &read_block(entry, stream)? {
            if due == Some(numbers.len() as u64) {
                break; // Padding.
            }
            if byte != b'\n' {
                digits.push(byte);
                continue;
            }
            let number = number::decimal(&digits).ok_or_else(|| broken("no number in the map"))?;
            digits.clear();
            match due {
                Some(_) => numbers.push(number),
                None => {
                    due = Some(number.checked_mul(2).ok_or_else(|| broken("too many stretches"))?);
                }
            }
        }
        if due == Some(numbers.len() as u64) {
            let map = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            return Ok((map, read));
        }
    }
}

fn read_block(entry: &[u8], stream: &mut Stream) -> Result<Block> {
    let mut block = [0; BLOCK];
    if stream.read_full(&mut block)? < BLOCK {
        return Err(Error::Truncated { within: Within::Entry(EntryName::new(entry)) });
    }
    Ok(block)
}

fn check_limit(entry: &[u8], read: u64, limit: u64) -> Result<()> {
    if read <= limit {
        return Ok(());
    }
    let within = Within::Entry(EntryName::new(entry));
    Err(Error::Limit { within, what: "the number of bytes of a sparse file's map", limit })
}
