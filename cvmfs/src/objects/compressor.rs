//! Compression of content that is in memory.

use libdeflater::{CompressionError, CompressionLvl};

use super::buffers::{self, LARGE};

/// Clients take any zlib stream.
const LEVEL: i32 = 6;
/// For catalogs and other databases, which are full of hashes: a higher level takes almost twice the time for a stream
/// of the same size.
const LEVEL_DATABASES: i32 = 5;

/// Compresses one content after the other.
pub(super) struct Compressor {
    deflate: libdeflater::Compressor,
    /// Takes a stream whose length is not known yet, unless it may be large.
    buffer: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self::of(LEVEL)
    }

    pub(super) fn for_databases() -> Self {
        Self::of(LEVEL_DATABASES)
    }

    fn of(level: i32) -> Self {
        let level = CompressionLvl::new(level).expect("libdeflate has the levels 1 to 12");
        Self { deflate: libdeflater::Compressor::new(level), buffer: Vec::new() }
    }

    /// A zlib stream of all of `content`.
    pub(super) fn zlib(&mut self, content: &[u8]) -> Vec<u8> {
        let bound = self.deflate.zlib_compress_bound(content.len());
        if bound > LARGE {
            let mut stored = buffers::room_for(bound);
            let size = compress(&mut self.deflate, content, &mut stored);
            stored.truncate(size);
            return stored;
        }
        if self.buffer.len() < bound {
            self.buffer.resize(bound, 0);
        }
        let size = compress(&mut self.deflate, content, &mut self.buffer);
        self.buffer[..size].to_vec()
    }
}

fn compress(deflate: &mut libdeflater::Compressor, content: &[u8], stored: &mut Vec<u8>) -> usize {
    loop {
        match deflate.zlib_compress(content, stored) {
            Ok(size) => return size,
            // Cannot happen within the bound.
            Err(CompressionError::InsufficientSpace) => stored.resize(stored.len() * 2 + 1, 0),
        }
    }
}

/// The most bytes that a stream of this many bytes takes: stored blocks are never smaller than 5000 bytes and cost 5 more
/// each; header, checksum and the last block take a few more.
pub(super) fn bound(content: u64) -> u64 {
    content + content / 1000 + 64
}
