//! What the fuzz targets have in common: how a layer is read, and what must be true of whatever comes out.

#[path = "../../src/layer/mod.rs"]
pub mod layer;
pub mod members;
pub mod seeds;
pub mod source;
#[path = "../../tests/hostile/corpus/tar.rs"]
#[allow(dead_code, reason = "the converter's tests use more of it")]
mod tar;

use std::io::{Cursor, Read};

use layer::{Entry, Error, Kind, LayerPath, LayerReader, Limits, Segment, Summary};
use layer_layout::overlay::{PRIVATE_XATTR_PREFIXES, WHITEOUT_PREFIX};
use layer_layout::{DiffId, Digest};
use sha2::{Digest as _, Sha256};

/// Small, so that nobody reads terabytes of holes.
const LIMITS: Limits = Limits {
    entries: 200,
    file_size: 1 << 18,
    unpacked_size: 1 << 20,
    path_depth: 24,
    header_size: 1 << 13,
    zstd_window_log: 20,
};

/// Reads a blob and checks what every consumer relies on.
pub fn check(blob: &[u8]) {
    let (entries, end) = read(blob, true);
    let (without_content, other_end) = read(blob, false);
    assert_eq!(entries, without_content, "the content changes what is read");
    match (end, other_end) {
        (Ok(summary), Ok(other)) => {
            assert_eq!(summary, other);
            assert_eq!(summary.entries, entries.len() as u64);
            assert!(summary.unpacked_bytes <= LIMITS.unpacked_size);
            if is_plain(blob) {
                let digest = Digest::from_bytes(Sha256::digest(blob).into());
                assert_eq!(summary.unpacked_bytes, blob.len() as u64);
                assert_eq!(summary.diff_id, DiffId::from(digest));
            }
        }
        (Err(_), Err(_)) => {}
        (end, other) => panic!("{end:?} with all content, {other:?} without"),
    }
    assert!(entries.len() as u64 <= LIMITS.entries);
    let bytes = entries.iter().map(|entry| match entry.kind {
        Kind::File { size } => size,
        _ => 0,
    });
    assert!(bytes.sum::<u64>() <= LIMITS.unpacked_size);
}

/// Whether a blob is a tar as it stands.
fn is_plain(blob: &[u8]) -> bool {
    let compressed = [[0x1f, 0x8b, 0x08, 0], [0x28, 0xb5, 0x2f, 0xfd]];
    let skippable = blob.get(1..4) == Some(&[0x2a, 0x4d, 0x18]);
    !skippable && !compressed.iter().any(|magic| blob.starts_with(&magic[..3]))
}

/// The entries up to the end or the first error.
fn read(blob: &[u8], with_content: bool) -> (Vec<Entry>, Result<Summary, Error>) {
    let mut entries = Vec::new();
    let mut reader = match LayerReader::new(Cursor::new(blob.to_vec()), LIMITS) {
        Ok(reader) => reader,
        Err(error) => return (entries, Err(told(error))),
    };
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => {
                check_entry(&entry);
                let segments = reader.content().segments().to_vec();
                check_segments(&entry, &segments);
                let read = if with_content {
                    read_content(&mut reader, &entry, &segments)
                } else {
                    Ok(())
                };
                entries.push(entry);
                if let Err(error) = read {
                    return (entries, Err(after_error(reader, error)));
                }
            }
            Ok(None) => return (entries, reader.finish().map_err(told)),
            Err(error) => return (entries, Err(after_error(reader, error))),
        }
    }
}

/// An error has a text, and nothing succeeds after it.
fn after_error(mut reader: LayerReader, error: Error) -> Error {
    assert!(matches!(reader.next_entry(), Err(Error::Failed)));
    assert!(reader.content().read(&mut [0; 8]).is_err());
    assert!(matches!(reader.finish(), Err(Error::Failed)));
    told(error)
}

fn told(error: Error) -> Error {
    assert!(!error.to_string().is_empty());
    error
}

