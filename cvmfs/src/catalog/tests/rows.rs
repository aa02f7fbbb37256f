//! Entries as columns and back.

use super::{TIME, file};
use crate::catalog::row::{ChunkColumns, Columns, Location, Mount, Unfit};
use crate::compression::Compression;
use crate::entry::{Chunk, Content, Device, Entry, EntryKind, File, Links, Time};
use crate::hash::{Algorithm, ContentHash};
use crate::path::PathHash;
use crate::xattr::Xattrs;

const LOCATION: Location<'static> =
    Location { path: PathHash([7; 16]), parent: PathHash([3; 16]), name: b"n\xff" };

fn entry(kind: EntryKind) -> Entry {
    Entry { kind, ..Entry::directory(0o6755, TIME) }
}

fn hash(algorithm: Algorithm) -> ContentHash {
    ContentHash { algorithm, digest: [9; 20] }
}

fn chunked(sizes: &[u64]) -> File {
    let mut offset = 0;
    let chunks = sizes.iter().map(|&size| {
        offset += size;
        Chunk { offset: offset - size, size, hash: hash(Algorithm::Shake128) }
    });
    let content = Content::Chunks(Algorithm::Shake128, chunks.collect());
    File { size: sizes.iter().sum(), compression: Compression::None, content }
}

fn round_trip(entry: &Entry, mount: Mount) -> (i64, u32, i64) {
    let columns = Columns::encode(LOCATION, entry, mount, 5);
    let chunks: &[Chunk] = match &entry.kind {
        EntryKind::File(File { content: Content::Chunks(_, chunks), .. }) => chunks,
        _ => &[],
    };
    let chunks: Vec<ChunkColumns<'_>> = chunks
        .iter()
        .map(|chunk| ChunkColumns {
            offset: chunk.offset.cast_signed(),
            size: chunk.size.cast_signed(),
            hash: &chunk.hash.digest,
        })
        .collect();
    let row = columns.decode(11, &chunks).unwrap();
    assert_eq!(&row.entry, entry);
    assert_eq!((row.id, row.mount, &*row.name), (11, mount, LOCATION.name));
    assert_eq!((row.path, row.parent), (LOCATION.path, LOCATION.parent));
    (columns.flags, columns.mode, columns.size)
}

#[test]
fn entries_have_the_flags_modes_and_sizes_of_the_format() {
    let whole = |algorithm| EntryKind::File(file(42, hash(algorithm)));
    let raw = File { compression: Compression::None, ..file(42, hash(Algorithm::Sha1)) };
    let external =
        |hash| File { content: Content::External(hash), ..file(42, self::hash(Algorithm::Sha1)) };
    let device = Device { major: 259, minor: 65_537 };
    for (kind, flags, mode, size) in [
        (EntryKind::Directory, 1, 0o046_755, 4096),
        (whole(Algorithm::Sha1), 4, 0o106_755, 42),
        (whole(Algorithm::Rmd160), 0x104, 0o106_755, 42),
        (whole(Algorithm::Shake128), 0x204, 0o106_755, 42),
        (EntryKind::File(raw), 0x804, 0o106_755, 42),
        (EntryKind::File(chunked(&[3, 4])), 0xa44, 0o106_755, 7),
        (EntryKind::File(external(None)), 0x84, 0o106_755, 42),
        (EntryKind::File(external(Some(hash(Algorithm::Shake128)))), 0x284, 0o106_755, 42),
        (EntryKind::Symlink(b"../\xfft".to_vec()), 12, 0o126_755, 5),
        (EntryKind::Symlink(Vec::new()), 12, 0o126_755, 0),
        (EntryKind::Character(device), 20, 0o026_755, 268_501_761),
        (EntryKind::Character(Device { major: 0, minor: 0 }), 20, 0o026_755, 0),
        (EntryKind::Block(device), 20, 0o066_755, 268_501_761),
        (EntryKind::Fifo, 20, 0o016_755, 0),
        (EntryKind::Socket, 20, 0o146_755, 0),
    ] {
        assert_eq!(round_trip(&entry(kind.clone()), Mount::None), (flags, mode, size), "{kind:?}");
        let hidden = Entry { hidden: true, ..entry(kind) };
        assert_eq!(round_trip(&hidden, Mount::None).0, flags | 0x8000);
    }
    for (mount, flags) in
        [(Mount::Nested, 3), (Mount::Root, 33), (Mount::Bind, 0x4001), (Mount::None, 1)]
    {
        assert_eq!(round_trip(&entry(EntryKind::Directory), mount).0, flags);
    }
}

