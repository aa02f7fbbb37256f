//! Archives that are compressed as a whole: `docker save … | gzip`.
//!
//! An archive is read at several places at once, and a compressed file only from its beginning. So it is unpacked into a
//! temporary file first, which has no name and is gone when nobody reads it any more.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write as _};

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

/// The first bytes of compressed files.
const MAGIC: [(&[u8], Compression); 4] = [
    (b"\x1f\x8b", Compression::Gzip),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    (b"\xfd7zXZ\0", Compression::Xz),
    (b"BZh", Compression::Bzip2),
];

impl Compression {
    /// How a file is compressed that begins like this; `None` if it is not.
    pub(super) fn of(begin: &[u8]) -> Option<Self> {
        let known = MAGIC.iter().find(|(magic, _)| begin.starts_with(magic));
        known.map(|(_, compression)| *compression)
    }

    /// Unpacks a file, which is read from its beginning. The result is at its own.
    pub(super) fn unpack(self, file: &File) -> io::Result<File> {
        let file = BufReader::with_capacity(1 << 16, file);
        let mut reader: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(file)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
            Self::Xz => Box::new(XzReader::new(file, true)),
            Self::Bzip2 => {
                let reason = "the archive is compressed with bzip2; unpack it first with bunzip2";
                return Err(io::Error::other(reason));
            }
        };
        let directory = std::env::temp_dir();
        let no_room = |error: io::Error| {
            io::Error::other(format!(
                "the archive is compressed and cannot be unpacked into {}: {error}; set TMPDIR to a directory with \
                 room for it",
                directory.display()
            ))
        };
        let mut unpacked = tempfile::tempfile_in(&directory).map_err(no_room)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let reason = format!("the archive is compressed, and damaged: {error}");
                    return Err(io::Error::new(error.kind(), reason));
                }
            };
            unpacked.write_all(&buffer[..count]).map_err(no_room)?;
        }
        unpacked.rewind()?;
        Ok(unpacked)
    }
}