/// Reads a file, which has the size that was announced and zeros in its holes.
fn read_content(
    reader: &mut LayerReader,
    entry: &Entry,
    segments: &[Segment],
) -> Result<(), Error> {
    let mut content = Vec::new();
    if let Err(error) = reader.content().read_to_end(&mut content) {
        return Err(Error::Read(error));
    }
    let size = if let Kind::File { size } = entry.kind { size } else { 0 };
    assert_eq!(content.len() as u64, size, "{entry:?}");
    let mut end = 0;
    for segment in segments {
        assert!(content[end..segment.offset as usize].iter().all(|&byte| byte == 0));
        end = segment.end() as usize;
    }
    assert!(content[end..].iter().all(|&byte| byte == 0));
    Ok(())
}

/// Segments are in order, neither empty nor touching, and in the file.
fn check_segments(entry: &Entry, segments: &[Segment]) {
    let size = if let Kind::File { size } = entry.kind { size } else { 0 };
    let mut end = None;
    for segment in segments {
        assert!(segment.length > 0 && end.is_none_or(|end| segment.offset > end), "{entry:?}");
        end = Some(segment.end());
    }
    assert!(end.is_none_or(|end| end <= size), "{entry:?}");
}

fn check_entry(entry: &Entry) {
    let metadata = &entry.metadata;
    assert!(is_clean(&entry.path), "{entry:?}");
    assert!(entry.path.components().count() <= LIMITS.path_depth);
    assert!(metadata.mode <= 0o7777 && metadata.mtime.nanoseconds < 1_000_000_000, "{entry:?}");
    assert!(metadata.uid != u32::MAX && metadata.gid != u32::MAX, "{entry:?}");
    for (name, value) in &metadata.xattrs {
        assert!(name.len() <= 255 && value.len() <= 65536 && !name.contains(&0), "{entry:?}");
        assert!(!PRIVATE_XATTR_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    }
    let is_hidden = entry.path.components().any(|name| name.starts_with(WHITEOUT_PREFIX));
    match &entry.kind {
        // What is removed may have any name.
        Kind::Whiteout => assert!(!entry.path.is_root()),
        Kind::Directory | Kind::Opaque => assert!(!is_hidden, "{entry:?}"),
        Kind::File { size } => {
            assert!(*size <= LIMITS.file_size && !is_hidden && !entry.path.is_root(), "{entry:?}");
        }
        Kind::Symlink { target } => {
            assert!(!target.is_empty() && !target.contains(&0) && target.len() <= 4095);
            assert!(!is_hidden && !entry.path.is_root(), "{entry:?}");
        }
        Kind::HardLink { target } => {
            assert!(is_clean(target) && *target != entry.path && !target.is_root(), "{entry:?}");
            assert!(!is_hidden && !entry.path.is_root(), "{entry:?}");
        }
        Kind::CharacterDevice { major, minor } => {
            assert!(*major <= 0xfff && *minor <= 0xf_ffff && (*major, *minor) != (0, 0));
            assert!(!is_hidden && !entry.path.is_root(), "{entry:?}");
        }
        Kind::BlockDevice { .. } | Kind::Fifo => {
            assert!(!is_hidden && !entry.path.is_root(), "{entry:?}");
        }
    }
}

/// Whether a path is what cleaning it gives.
fn is_clean(path: &LayerPath) -> bool {
    LayerPath::clean(path.as_bytes()).as_ref() == Ok(path)
        && path.components().all(|name| !matches!(name, b"." | b".."))
}

/// A tar in which every header that has a magic number has a checksum that fits, too.
pub fn with_checksums(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    for block in tar.chunks_exact_mut(tar::BLOCK) {
        let block: &mut [u8; tar::BLOCK] = block.try_into().expect("a whole block");
        if block[257..].starts_with(b"ustar") {
            tar::fix_checksum(block);
        }
    }
    tar
}
