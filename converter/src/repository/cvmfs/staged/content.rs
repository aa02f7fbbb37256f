//! What a file holds, in a blob.
//!
//! Compression and algorithm take a byte each. A file that is one object has its size and its hash behind
//! them, any other one for each chunk offset, size and hash; numbers are 64 bits, little-endian.

use cvmfs_repository::compression::Compression;
use cvmfs_repository::entry::{Chunk, Content, File};
use cvmfs_repository::hash::{Algorithm, ContentHash, LENGTH};

const WHOLE: u8 = 0;
const CHUNKS: u8 = 1;
const EXTERNAL: u8 = 2;

/// Offset, size, hash.
const CHUNK: usize = 8 + 8 + LENGTH;

/// Packs it.
pub(super) fn encode(file: &File) -> Vec<u8> {
    let (form, algorithm) = match &file.content {
        Content::Whole(hash) => (WHOLE, hash.algorithm),
        Content::Chunks(algorithm, _) => (CHUNKS, *algorithm),
        Content::External(hash) => {
            (EXTERNAL, hash.map_or(Algorithm::default(), |hash| hash.algorithm))
        }
    };
    let mut blob = vec![form, file.compression.code(), algorithm.code()];
    blob.extend(file.size.to_le_bytes());
    match &file.content {
        Content::Whole(hash) | Content::External(Some(hash)) => blob.extend(hash.digest),
        Content::External(None) => {}
        Content::Chunks(_, chunks) => {
            for chunk in chunks {
                blob.extend(chunk.offset.to_le_bytes());
                blob.extend(chunk.size.to_le_bytes());
                blob.extend(chunk.hash.digest);
            }
        }
    }
    blob
}

/// Unpacks it; `None` if nobody has packed that.
pub(super) fn decode(blob: &[u8]) -> Option<File> {
    let (&[form, compression, algorithm], rest) = blob.split_first_chunk()?;
    let algorithm = Algorithm::from_code(algorithm)?;
    let (size, rest) = number(rest)?;
    let hash = |digest: &[u8]| Some(ContentHash { algorithm, digest: digest.try_into().ok()? });
    let content = match form {
        WHOLE => Content::Whole(hash(rest)?),
        EXTERNAL if rest.is_empty() => Content::External(None),
        EXTERNAL => Content::External(Some(hash(rest)?)),
        CHUNKS if rest.len().is_multiple_of(CHUNK) => {
            let chunks = rest.chunks_exact(CHUNK).map(|chunk| {
                let (offset, rest) = number(chunk)?;
                let (size, digest) = number(rest)?;
                Some(Chunk { offset, size, hash: hash(digest)? })
            });
            Content::Chunks(algorithm, chunks.collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Some(File { size, compression: Compression::from_code(compression), content })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked() {
        let hash = Algorithm::Shake128.hash(b"x");
        let chunk = |offset, size| Chunk { offset, size, hash };
        for (size, content) in [
            (u64::MAX, Content::Whole(hash)),
            (0, Content::Chunks(Algorithm::Shake128, Vec::new())),
            (9, Content::Chunks(Algorithm::Shake128, vec![chunk(0, 4), chunk(4, 5)])),
            (1, Content::External(None)),
            (1, Content::External(Some(hash))),
        ] {
            for compression in [Compression::Zlib, Compression::None] {
                let file = File { size, compression, content: content.clone() };
                assert_eq!(decode(&encode(&file)), Some(file));
            }
        }
        assert_eq!((decode(b""), decode(&[3; 40]), decode(&[0; 30])), (None, None, None));
    }
}
