//! Properties: whatever the bytes, nothing panics, and what is handed out keeps its promises.

use std::io::{Cursor, Read};

use ducc::layer::{Entry, Kind, LayerPath, LayerReader, Limits, Segment};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::tar::{BLOCK, Header, Tar, fix_checksum};
use crate::{drain, open};

/// Small, so that nobody reads terabytes of holes.
const LIMITS: Limits = Limits {
    entries: 1000,
    file_size: 1 << 20,
    unpacked_size: 8 << 20,
    path_depth: 64,
    header_size: 1 << 16,
    zstd_window_log: 20,
};

/// What all consumers rely on.
fn check(entry: &Entry, content: &[u8], segments: &[Segment]) {
    let clean = |path: &LayerPath| {
        path.components()
            .all(|part| !matches!(part, b"." | b"..") && !part.contains(&0) && part.len() <= 255)
            && !path.as_bytes().starts_with(b"/")
            && path.as_bytes().len() <= 4095
            && path.components().count() <= LIMITS.path_depth.max(4096)
    };
    assert!(clean(&entry.path), "{entry:?}");
    let last = entry.path.components().last();
    assert!(!last.is_some_and(|name| name.starts_with(b".wh.")) || removes(entry), "{entry:?}");
    assert!(entry.metadata.mode <= 0o7777 && entry.metadata.mtime.nanoseconds < 1_000_000_000);
    assert!(entry.metadata.uid != u32::MAX && entry.metadata.gid != u32::MAX);
    for name in entry.metadata.xattrs.keys() {
        assert!(!name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay."));
    }
    let mut size = 0;
    match &entry.kind {
        Kind::File { size: of_file } => size = *of_file,
        Kind::HardLink { target } => assert!(clean(target) && *target != entry.path),
        Kind::Symlink { target } => assert!(!target.is_empty() && !target.contains(&0)),
        _ => {}
    }
    assert_eq!(content.len() as u64, size);
    let mut end = 0;
    for segment in segments {
        assert!(segment.length > 0 && (segment.offset > end || (segment.offset == 0 && end == 0)));
        end = segment.end();
    }
    assert!(end <= size);
}

/// A whiteout's own path may begin like one: `.wh..wh.` cannot, but `.wh.x` under `.wh.` names is refused.
fn removes(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::Whiteout | Kind::Opaque)
}

fn read(blob: Vec<u8>) {
    let Ok(mut reader) = LayerReader::new(Cursor::new(blob), LIMITS) else { return };
    while let Ok(Some(entry)) = reader.next_entry() {
        let mut content = Vec::new();
        if reader.content().read_to_end(&mut content).is_err() {
            break;
        }
        check(&entry, &content, reader.content().segments());
    }
    let _ = reader.finish();
}

fn nasty_name() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"..".to_vec()),
        Just(b".".to_vec()),
        Just(Vec::new()),
        Just(b".wh.".to_vec()),
        Just(b".wh.a".to_vec()),
        Just(b".wh..wh..opq".to_vec()),
        Just(b".wh..wh.plnk".to_vec()),
        Just(b"\0".to_vec()),
        vec(any::<u8>(), 0..12),
        Just(vec![b'n'; 256]),
        "[a-c]{1,2}".prop_map(String::into_bytes),
        "[a-c]{1,2}".prop_map(String::into_bytes),
        "[a-c]{1,2}".prop_map(String::into_bytes),
    ];
    vec(part, 0..5).prop_map(|parts| parts.join(&b'/'))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u64>().prop_map(|n| n.to_string()),
        (0u64..3000).prop_map(|n| n.to_string()),
        (0u64..3000).prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| format!("{n}.5")),
        Just(String::new()),
    ]
}

