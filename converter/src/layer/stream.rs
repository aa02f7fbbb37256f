//! The uncompressed stream of a layer: buffered, counted, limited and hashed.

use std::io::Read;

use layer_layout::{DiffId, Digest};
use sha2::{Digest as _, Sha256};

use super::blob::Blob;
use super::error::{Error, Result, Within};

/// Bytes of a tar header, and the unit that content is padded to.
pub(super) const BLOCK: usize = 512;

/// Uncompressed bytes decoded and hashed at once: enough to make the calls cheap, and small enough for the
/// second-level cache.
const BUFFER: usize = 256 << 10;

/// Every byte that is taken from the blob goes through the hash, whoever reads it.
pub(super) struct Stream<R: Read> {
    blob: Blob<R>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    hash: Sha256,
    decoded: u64,
    limit: u64,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(blob: Blob<R>, limit: u64) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { blob, buffer, start: 0, end: 0, hash: Sha256::new(), decoded: 0, limit }
    }

    /// Bytes handed out.
    pub(super) fn position(&self) -> u64 {
        self.decoded - (self.end - self.start) as u64
    }

    /// Reads some bytes; 0 only at the end (or if `into` is empty).
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        if self.start == self.end {
            if into.len() >= BUFFER {
                let read = self.blob.read(into)?;
                self.account_for(read)?;
                self.hash.update(&into[..read]);
                return Ok(read);
            }
            self.fill()?;
        }
        let count = into.len().min(self.end - self.start);
        into[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
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

    /// Passes over `count` bytes, or fewer if the stream ends; returns how many there were.
    pub(super) fn skip(&mut self, count: u64) -> Result<u64> {
        let mut left = count;
        while left > 0 {
            if self.start == self.end && self.fill()? == 0 {
                break;
            }
            let step = left.min((self.end - self.start) as u64);
            self.start += usize::try_from(step).unwrap_or(usize::MAX);
            left -= step;
        }
        Ok(count - left)
    }

    /// Reads to the end; returns the digest and number of all bytes.
    pub(super) fn finish(mut self) -> Result<(DiffId, u64)> {
        while self.fill()? > 0 {}
        let digest = Digest::from_bytes(self.hash.finalize().into());
        Ok((DiffId::from(digest), self.decoded))
    }

    fn fill(&mut self) -> Result<usize> {
        self.start = 0;
        self.end = 0;
        let read = self.blob.read(&mut self.buffer)?;
        self.account_for(read)?;
        self.hash.update(&self.buffer[..read]);
        self.end = read;
        Ok(read)
    }

    fn account_for(&mut self, read: usize) -> Result<()> {
        self.decoded += read as u64;
        if self.decoded > self.limit {
            let what = "the number of uncompressed bytes";
            return Err(Error::Limit { within: Within::Layer, what, limit: self.limit });
        }
        Ok(())
    }
}
