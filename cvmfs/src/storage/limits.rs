//! How much is read into memory. Who can write in a storage can put files of any size there.

use std::io;

use crate::hash::ObjectKind;
use crate::reflog;

/// Manifest, whitelist, certificates, signs of other publishers: some KB at most.
const SMALL: u64 = 1 << 20;
/// The reference log has some 100 bytes for each revision.
const REFLOG: u64 = 512 << 20;
/// Catalogs, tag databases and content of files, as they are stored. Stock publishers that do not cut files make the largest.
const OBJECT: u64 = 16 << 30;
/// Objects of more bytes than this are not taken into memory before their hash has been computed piece by piece, if they can
/// be read twice.
pub(super) const HASHED_FIRST: u64 = 64 << 20;

/// The most bytes that a file of the root may have.
pub(super) fn of_file(name: &str) -> u64 {
    if name == reflog::NAME { REFLOG } else { SMALL }
}

/// The most bytes that an object may have.
pub(super) fn of_object(kind: ObjectKind) -> u64 {
    match kind {
        ObjectKind::Certificate | ObjectKind::Metainfo => SMALL,
        _ => OBJECT,
    }
}

/// Refuses what is too large.
pub(super) fn check(size: u64, limit: u64) -> io::Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(io::Error::other(format!("it has more than {limit} bytes, which nothing of its kind has")))
}
