//! A layer blob as its uncompressed stream.
//!
//! The compression is recognized by the blob's first bytes, as in all container engines, because media types
//! are often wrong. Formats: gzip (RFC 1952, any number of members) and zstd (RFC 8878, any number of frames,
//! skippable ones included), the two compressions of OCI image-spec, `layer.md`. Both are read to the real
//! end of the blob: anything after the last member or frame is an error, except for the padding that
//! [`gzip`](super::gzip) describes.

use std::io::{self, BufReader, Chain, Cursor, Read};

use zstd::stream::read::Decoder as ZstdDecoder;

use super::compression::{Compression, LONGEST_MAGIC};
use super::error::{Error, Result};
use super::gzip::Members;

/// How many compressed bytes are read at a time.
const INPUT_BUFFER: usize = 128 << 10;

type Input<R> = BufReader<Source<Chain<Cursor<Vec<u8>>, R>>>;

/// Reads a blob uncompressed.
pub(super) struct Blob<R: Read> {
    decoder: Decoder<R>,
}

enum Decoder<R: Read> {
    Plain(Input<R>),
    Gzip(Box<Members<Input<R>>>),
    Zstd(Box<ZstdDecoder<'static, Input<R>>>),
}

impl<R: Read> Blob<R> {
    /// Looks at the first bytes of `blob`.
    pub(super) fn new(mut blob: R, zstd_window_log: u32) -> Result<Self> {
        let mut start = Vec::with_capacity(LONGEST_MAGIC);
        blob.by_ref().take(LONGEST_MAGIC as u64).read_to_end(&mut start).map_err(Error::Read)?;
        let compression =
            Compression::detect(&start).map_err(|name| Error::Compression { name })?;
        let source = Source { inner: Cursor::new(start).chain(blob), failed: false };
        let input = BufReader::with_capacity(INPUT_BUFFER, source);
        let decoder = match compression {
            Compression::Plain => Decoder::Plain(input),
            Compression::Gzip => Decoder::Gzip(Box::new(Members::new(input))),
            Compression::Zstd => {
                let wrong = |cause| Error::Decompress { compression, cause };
                let mut decoder = ZstdDecoder::with_buffer(input).map_err(wrong)?;
                decoder.window_log_max(zstd_window_log).map_err(wrong)?;
                Decoder::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { decoder })
    }

    /// Reads some uncompressed bytes; 0 only at the end of the blob itself (or if `buffer` is empty).
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let read = match &mut self.decoder {
                Decoder::Plain(input) => input.read(buffer),
                Decoder::Gzip(decoder) => decoder.read(buffer),
                Decoder::Zstd(decoder) => decoder.read(buffer),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.explain(cause)),
                Ok(read) => return Ok(read),
            }
        }
    }

    /// Distinguishes an error of the blob's reader from one in its content. Broken content is often the first
    /// sign of a damaged blob, so the rest is read, too: the blob's reader knows what the digest should be.
    fn explain(&mut self, cause: io::Error) -> Error {
        let (compression, input) = match &mut self.decoder {
            Decoder::Plain(input) => (Compression::Plain, Some(input)),
            Decoder::Gzip(decoder) => (Compression::Gzip, decoder.get_mut()),
            Decoder::Zstd(decoder) => (Compression::Zstd, Some(decoder.get_mut())),
        };
        match input {
            Some(input) if input.get_ref().failed => Error::Read(cause),
            Some(input) => match io::copy(input.get_mut(), &mut io::sink()) {
                Err(better) => Error::Read(better),
                Ok(_) => Error::Decompress { compression, cause },
            },
            None => Error::Decompress { compression, cause },
        }
    }
}

/// Remembers whether the blob's reader has failed.
struct Source<R> {
    inner: R,
    failed: bool,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            self.failed |= error.kind() != io::ErrorKind::Interrupted;
        })
    }
}
