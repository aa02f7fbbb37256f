//! Bombs: a small blob that asks for much is stopped at a limit, and the message says at which.

use std::io::{Cursor, Read, repeat};

use ducc::layer::{Error, LayerReader, Limits};

use crate::chain;
use crate::tar::{Header, Tar};

const TINY: Limits = Limits {
    entries: 3,
    file_size: 1000,
    unpacked_size: 20_000,
    path_depth: 4,
    header_size: 2048,
    zstd_window_log: 20,
};

fn error(blob: Vec<u8>, limits: Limits) -> Option<String> {
    let reader = LayerReader::new(Cursor::new(blob), limits);
    reader.and_then(LayerReader::finish).err().map(|error| chain(&error))
}

#[test]
fn at_the_limit_and_one_over() {
    let files =
        |count: usize| (0..count).fold(Tar::new(), |tar, n| tar.file(format!("f{n}"), "")).end();
    let dropped = |count: usize| {
        (0..count).fold(Tar::new(), |tar, n| tar.file(format!(".wh..wh.{n}"), "")).end()
    };
    let sized = |size: usize| Tar::new().file("f", vec![b'x'; size]).end();
    let sparse = |size: u64| {
        let size = size.to_string();
        let records =
            [("GNU.sparse.map", ""), ("GNU.sparse.numblocks", "0"), ("GNU.sparse.size", &size)];
        Tar::new().pax(&records).file("f", "").end()
    };
    let padded = |size: usize| vec![0; size];
    let pax = |size: usize| {
        let record = crate::tar::record("comment", "c".repeat(size - 14));
        assert_eq!(record.len(), size);
        Tar::new().member(Header::new(b'x', "x"), record).file("f", "").end()
    };
    let long = |size: usize| {
        // Longer than a name may be, but NULs at the end are not part of it.
        let name = [b"f".as_slice(), &vec![0; size - 1]].concat();
        Tar::new().member(Header::new(b'L', "L").gnu(), name).file("f", "").end()
    };
    let map = |pairs: usize| {
        let text = format!("{pairs}\n") + &"0\n".repeat(2 * pairs);
        let records =
            [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "0")];
        Tar::new()
            .pax(&records)
            .member(Header::new(b'0', "f"), Tar::new().raw(text).pad().open())
            .end()
    };
    let in_f = |what: &str| format!("in entry f: the number of {what}");
    let cases = [
        (
            files(3),
            files(4),
            "in entry f3: the number of entries exceeds the limit of 3".to_owned(),
        ),
        (dropped(3), dropped(4), "in entry .wh..wh.3: the number of entries exceeds".to_owned()),
        (sized(1000), sized(1001), in_f("bytes of a file exceeds the limit of 1000")),
        (sparse(1000), sparse(1001), in_f("bytes of a file exceeds the limit of 1000")),
        (
            padded(20_000 / 512 * 512),
            padded(20_480),
            "in the whole layer: the number of uncompressed bytes exceeds the limit of 20000"
                .to_owned(),
        ),
        (
            Tar::new().file("a/b/c/f", "").end(),
            Tar::new().file("a/b/c/d/f", "").end(),
            "in entry a/b/c/d/f: the number of path components exceeds the limit of 4".to_owned(),
        ),
        (
            pax(2048),
            pax(2049),
            "before the first entry: the number of bytes of a PAX header or long name exceeds"
                .to_owned(),
        ),
        (
            long(2048),
            long(2049),
            "before the first entry: the number of bytes of a PAX header or long name exceeds"
                .to_owned(),
        ),
        (map(511), map(512), in_f("bytes of a sparse file's map exceeds the limit of 2048")),
    ];
    for (good, bad, expected) in cases {
        assert_eq!(error(good, TINY), None, "{expected}");
        let got = error(bad, TINY).expect(&expected);
        assert!(got.starts_with(&expected), "{got}");
        assert!(got.ends_with("raise the limit if the image is to be trusted"), "{got}");
    }
}