fn record() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let keyword = prop::sample::select(vec![
        "size",
        "uid",
        "gid",
        "mtime",
        "GNU.sparse.size",
        "GNU.sparse.realsize",
        "GNU.sparse.numblocks",
        "GNU.sparse.offset",
        "GNU.sparse.numbytes",
    ]);
    let version = prop::sample::select(vec!["GNU.sparse.major", "GNU.sparse.minor"]);
    prop_oneof![
        (keyword, number()).prop_map(|(key, value)| (key, value.into_bytes())),
        (version, 0u8..3).prop_map(|(key, value)| (key, value.to_string().into_bytes())),
        vec(number(), 0..6).prop_map(|list| ("GNU.sparse.map", list.join(",").into_bytes())),
        nasty_name().prop_map(|name| ("path", name)),
        nasty_name().prop_map(|name| ("linkpath", name)),
        nasty_name().prop_map(|name| ("GNU.sparse.name", name)),
        vec(any::<u8>(), 0..20).prop_map(|value| ("SCHILY.xattr.user.a", value)),
        vec(any::<u8>(), 0..20).prop_map(|value| ("SCHILY.xattr.trusted.overlay.opaque", value)),
    ]
}

/// One member with the headers before it, mostly well-formed.
fn member() -> impl Strategy<Value = Vec<u8>> {
    let flag = prop_oneof![
        6 => prop::sample::select(b"01234567S\0".to_vec()),
        1 => any::<u8>(),
    ];
    (
        flag,
        nasty_name(),
        nasty_name(),
        vec(record(), 0..6),
        vec(any::<u8>(), 0..1500),
        any::<[bool; 4]>(),
    )
        .prop_map(|(flag, name, link, records, content, [gnu, long_name, long_link, pax])| {
            let mut tar = Tar::new();
            if pax {
                tar = tar.pax(&records);
            }
            if long_name {
                tar = tar.long_name(&name);
            }
            if long_link {
                tar = tar.long_link(&link);
            }
            let header = Header::new(flag, &name).link(&link[..link.len().min(100)]);
            let header = if gnu { header.gnu() } else { header };
            tar.member(header, content).open()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(blob in vec(any::<u8>(), 0..3000)) {
        read(blob);
    }

    #[test]
    fn any_bytes_behind_a_magic(
        magic in prop::sample::select(vec![
            b"\x1f\x8b\x08".as_slice(), b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b"\xfd7zXZ\0",
        ]),
        rest in vec(any::<u8>(), 0..600),
    ) {
        read([magic, &rest].concat());
    }

    #[test]
    fn any_members(members in vec(member(), 1..6)) {
        read(members.concat());
    }

    /// Bytes are changed and the headers' checksums corrected, so that the changes get past them.
    #[test]
    fn changed_members(
        members in vec(member(), 1..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut blob = members.concat();
        for (at, value) in changes {
            let at = at.index(blob.len());
            blob[at] = value;
            let block = at / BLOCK * BLOCK;
            // A header has its magic; content rarely.
            if blob[block + 257..].starts_with(b"ustar") {
                let header: &mut [u8; BLOCK] = (&mut blob[block..block + BLOCK]).try_into().unwrap();
                fix_checksum(header);
            }
        }
        read(blob);
    }

    /// What a consumer reads does not depend on how it reads.
    #[test]
    fn any_piece_size(
        sizes in vec(1usize..3000, 1..20),
        contents in vec(vec(any::<u8>(), 0..20_000), 1..4),
    ) {
        let tar = contents.iter().enumerate().fold(Tar::new(), |tar, (n, content)| {
            let stored = content.len();
            let hole = (stored * 2).to_string();
            let map = format!("{},{}", stored, stored);
            let records = [
                ("GNU.sparse.map", map.as_str()),
                ("GNU.sparse.numblocks", "1"),
                ("GNU.sparse.size", &hole),
            ];
            let tar = if n % 2 == 1 { tar.pax(&records) } else { tar };
            tar.file(format!("f{n}"), content)
        });
        let blob = tar.end();
        let (expected, summary) = drain(open(blob.clone()).unwrap()).unwrap();
        let mut reader = open(blob).unwrap();
        let mut sizes = sizes.iter().cycle();
        let mut index = 0;
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut got = Vec::new();
            loop {
                let mut piece = vec![0; *sizes.next().unwrap()];
                match reader.content().read(&mut piece).unwrap() {
                    0 => break,
                    count => got.extend_from_slice(&piece[..count]),
                }
            }
            prop_assert_eq!(&entry, &expected[index].entry);
            prop_assert!(got == expected[index].content);
            index += 1;
        }
        prop_assert_eq!(reader.finish().unwrap(), summary);
    }
}
