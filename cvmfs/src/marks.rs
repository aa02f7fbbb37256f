//! Sets of objects that are too large for memory: what a repository refers to, and what it stores.
//!
//! Objects are written to 256 files by the first byte of their hash, and read one file at a time, so that a 256th of the
//! set is in memory.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use crate::hash::{Algorithm, ContentHash, LENGTH, ObjectId, ObjectKind};
use crate::scratch::Scratch;
use crate::{Error, Result};

/// Digest, algorithm and kind.
const RECORD: usize = LENGTH + 2;

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
        let mut record = [0; RECORD];
        record[..LENGTH].copy_from_slice(&object.hash.digest);
        record[LENGTH] = object.hash.algorithm.code();
        record[LENGTH + 1] = object.kind.code();
        self.shards[usize::from(record[0])]
            .write_all(&record)
            .map_err(failed("write", &self.scratch))
    }

    /// The objects whose hash begins with a byte, sorted, each once.
    pub(crate) fn shard(&mut self, first: u8) -> Result<Vec<ObjectId>> {
        let writer = &mut self.shards[usize::from(first)];
        let mut read = || -> std::io::Result<Vec<ObjectId>> {
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
        objects.dedup();
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

fn object(record: &[u8; RECORD]) -> Option<ObjectId> {
    let (digest, rest) = record.split_first_chunk()?;
    let &[algorithm, kind] = rest else { return None };
    let algorithm = Algorithm::from_code(algorithm)?;
    Some(ContentHash { algorithm, digest: *digest }.object(ObjectKind::from_code(kind)?))
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
    }
}