/// Holes take no bytes of the tar, but copying the files makes them real.
#[test]
fn many_files_of_holes() {
    let hole = |tar: Tar, n: u64| {
        let records =
            [("GNU.sparse.map", ""), ("GNU.sparse.numblocks", "0"), ("GNU.sparse.size", "1000")];
        tar.pax(&records).file(format!("f{n}"), "")
    };
    let limits = Limits { entries: 100, unpacked_size: 50_000, ..TINY };
    let blob = |count| (0..count).fold(Tar::new(), hole).end();
    assert_eq!(error(blob(30), limits), None);
    let limits = Limits { unpacked_size: 50_000, ..limits };
    let refusal =
        error((0..30).fold(Tar::new(), hole).end(), Limits { unpacked_size: 49_000, ..limits });
    assert_eq!(refusal, None);
    let limits = Limits { file_size: 1 << 40, unpacked_size: 1 << 20, ..limits };
    let size = (1u64 << 20).to_string();
    let records =
        [("GNU.sparse.map", ""), ("GNU.sparse.numblocks", "0"), ("GNU.sparse.size", size.as_str())];
    let two = Tar::new().pax(&records).file("f0", "").pax(&records).file("f1", "").end();
    let refusal = error(two, limits).unwrap();
    assert!(
        refusal.starts_with("in entry f1: the number of bytes of all files exceeds"),
        "{refusal}"
    );
}

/// A gigabyte of zeros is a megabyte of gzip: the limit is reached long before the end.
#[test]
fn compressed_bombs() {
    let limits = Limits { unpacked_size: 1 << 20, ..Limits::default() };
    let zeros = repeat(0).take(64 << 20);
    let gzip = {
        let mut encoder = flate2::read::GzEncoder::new(zeros, flate2::Compression::best());
        let mut blob = Vec::new();
        encoder.read_to_end(&mut blob).unwrap();
        blob
    };
    let zstd = zstd::encode_all(repeat(0).take(64 << 20), 3).unwrap();
    for blob in [gzip, zstd] {
        assert!(blob.len() < 100_000);
        let refusal = error(blob, limits).unwrap();
        assert!(
            refusal.starts_with("in the whole layer: the number of uncompressed bytes"),
            "{refusal}"
        );
    }
}

/// The window is memory that a frame asks for before any of its content has been checked.
#[test]
fn zstd_windows() {
    let blob = |window_log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.include_contentsize(false).unwrap();
        std::io::Write::write_all(&mut encoder, &Tar::new().file("f", vec![1; 1 << 21]).end())
            .unwrap();
        encoder.finish().unwrap()
    };
    let limits = Limits { zstd_window_log: 20, ..Limits::default() };
    assert_eq!(error(blob(20), limits), None);
    let refusal = error(blob(21), limits).unwrap();
    assert!(refusal.starts_with("the layer's zstd data is broken"), "{refusal}");
    assert_eq!(error(blob(26), Limits::default()), None);
    assert!(error(blob(27), Limits::default()).is_some());
}

/// Sizes that no memory could hold are refused before anything is allocated.
#[test]
fn sizes_that_lie() {
    let most = b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
    for flag in [b'x', b'g', b'L', b'K'] {
        let blob = Tar::new().header(Header::new(flag, "n").gnu().bytes(124, most)).end();
        let refusal = error(blob, Limits::default()).unwrap();
        assert!(refusal.contains("of a PAX header or long name exceeds the limit"), "{refusal}");
    }
    let file = Tar::new().header(Header::new(b'0', "n").bytes(124, most)).end();
    assert!(
        error(file, Limits::default()).unwrap().contains("the number of bytes of a file exceeds")
    );
    let dropped = Tar::new().header(Header::new(b'0', ".wh.n").bytes(124, most)).end();
    let result =
        LayerReader::new(Cursor::new(dropped), Limits::default()).and_then(LayerReader::finish);
    assert!(matches!(result, Err(Error::Truncated { .. })), "{result:?}");
}
