//! The 512 bytes before each member of a tar.
//!
//! Rules: POSIX `pax` ("ustar Interchange Format"), the GNU tar manual ("Basic Tar Format"), and where those
//! leave something open Go's `archive/tar`, with which container engines unpack layers: the same DiffID must
//! give the same files everywhere. The header types of the `tar` crate are not used because they read neither
//! negative numbers nor signed checksums, accept numbers that overflow, and treat a header with an unusual
//! version field as V7, which loses the prefix of long names.

use std::ops::Range;

use super::error::{EntryName, Error, Result};
use super::number::{self, before_nul};
use super::stream::BLOCK;

pub(super) type Block = [u8; BLOCK];

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK_NAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const VERSION: Range<usize> = 263..265;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_TRAILER: Range<usize> = 508..512;
const GNU_ATIME: Range<usize> = 345..357;
const GNU_CTIME: Range<usize> = 357..369;

/// Which fields a header has after the oldest ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// None: as in Unix V7.
    Old,
    /// POSIX: owner names, devices, prefix.
    Ustar,
    /// As POSIX, but with a shorter prefix and times after it.
    Star,
    /// GNU: owner names, devices, times, sparse map.
    Gnu,
}

/// A parsed header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: Format,
    /// Prefix and name, not cleaned.
    pub(super) name: Vec<u8>,
    pub(super) link_name: Vec<u8>,
    pub(super) flag: u8,
    /// All bits, as they stand in the field.
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    /// Not negative.
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// Major and minor number; `None` if the format or the type has none.
    pub(super) device: Option<(i64, i64)>,
}

/// Whether the checksum is right. Some old programs added up signed bytes.
pub(super) fn checksum_fits(block: &Block) -> bool {
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if CHECKSUM.contains(&at) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    number::octal(&block[CHECKSUM]).is_some_and(|given| given == unsigned || given == signed)
}

/// Parses a block whose checksum is right.
///
/// # Errors
/// If a numeric field is not a number.
pub(super) fn parse(block: &Block) -> Result<Header> {
    let format = format(block);
    let name = full_name(block, format);
    let number = |field: &'static str, range: Range<usize>| {
        number::field(&block[range.clone()]).ok_or_else(|| Error::Field {
            entry: EntryName::new(&name),
            field,
            value: EntryName::new(&block[range]),
            reason: "no number, or too large a one",
        })
    };
    let mode = number("mode", MODE)?;
    let uid = number("uid", UID)?;
    let gid = number("gid", GID)?;
    let mtime = number("mtime", MTIME)?;
    let size = number("size", SIZE)?;
    let size = u64::try_from(size).map_err(|_| Error::Field {
        entry: EntryName::new(&name),
        field: "size",
        value: EntryName::new(size.to_string().as_bytes()),
        reason: "a size cannot be negative",
    })?;
    let flag = block[TYPE];
    let device = match (format, flag) {
        (Format::Old, _) => None,
        (_, b'3' | b'4') => {
            Some((number("device major", DEVICE_MAJOR)?, number("device minor", DEVICE_MINOR)?))
        }
        _ => None,
    };
    let link_name = before_nul(&block[LINK_NAME]).to_vec();
    Ok(Header { format, name, link_name, flag, mode, uid, gid, size, mtime, device })
}

fn format(block: &Block) -> Format {
    match (&block[MAGIC], &block[VERSION]) {
        (b"ustar\0", _) if &block[STAR_TRAILER] == b"tar\0" => Format::Star,
        (b"ustar\0", _) => Format::Ustar,
        (b"ustar ", b" \0") => Format::Gnu,
        _ => Format::Old,
    }
}

fn full_name(block: &Block, format: Format) -> Vec<u8> {
    let name = before_nul(&block[NAME]);
    let prefix = match format {
        Format::Old => &[],
        Format::Ustar => before_nul(&block[PREFIX]),
        Format::Star => before_nul(&block[STAR_PREFIX]),
        // Go before 1.8, and so Docker before 1.13, wrote a prefix into GNU headers, in place of two times.
        // Such layers still exist (golang.org/issue/12594).
        Format::Gnu => {
            let times = [GNU_ATIME, GNU_CTIME].map(|field| number::field(&block[field]));
            match before_nul(&block[PREFIX]) {
                prefix if times.contains(&None) && prefix.is_ascii() => prefix,
                _ => &[],
            }
        }
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}
