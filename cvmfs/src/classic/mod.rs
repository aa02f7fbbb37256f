//! The zlib stream that the original zlib writes at its level 6, bit by bit.
//!
//! Clients take any zlib stream, and so objects are compressed by a faster library. But stock replication copies
//! the certificate in a way of its own: it inflates the object, deflates it again, and stores the result under the
//! *old* name (`cvmfs/swissknife_pull.cc`, release 2.12). Unless both streams are the same, the replica's object
//! does not have the hash that it is named by, and no client mounts the replica. No library with a safe interface
//! writes that stream, so it is written here, for short texts only: everything fits into one block and one window.
//!
//! Source: the behaviour of zlib 1.2.3 to 1.3 (`deflate.c`, `trees.c`), which has not changed in this respect; the
//! format is RFC 1950 and RFC 1951.

mod bits;
mod codes;
mod matches;
mod tree;

use crate::{Error, Result};

/// More bytes might make a second block.
const LONGEST: usize = 16 << 10;

/// Method deflate with a window of 32 KiB; default level, no dictionary.
const HEADER: [u8; 2] = [0x78, 0x9c];

/// The stream of at most 16 KiB; `what` is named in errors.
///
/// # Errors
/// If there is more.
pub(crate) fn zlib(content: &[u8], what: &str) -> Result<Vec<u8>> {
    if content.len() >= LONGEST {
        let (what, size) = (what.to_owned(), content.len());
        return Err(Error::TooLong { what, size, limit: LONGEST });
    }
    let mut stream = HEADER.to_vec();
    stream.extend(codes::block(content, &matches::tokens(content)));
    stream.extend(adler32(content).to_be_bytes());
    Ok(stream)
}

/// The checksum of RFC 1950.
fn adler32(content: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    let (mut a, mut b) = (1, 0);
    for &byte in content {
        a = (a + u32::from(byte)) % MODULUS;
        b = (b + a) % MODULUS;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests;
