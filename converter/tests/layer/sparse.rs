//! Sparse files in all four formats: where they have data, what holes read as, and broken maps.

use ducc::layer::{Kind, Segment};

use crate::tar::{Header, Tar};
use crate::{Item, items, open, refusal};

/// Offset and length of the stretches, and the bytes stored for them.
type Map<'a> = (&'a [(u64, u64)], &'a str);

/// A file in the old GNU format.
fn old(size: u64, (map, data): Map<'_>) -> Vec<u8> {
    let number = |value: u64| match format!("{value:011o}\0").into_bytes() {
        octal if octal.len() == 12 => octal,
        _ => [b"\x80\0\0\0".as_slice(), &value.to_be_bytes()].concat(),
    };
    let pairs = |pairs: &[(u64, u64)]| -> Vec<u8> {
        pairs
            .iter()
            .flat_map(|(offset, length)| [number(*offset), number(*length)].concat())
            .collect()
    };
    let more = |yes: bool| [u8::from(yes)];
    let (first, rest) = map.split_at(map.len().min(4));
    let header = Header::new(b'S', "f")
        .gnu()
        .size(data.len() as u64)
        .bytes(386, &pairs(first))
        .bytes(482, &more(!rest.is_empty()))
        .bytes(483, &number(size));
    let mut tar = Tar::new().header(header);
    let mut blocks = rest.chunks(21).peekable();
    while let Some(block) = blocks.next() {
        tar = tar.raw(pairs(block)).raw(vec![0; 504 - 24 * block.len()]);
        tar = tar.raw(more(blocks.peek().is_some())).pad();
    }
    tar.raw(data).pad().file("after", "x").end()
}

fn pairs(map: &[(u64, u64)]) -> Vec<String> {
    map.iter().flat_map(|(offset, length)| [offset.to_string(), length.to_string()]).collect()
}

/// A file in PAX version 0.0: a record for each number.
fn v0_0(size: u64, (map, data): Map<'_>) -> Vec<u8> {
    let (size, count) = (size.to_string(), map.len().to_string());
    let numbers = pairs(map);
    let mut records = vec![("GNU.sparse.size", size.as_str()), ("GNU.sparse.numblocks", &count)];
    for pair in numbers.chunks(2) {
        records
            .extend([("GNU.sparse.offset", pair[0].as_str()), ("GNU.sparse.numbytes", &pair[1])]);
    }
    Tar::new().pax(&records).file("f", data).file("after", "x").end()
}

/// A file in PAX version 0.1: the map in one record, the name in another.
fn v0_1(size: u64, (map, data): Map<'_>) -> Vec<u8> {
    let records = [
        ("GNU.sparse.size", size.to_string()),
        ("GNU.sparse.numblocks", map.len().to_string()),
        ("GNU.sparse.name", "f".to_owned()),
        ("GNU.sparse.map", pairs(map).join(",")),
    ];
    Tar::new().pax(&records).file("GNUSparseFile.1/f", data).file("after", "x").end()
}

/// A file in PAX version 1.0: the map before the data.
fn v1_0(size: u64, (map, data): Map<'_>) -> Vec<u8> {
    let mut text = map.len().to_string() + "\n";
    for number in pairs(map) {
        text += &(number + "\n");
    }
    v1_0_with(size, &text, data)
}

fn v1_0_with(size: u64, map: &str, data: &str) -> Vec<u8> {
    let records = [
        ("GNU.sparse.major", "1".to_owned()),
        ("GNU.sparse.minor", "0".to_owned()),
        ("GNU.sparse.name", "f".to_owned()),
        ("GNU.sparse.realsize", size.to_string()),
    ];
    let content = Tar::new().raw(map).pad().raw(data).open();
    Tar::new().pax(&records).file("GNUSparseFile.1/f", content).file("after", "x").end()
}

