//! The content of a layer, checked while it is read.
//!
//! OCI image-spec, `descriptor.md`: content from an untrusted source must be checked against its descriptor,
//! the size first, so that content that is too long is not even hashed. The check is part of reading: a
//! [`BlobReader`] reports the end only if the content is what its descriptor promised.

use std::io::{self, Read};
use std::sync::Arc;

use layer_layout::Digest;
use sha2::{Digest as _, Sha256};
use tokio::task::AbortHandle;

use super::error::{Error, Part};

/// Called with the number of bytes that have arrived since the last call.
pub type OnBytes = Arc<dyn Fn(u64) + Send + Sync>;

/// The bytes of one blob. Reading blocks, so read on a thread where that is allowed, never in asynchronous
/// code. Dropping the reader stops the download.
///
/// The read that would report the end instead fails with an [`io::Error`] that wraps
/// [`Error::DigestMismatch`] or [`Error::SizeMismatch`] if the content is wrong; a broken download wraps
/// [`Error::Fetch`]. Nothing that was read may be trusted before the end has been reported. Decoders often stop
/// before the end: [`Self::finish`] reads what is left.
pub struct BlobReader {
    inner: Box<dyn Read + Send>,
    hash: Sha256,
    expected: Expected,
    got: u64,
    state: State,
    stopper: Stopper,
}

/// Stops a download from another thread: a read that is waiting soon fails with [`Error::Interrupted`].
#[derive(Debug, Clone, Default)]
pub struct Stopper(Option<AbortHandle>);

impl Stopper {
    /// Stops the download. Does nothing if the blob comes from a file.
    pub fn stop(&self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// The digest and size that a blob must have, and how messages name it.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) image: Arc<str>,
    pub(super) part: Part,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Expected {
    /// The error for content with `got` bytes.
    pub(super) fn size_mismatch(&self, got: u64) -> Error {
        let Self { image, part, size, .. } = self;
        Error::SizeMismatch { image: image.to_string(), part: *part, expected: *size, got }
    }

    /// The error for content with the digest `got`.
    pub(super) fn digest_mismatch(&self, got: Digest) -> Error {
        let (expected, got) = (Box::new(self.digest), Box::new(got));
        Error::DigestMismatch { image: self.image.to_string(), part: self.part, expected, got }
    }

    /// Checks content that is in memory as a whole.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 != self.size {
            return Err(self.size_mismatch(bytes.len() as u64));
        }
        let got = Digest::of(bytes);
        if got == self.digest { Ok(()) } else { Err(self.digest_mismatch(got)) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Verified,
    Failed,
}

impl BlobReader {
    pub(super) fn new(inner: impl Read + Send + 'static, expected: Expected) -> Self {
        let hash = Sha256::new();
        let (state, stopper) = (State::Reading, Stopper::default());
        Self { inner: Box::new(inner), hash, expected, got: 0, state, stopper }
    }

    pub(super) fn stopped_by(mut self, task: AbortHandle) -> Self {
        self.stopper = Stopper(Some(task));
        self
    }

    /// A handle that can stop this download while a read is waiting.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Reads what is left; returns the size of the blob in bytes once all of it has been verified.
    ///
    /// # Errors
    /// As reading.
    pub fn finish(mut self) -> io::Result<u64> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.got)
    }

    fn read_checked(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 {
            if self.got != self.expected.size {
                return Err(self.expected.size_mismatch(self.got).into());
            }
            let got = Digest::from_bytes(std::mem::take(&mut self.hash).finalize().into());
            if got != self.expected.digest {
                return Err(self.expected.digest_mismatch(got).into());
            }
            self.state = State::Verified;
            return Ok(0);
        }
        self.got += count as u64;
        if self.got > self.expected.size {
            return Err(self.expected.size_mismatch(self.got).into());
        }
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.state {
            State::Verified => return Ok(0),
            State::Failed => return Err(io::Error::other("this blob has failed before")),
            State::Reading => {}
        }
        let result = self.read_checked(buffer);
        if result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
            self.state = State::Failed;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(content: &'static [u8], digest: Digest, size: u64) -> BlobReader {
        let part = Part::Layer(digest.into());
        BlobReader::new(content, Expected { image: "image".into(), part, digest, size })
    }

    #[test]
    fn only_what_was_promised_ends() {
        let right = Digest::of(b"content");
        let wrong = Digest::of(b"Content");
        assert_eq!(reader(b"content", right, 7).finish().unwrap(), 7);
        assert_eq!(reader(b"", Digest::of(b""), 0).finish().unwrap(), 0);

        let error = |reader: BlobReader| reader.finish().unwrap_err().downcast::<Error>().unwrap();
        assert!(matches!(
            error(reader(b"content", wrong, 7)),
            Error::DigestMismatch { expected, got, .. } if *expected == wrong && *got == right
        ));
        for size in [6, 8] {
            assert!(matches!(
                error(reader(b"content", right, size)),
                Error::SizeMismatch { expected, got: 7, .. } if expected == size
            ));
        }
    }

    #[test]
    fn a_failed_blob_stays_failed() {
        let mut reader = reader(b"content", Digest::of(b"other"), 7);
        let mut content = Vec::new();
        assert!(reader.read_to_end(&mut content).is_err());
        assert_eq!(content, b"content");
        assert!(reader.read(&mut [0; 8]).is_err());
    }
}
