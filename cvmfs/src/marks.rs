//! Sets of objects that are too large for memory: what a repository refers to, and what it stores.
//!
//! Objects are written to 256 files by the first byte of their hash, and read one file at a time, so that a 256th of the
//! set is in memory.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use crate::compression::Compression;
use crate::hash::{Algorithm, ContentHash, LENGTH, ObjectId, ObjectKind};
use crate::scratch::Scratch;
use crate::{Error, Result};

/// Digest, algorithm, kind, and the size of the content.
const RECORD: usize = LENGTH + 2 + SIZE;
/// The size as a number, and how it is stored.
const SIZE: usize = 9;

/// How many bytes an object that holds content of a known size can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContentSize {
    /// Bytes of the content.
    content: u64,
    is_plain: bool,
}

impl ContentSize {
    /// Of content that is stored in this form.
    pub(crate) fn new(content: u64, compression: Compression) -> Self {
        Self { content, is_plain: compression == Compression::None }
    }

    /// Whether an object of so many bytes can hold the content. Deflate makes 1,032 bytes of one at most (the longest match
    /// has 258 bytes and takes two bits), and adds some bytes to each block that cannot be compressed.
    pub(crate) fn allows(self, stored: u64) -> bool {
        const RATIO: u64 = 1032;
        const FRAME: u64 = 1024;
        // The frame of a zlib stream, and an empty block.
        const LEAST: u64 = 8;
        let Self { content, is_plain } = self;
        if is_plain {
            return stored == content;
        }
        let most = content.saturating_add(content / 256).saturating_add(FRAME);
        ((content / RATIO).max(LEAST)..=most).contains(&stored)
    }

    fn of_record(record: [u8; SIZE]) -> Option<Self> {
        let ([kind], size) = record.split_first_chunk()?;
        let content = u64::from_le_bytes(size.try_into().ok()?);
        (*kind > 0).then_some(Self { content, is_plain: *kind > 1 })
    }

    fn record(sized: Option<Self>) -> [u8; SIZE] {
        let mut record = [0; SIZE];
        if let Some(Self { content, is_plain }) = sized {
            record[0] = if is_plain { 2 } else { 1 };
            record[1..].copy_from_slice(&content.to_le_bytes());
        }
        record
    }
}

/// Buffer of each file; small, because there are 256.
const BUFFER: usize = 8 * 1024;

/// A set of objects on disk.
pub(crate) struct Marks {
    shards: Vec<BufWriter<File>>,
    scratch: Scratch,
}

impl Marks {
    /// An empty set.
    pub(crate) fn new(scratch: &Scratch) -> Result<Self> {
        let shards = (0..=u8::MAX)
            .map(|_| {
                let file =
                    tempfile::tempfile_in(scratch.path()).map_err(failed("make", scratch))?;
                Ok(BufWriter::with_capacity(BUFFER, file))
            })
            .collect::<Result<_>>()?;
        Ok(Self { shards, scratch: scratch.clone() })
    }

    /// Adds an object; it may be there already.
    pub(crate) fn add(&mut self, object: ObjectId) -> Result<()> {
        self.write(object, None)
    }

    /// The same for an object that holds content of a known size.
    pub(crate) fn add_sized(&mut self, object: ObjectId, sized: ContentSize) -> Result<()> {
        self.write(object, Some(sized))
    }

    fn write(&mut self, object: ObjectId, sized: Option<ContentSize>) -> Result<()> {
        let mut record = [0; RECORD];
        record[LENGTH + 2..].copy_from_slice(&ContentSize::record(sized));
        record[..LENGTH].copy_from_slice(&object.hash.digest);
        record[LENGTH] = object.hash.algorithm.code();
        record[LENGTH + 1] = object.kind.code();
        self.shards[usize::from(record[0])]
            .write_all(&record)
            .map_err(failed("write", &self.scratch))
    }

    /// The objects whose hash begins with a byte, sorted, each once.
    pub(crate) fn shard(&mut self, first: u8) -> Result<Vec<ObjectId>> {
        let mut objects: Vec<_> = self.read(first)?.into_iter().map(|(object, _)| object).collect();
        objects.dedup();
        Ok(objects)
    }