type Format = fn(u64, Map<'_>) -> Vec<u8>;
const FORMATS: [(&str, Format); 4] = [("old", old), ("0.0", v0_0), ("0.1", v0_1), ("1.0", v1_0)];

fn segments(list: &[(u64, u64)]) -> Vec<Segment> {
    list.iter().map(|&(offset, length)| Segment { offset, length }).collect()
}

fn logical(size: u64, (map, data): Map<'_>) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(size).unwrap()];
    let mut data = data.as_bytes();
    for &(offset, length) in map {
        let (offset, length) = (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
        content[offset..offset + length].copy_from_slice(&data[..length]);
        data = &data[length..];
    }
    content
}

#[test]
fn all_formats_say_the_same() {
    let many: Vec<(u64, u64)> = (0..60).map(|n| (n * 1000, 3)).collect();
    let many_bytes = "abc".repeat(60);
    let cases: [(u64, Map<'_>, Vec<Segment>); 8] = [
        (10_000, (&[(512, 5), (5000, 3)], "helloabc"), segments(&[(512, 5), (5000, 3)])),
        (5, (&[(0, 5)], "hello"), segments(&[(0, 5)])),
        (1000, (&[(995, 5)], "hello"), segments(&[(995, 5)])),
        (4096, (&[(4096, 0)], ""), vec![]),
        (0, (&[(0, 0)], ""), vec![]),
        // What touches is one.
        (100, (&[(10, 2), (12, 3), (15, 0), (20, 1)], "aabbbc"), segments(&[(10, 5), (20, 1)])),
        (60_000, (&many, &many_bytes), segments(&many)),
        (1 << 20, (&[(0, 1), (1 << 20, 0)], "a"), segments(&[(0, 1)])),
    ];
    for (size, map, expected) in cases {
        for (name, format) in FORMATS {
            let items = items(format(size, map)).unwrap();
            let Item { entry, content, segments } = &items[0];
            assert_eq!(entry.path.to_string(), "/f", "{name}");
            assert_eq!(entry.kind, Kind::File { size }, "{name}");
            assert_eq!(*segments, expected, "{name}");
            assert!(*content == logical(size, map), "{name}: wrong content");
            assert_eq!(items[1].content, b"x", "{name}");
        }
    }
}

#[test]
fn the_data_alone() {
    for (name, format) in FORMATS {
        let blob = format(10_000, (&[(512, 5), (5000, 3)], "helloabc"));
        let mut reader = open(blob).unwrap();
        reader.next_entry().unwrap();
        let (mut data, mut buffer) = (Vec::new(), [0; 4]);
        while let Some((_, bytes)) = reader.content().read_data(&mut buffer).unwrap() {
            data.extend_from_slice(bytes);
        }
        assert_eq!(data, b"helloabc", "{name}");
        assert_eq!(reader.next_entry().unwrap().unwrap().path.to_string(), "/after", "{name}");
        reader.finish().unwrap();
    }
}

/// A file that is a single hole costs nothing to skip, and its map may be empty.
#[test]
fn holes_alone() {
    let huge = 100 << 30;
    for (name, format) in FORMATS {
        let mut reader = open(format(huge, (&[], ""))).unwrap();
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!(entry.kind, Kind::File { size: huge }, "{name}");
        assert!(reader.content().segments().is_empty());
        assert_eq!(reader.content().read_data(&mut [0; 10]).unwrap(), None);
        reader.next_entry().unwrap();
        assert_eq!(reader.finish().unwrap().entries, 2, "{name}");
    }
}

#[test]
fn maps_that_lie() {
    let cases: [(u64, Map<'_>, &str); 8] = [
        (100, (&[(0, 10), (5, 10)], "aaaaaaaaaabbbbbbbbbb"), "overlap or are out of order"),
        (100, (&[(50, 1), (10, 1)], "ab"), "overlap or are out of order"),
        (100, (&[(0, 0), (0, 1), (0, 1)], "ab"), "overlap or are out of order"),
        (100, (&[(99, 2)], "ab"), "beyond the file's end"),
        (100, (&[(101, 0)], ""), "beyond the file's end"),
        (100, (&[(0, 5)], "abc"), "do not add up to the stored bytes"),
        (100, (&[(0, 2)], "abc"), "do not add up to the stored bytes"),
        (100, (&[], "abc"), "do not add up to the stored bytes"),
    ];
    for (size, map, expected) in cases {
        for (name, format) in FORMATS {
            let refusal = refusal(format(size, map));
            assert!(
                refusal.starts_with("entry f: broken map of a sparse file: "),
                "{name}: {refusal}"
            );
            assert!(refusal.contains(expected), "{name}: {refusal}");
        }
    }
    for format in [v0_0, v0_1, v1_0] {
        let refusal = refusal(format(u64::MAX, (&[(u64::MAX - 1, 5)], "hello")));
        assert!(refusal.contains("a stretch is too long"), "{refusal}");
    }
}

#[test]
fn records_that_make_no_map() {
    let tar = |records: &[(&str, &str)]| Tar::new().pax(records).file("f", "abc").end();
    let size = ("GNU.sparse.size", "10");
    let pairs = ("GNU.sparse.numblocks", "1");
    let cases: [(Vec<u8>, &str); 11] = [
        (tar(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0"), size]), "unknown version"),
        (tar(&[("GNU.sparse.major", "1"), size]), "unknown version"),
        (tar(&[("GNU.sparse.map", "0,3"), pairs]), "size is missing or no number"),
        (tar(&[("GNU.sparse.map", "0,3"), pairs, ("GNU.sparse.size", "-1")]), "size is missing"),
        (tar(&[("GNU.sparse.map", "0,3"), size]), "no list of pairs"),
        (
            tar(&[("GNU.sparse.map", "0,3"), ("GNU.sparse.numblocks", "2"), size]),
            "no list of pairs",
        ),
        (tar(&[("GNU.sparse.map", "0,3,5"), pairs, size]), "no list of pairs"),
        (tar(&[("GNU.sparse.map", "0;3"), pairs, size]), "no list of pairs"),
        (tar(&[("GNU.sparse.numbytes", "3"), size]), "must take turns"),
        (tar(&[("GNU.sparse.offset", "0"), ("GNU.sparse.offset", "3"), size]), "must take turns"),
        (tar(&[("GNU.sparse.offset", "0,3"), size]), "no number"),
    ];
    for (blob, expected) in cases {
        let refusal = refusal(blob);
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn a_map_before_the_data_that_is_none() {
    let cases = [
        ("1\n0\n", "longer than the stored bytes"),
        ("1\n0\nx\n", "no number in the map"),
        ("\n", "no number in the map"),
        ("-1\n", "no number in the map"),
        ("18446744073709551615\n", "too many stretches"),
        ("9223372036854775807\n0\n1\n", "longer than the stored bytes"),
        ("", "longer than the stored bytes"),
    ];
    for (map, expected) in cases {
        let refusal = refusal(v1_0_with(10, map, ""));
        assert!(
            refusal.contains(expected) || refusal.contains("no number in the map"),
            "{map:?}: {refusal}"
        );
    }
}

#[test]
fn an_old_map_that_is_none() {
    let junk = |at: usize| {
        let map = format!("{:011o}\0{:011o}\0", 0, 1);
        let header = Header::new(b'S', "f").gnu().size(1).bytes(386, map.as_bytes());
        let header = header.bytes(483, b"00000000012\0").bytes(at, b"junk");
        Tar::new().header(header).raw("a").pad().end()
    };
    for at in [386, 398, 483] {
        assert!(refusal(junk(at)).contains("an offset, length or size is no number"), "{at}");
    }
    let endless = Header::new(b'S', "f").gnu().bytes(482, &[1]).bytes(483, b"00000000012\0");
    let cut = Tar::new().header(endless).open();
    assert_eq!(refusal(cut), "the layer's tar ends early, in entry f; rebuild the image");
}

/// After a whiteout or a directory that claims to be sparse, reading continues at the right place.
#[test]
fn sparse_entries_that_are_no_files() {
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", ".wh.f"),
        ("GNU.sparse.realsize", "10"),
    ];
    let content = Tar::new().raw("1\n0\n3\n").pad().raw("abc").open();
    let blob = Tar::new().pax(&records).file("x", content).file("after", "x").end();
    let items = items(blob).unwrap();
    assert_eq!(items[0].entry.kind, Kind::Whiteout);
    assert_eq!(items[1].content, b"x");
}
