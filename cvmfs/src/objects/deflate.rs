//! Compression of content that is in memory.

use libdeflater::{CompressionError, CompressionLvl, Compressor};

/// Clients take any zlib stream.
const LEVEL: i32 = 6;
/// For catalogs and the like, which are full of hashes: a higher one takes almost twice the time for a stream of the
/// same size.
const LEVEL_DATABASES: i32 = 5;

/// Compresses one content after the other.
pub(super) struct Deflate(Compressor);

impl Deflate {
    pub(super) fn new() -> Self {
        Self::of(LEVEL)
    }

    pub(super) fn for_databases() -> Self {
        Self::of(LEVEL_DATABASES)
    }

    fn of(level: i32) -> Self {
        Self(Compressor::new(CompressionLvl::new(level).unwrap_or_default()))
    }

    /// A zlib stream of all of `content`.
    pub(super) fn zlib(&mut self, content: &[u8]) -> Vec<u8> {
        let mut stored = vec![0; self.0.zlib_compress_bound(content.len())];
        loop {
            match self.0.zlib_compress(content, &mut stored) {
                Ok(size) => {
                    stored.truncate(size);
                    return stored;
                }
                // The bound makes this impossible.
                Err(CompressionError::InsufficientSpace) => stored.resize(stored.len() * 2, 0),
            }
        }
    }
}

/// How many bytes a stream of so many bytes may take: stored blocks are never smaller than 5000 bytes and cost 5
/// more each; with something for header, checksum and the last block.
pub(super) fn bound(content: u64) -> u64 {
    content + content / 1000 + 64
}