#[test]
fn attributes_survive() {
    let (xattrs, _) = Xattrs::pack(&[(b"user.a".to_vec(), vec![0, 255])].into());
    let plain = entry(EntryKind::Fifo);
    for entry in [
        Entry { uid: u32::MAX, gid: u32::MAX - 1, ..plain.clone() },
        Entry { xattrs, ..plain.clone() },
        Entry { links: Links { group: 5, count: 3 }, ..plain.clone() },
        Entry { mtime: Time { seconds: -1, nanoseconds: None }, ..plain.clone() },
        Entry { mtime: Time { seconds: 1 << 40, nanoseconds: Some(0) }, ..plain },
    ] {
        round_trip(&entry, Mount::None);
    }
}

/// What columns can hold, other than what is written here, and what becomes of it.
#[test]
fn columns_that_make_no_sense_are_refused() {
    let file = entry(EntryKind::File(file(7, hash(Algorithm::Sha1))));
    let good = Columns::encode(LOCATION, &file, Mount::None, 1);
    let refused: [(Columns<'_>, Unfit); 14] = [
        (Columns { name: b"a/b", ..good }, Unfit::Value("name")),
        (Columns { name: b"..", ..good }, Unfit::Value("name")),
        (Columns { name: b"nul\0", ..good }, Unfit::Value("name")),
        (Columns { name: &[b'x'; 256], ..good }, Unfit::Value("name")),
        (Columns { hash: None, ..good }, Unfit::NoContent),
        (Columns { hash: Some(b""), ..good }, Unfit::Value("hash")),
        (Columns { size: -1, ..good }, Unfit::Value("size")),
        (Columns { uid: -1, ..good }, Unfit::Value("uid")),
        (Columns { gid: 1 << 32, ..good }, Unfit::Value("gid")),
        (Columns { mtimens: Some(1_000_000_000), ..good }, Unfit::Value("mtimens")),
        (Columns { mode: 0o644, ..good }, Unfit::Value("mode")),
        (Columns { flags: 0x304, ..good }, Unfit::Value("flags")),
        (Columns { mode: 0o040_755, flags: 35, ..good }, Unfit::Mount),
        (Columns { mode: 0o120_777, symlink: b"a\0b", ..good }, Unfit::Value("symlink")),
    ];
    for (columns, unfit) in refused {
        assert_eq!(columns.decode(1, &[]), Err(unfit));
    }

    let chunked = entry(EntryKind::File(chunked(&[3, 4])));
    let good = Columns::encode(LOCATION, &chunked, Mount::None, 1);
    let chunk = |offset, size| ChunkColumns { offset, size, hash: &[9; 20] };
    for chunks in [
        vec![],
        vec![chunk(0, 3)],
        vec![chunk(0, 3), chunk(4, 4)],
        vec![chunk(0, 4), chunk(3, 4)],
        vec![chunk(0, 7), chunk(7, 0)],
        vec![chunk(0, 8), chunk(8, -1)],
        vec![chunk(0, i64::MAX), chunk(i64::MAX, i64::MAX), chunk(-2, 9)],
    ] {
        assert_eq!(good.decode(1, &chunks), Err(Unfit::Chunks), "{chunks:?}");
    }
    assert_eq!(
        good.decode(1, &[chunk(0, 3), chunk(3, 4)]).map(|row| row.entry),
        Ok(chunked.clone())
    );
}

#[test]
fn flags_of_the_future_and_odd_rows_of_the_past_are_read() {
    let file = entry(EntryKind::File(file(7, hash(Algorithm::Sha1))));
    let good = Columns::encode(LOCATION, &file, Mount::None, 1);
    let link = entry(EntryKind::Symlink(b"target".to_vec()));
    let ingested = Columns { size: 0, ..Columns::encode(LOCATION, &link, Mount::None, 1) };
    for (columns, entry) in [
        (Columns { flags: good.flags | 0x1f_0000, ..good }, &file),
        (Columns { hardlinks: 0, ..good }, &file),
        (Columns { name: b"", ..good }, &file),
        (ingested, &link),
    ] {
        assert_eq!(columns.decode(1, &[]).map(|row| row.entry).as_ref(), Ok(entry));
    }
}