    /// The same with each size that was told of an object, and all objects once at least.
    pub(crate) fn sized_shard(
        &mut self,
        first: u8,
    ) -> Result<Vec<(ObjectId, Option<ContentSize>)>> {
        let mut objects = self.read(first)?;
        objects.dedup();
        Ok(objects)
    }

    /// All records of a shard, sorted.
    fn read(&mut self, first: u8) -> Result<Vec<(ObjectId, Option<ContentSize>)>> {
        let writer = &mut self.shards[usize::from(first)];
        let mut read = || -> std::io::Result<Vec<(ObjectId, Option<ContentSize>)>> {
            writer.flush()?;
            let file = writer.get_mut();
            file.rewind()?;
            let mut reader = BufReader::new(&*file);
            let mut objects = Vec::new();
            let mut record = [0; RECORD];
            while read_record(&mut reader, &mut record)? {
                objects.push(object(&record).ok_or(std::io::ErrorKind::InvalidData)?);
            }
            file.seek(std::io::SeekFrom::End(0))?;
            Ok(objects)
        };
        let mut objects = read().map_err(failed("read", &self.scratch))?;
        objects.sort_unstable();
        Ok(objects)
    }
}

/// Reads one record; `false` at the end.
fn read_record(from: &mut impl Read, record: &mut [u8; RECORD]) -> std::io::Result<bool> {
    match from.read(record)? {
        0 => Ok(false),
        some => from.read_exact(&mut record[some..]).map(|()| true),
    }
}

fn object(record: &[u8; RECORD]) -> Option<(ObjectId, Option<ContentSize>)> {
    let (digest, rest) = record.split_first_chunk()?;
    let (&[algorithm, kind], size) = rest.split_first_chunk()?;
    let algorithm = Algorithm::from_code(algorithm)?;
    let hash = ContentHash { algorithm, digest: *digest };
    let sized = ContentSize::of_record(size.try_into().ok()?);
    Some((hash.object(ObjectKind::from_code(kind)?), sized))
}

fn failed(action: &'static str, scratch: &Scratch) -> impl FnOnce(std::io::Error) -> Error {
    let path = scratch.path().to_owned();
    move |cause| Error::System { action, path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_back_sorted_and_once() {
        let scratch = Scratch::new().unwrap();
        let mut marks = Marks::new(&scratch).unwrap();
        let object = |first: u8, last: u8, kind| {
            let mut digest = [0; LENGTH];
            (digest[0], digest[LENGTH - 1]) = (first, last);
            ContentHash { algorithm: Algorithm::Shake128, digest }.object(kind)
        };
        let (a, b, c) = (
            object(7, 1, ObjectKind::File),
            object(7, 1, ObjectKind::Catalog),
            object(7, 2, ObjectKind::File),
        );
        for added in [c, a, b, a, object(8, 0, ObjectKind::File)] {
            marks.add(added).unwrap();
        }
        assert_eq!(marks.shard(7).unwrap(), [a, b, c]);
        marks.add(object(7, 0, ObjectKind::Chunk)).unwrap();
        assert_eq!(marks.shard(7).unwrap().len(), 4);
        assert_eq!(marks.shard(9).unwrap(), []);
        let size = ContentSize::new(5, Compression::None);
        for _ in 0..2 {
            marks.add_sized(object(9, 1, ObjectKind::File), size).unwrap();
        }
        marks.add(object(9, 2, ObjectKind::File)).unwrap();
        let sizes: Vec<_> =
            marks.sized_shard(9).unwrap().into_iter().map(|(_, size)| size).collect();
        assert_eq!(sizes, [Some(size), None]);
    }

    #[test]
    fn sizes_that_an_object_can_have() {
        for (content, compression, stored, can) in [
            (5, Compression::None, 5, true),
            (5, Compression::None, 6, false),
            (0, Compression::None, 0, true),
            (0, Compression::Zlib, 8, true),
            (100, Compression::Zlib, 0, false),
            (1_000_000, Compression::Zlib, 1_000_000 / 1032, true),
            (1_000_000, Compression::Zlib, 900, false),
            (1_000_000, Compression::Zlib, 1_000_200, true),
            (1_000_000, Compression::Zlib, 1_010_000, false),
            (10, Compression::Zlib, 5_000, false),
        ] {
            let sized = ContentSize::new(content, compression);
            assert_eq!(sized.allows(stored), can, "{stored} for {content} as {compression:?}");
        }
    }
}
