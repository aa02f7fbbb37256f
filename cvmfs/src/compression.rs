//! How the bytes of an object are stored.

use std::io::Read;

use flate2::read::ZlibDecoder;

use crate::{Error, Result};

/// A compression of file content. Catalogs, tag databases and certificates are always [`Self::Zlib`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// A zlib stream (RFC 1950), of any level.
    #[default]
    Zlib,
    /// Stored as it is.
    None,
}

impl Compression {
    /// The value in a catalog's flags.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The compression of a value in a catalog's flags; clients take every value but 0 as "stored as it is".
    pub fn from_code(code: u8) -> Self {
        if code == 0 { Self::Zlib } else { Self::None }
    }
}

/// Inflates a zlib stream that holds at most `limit` bytes; `what` is named in errors.
///
/// # Errors
/// If it is not a zlib stream, there are bytes after its end, or it holds more.
pub fn inflate(stored: &[u8], limit: u64, what: &str) -> Result<Vec<u8>> {
    let corrupt = |reason: String| Error::Corrupt { what: what.to_owned(), reason };
    let mut decoder = ZlibDecoder::new(stored);
    let mut bytes = Vec::new();
    decoder
        .by_ref()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| corrupt(format!("it is no zlib stream: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(corrupt(format!("it inflates to more than {limit} bytes")));
    }
    if decoder.total_in() != stored.len() as u64 {
        return Err(corrupt("there are bytes behind its end".to_owned()));
    }
    Ok(bytes)
}
