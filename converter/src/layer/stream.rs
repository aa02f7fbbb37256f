//! The uncompressed stream of a layer: buffered, counted, limited and hashed.

use layer_layout::{DiffId, Digest};
use sha2::{Digest as _, Sha256};

use super::error::{Error, Result, Within};
use super::pipeline::{Chunk, Pipeline};

/// The size of a tar header in bytes, and the unit to which content is padded.
pub(super) const BLOCK: usize = 512;

/// Every byte of the uncompressed blob goes through the hash, whether it is read or skipped.
pub(super) struct Stream {
    pipeline: Pipeline,
    chunk: Chunk,
    /// How many bytes of the chunk have been handed out.
    start: usize,
    hash: Sha256,
    /// Uncompressed bytes so far.
    decoded: u64,
    limit: u64,
    ended: bool,
}

impl Stream {
    pub(super) fn new(pipeline: Pipeline, limit: u64) -> Self {
        let (chunk, hash) = (Chunk::empty(), Sha256::new());
        Self { pipeline, chunk, start: 0, hash, decoded: 0, limit, ended: false }
    }

    /// How many bytes have been handed out.
    pub(super) fn position(&self) -> u64 {
        self.decoded - (self.chunk.bytes().len() - self.start) as u64
    }

    /// Reads some bytes; 0 only at the end (or if `into` is empty).
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let available = self.available()?;
        let count = into.len().min(available.len());
        into[..count].copy_from_slice(&available[..count]);
        self.start += count;
        Ok(count)
    }

    /// Reads until `into` is full or the stream ends; returns how many bytes it got.
    pub(super) fn read_full(&mut self, into: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.read(&mut into[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// Skips `count` bytes, or fewer if the stream ends; returns how many there were.
    pub(super) fn skip(&mut self, count: u64) -> Result<u64> {
        let mut left = count;
        while left > 0 {
            let available = self.available()?.len();
            if available == 0 {
                break;
            }
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(available);
            self.start += step;
            left -= step as u64;
        }
        Ok(count - left)
    }

    /// Reads to the end; returns the digest and number of all bytes.
    pub(super) fn finish(mut self) -> Result<(DiffId, u64)> {
        loop {
            let available = self.available()?.len();
            if available == 0 {
                break;
            }
            self.start += available;
        }
        let digest = Digest::from_bytes(self.hash.finalize().into());
        Ok((DiffId::from(digest), self.decoded))
    }

    /// Reads to the end to find out whether the blob's reader finds fault with the blob.
    pub(super) fn fault(&mut self) -> Option<Error> {
        loop {
            match self.available() {
                Ok([]) => return None,
                Ok(available) => self.start += available.len(),
                Err(error @ Error::Read(_)) => return Some(error),
                Err(_) => return None,
            }
        }
    }

    /// The bytes at hand, or the next ones if there are none; empty only at the end.
    fn available(&mut self) -> Result<&[u8]> {
        if self.start == self.chunk.bytes().len() && !self.ended {
            let read = std::mem::replace(&mut self.chunk, Chunk::empty());
            self.start = 0;
            self.chunk = self.pipeline.next(read)?;
            let bytes = self.chunk.bytes();
            self.ended = bytes.is_empty();
            self.hash.update(bytes);
            self.decoded += bytes.len() as u64;
            if self.decoded > self.limit {
                let what = "the number of uncompressed bytes";
                return Err(Error::Limit { within: Within::Layer, what, limit: self.limit });
            }
        }
        Ok(&self.chunk.bytes()[self.start..])
    }
}
