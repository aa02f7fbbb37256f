//! Tars that end early, have wrong checksums, or continue after their end.

use std::io::Read;

use ducc::layer::{Error, Within};
use layer_layout::DiffId;

use crate::tar::{BLOCK, Header, Tar};
use crate::{drain, items, open, refusal};

fn diff_id(blob: &[u8]) -> DiffId {
    drain(open(blob).unwrap()).unwrap().1.diff_id
}

#[test]
fn ends() {
    let tar = || Tar::new().file("a", "content");
    let zeros = |blocks: usize| vec![0; blocks * BLOCK];
    let paths = |blob: Vec<u8>| items(blob).map(|items| items.len());
    assert!(matches!(paths(tar().end()), Ok(1)));
    assert!(matches!(paths(tar().open()), Ok(1)), "no end marker, as Go accepts");
    assert!(
        matches!(paths(tar().raw(zeros(1)).open()), Ok(1)),
        "half an end marker, as Go accepts"
    );
    assert!(matches!(paths(tar().raw(zeros(20)).open()), Ok(1)));
    assert!(matches!(paths(Vec::new()), Ok(0)), "an empty blob is an empty layer");
    assert!(matches!(paths(zeros(2)), Ok(0)));
    let behind = tar().raw(zeros(2)).raw("junk").file("b", "").open();
    assert!(matches!(paths(behind), Ok(1)), "nothing counts behind the end");
    let between = refusal(tar().raw(zeros(1)).file("b", "").end());
    let expected =
        "no tar header at byte 1536, after entry a: its checksum is wrong; rebuild the image";
    assert_eq!(between, expected);
}

/// Every byte counts for the DiffID, wherever it stands.
#[test]
fn the_summary_covers_everything() {
    use sha2::Digest as _;
    let tar = Tar::new().file("a", "content").file(".wh..wh.aufs", "x").hard_link("b", "a");
    let blob = tar.raw(vec![0; 1024]).raw(vec![7; 100_001]).open();
    let expected = format!("sha256:{}", hex::encode(sha2::Sha256::digest(&blob)));
    let (_, summary) = drain(open(blob.clone()).unwrap()).unwrap();
    assert_eq!(summary.diff_id.to_string(), expected);
    assert_eq!(summary.unpacked_bytes, blob.len() as u64);
    assert_eq!(summary.entries, 2);
    // Also if nobody looks at the entries.
    assert_eq!(open(blob).unwrap().finish().unwrap(), summary);
}

/// A tar cut anywhere is an error, unless the cut is where a tar may end.
#[test]
fn cut_everywhere() {
    let blob = Tar::new()
        .directory("d")
        .pax(&[("path", "long")])
        .file("d/f", "content")
        .long_name("other")
        .file("cut", "x".repeat(600))
        .global(&[("comment", "y")])
        .symlink("s", "t")
        .end();
    // Headers and contents of: d | x, records, d/f, content | L, name, cut, content | g, record | s | end
    let ends: Vec<std::ops::RangeInclusive<usize>> = vec![
        0..=0,
        512..=512,
        // From the content's last byte on there is only padding.
        2048 + 7..=2560,
        4096 + 600..=5120,
        // A global header announces nothing.
        5632 + 13..=6144,
        6656..=6656,
        7168..=7168,
        7680..=7680,
    ];
    assert_eq!(blob.len(), 7680);
    for length in 0..=blob.len() {
        let may_end = ends.iter().any(|range| range.contains(&length));
        let result = items(&blob[..length]);
        assert_eq!(result.is_ok(), may_end, "cut at {length}: {result:?}");
        if let Err(error) = result {
            assert!(
                matches!(error, Error::Truncated { .. } | Error::Read(_)),
                "{length}: {error:?}"
            );
        }
    }
}

#[test]
fn a_cut_names_its_place() {
    let tar = Tar::new().file("first", "content").header(Header::new(b'0', "second").size(1000));
    let cut = tar.clone().raw([7; 999]).open();
    let error = open(cut.clone()).unwrap().finish().unwrap_err();
    assert_eq!(error.to_string(), "the layer's tar ends early, in entry second; rebuild the image");
    // While it is read: the same, inside of an I/O error.
    let mut reader = open(cut).unwrap();
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.path.as_bytes() == b"second" {
            break;
        }
    }
    let error = reader.content().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("ends early, in entry second"));
    // After that nothing succeeds.
    assert!(matches!(reader.next_entry(), Err(Error::Failed)));
    assert!(reader.content().read(&mut [0]).is_err());
    assert!(matches!(reader.finish(), Err(Error::Failed)));
    let half = Tar::new().file("first", "").raw([b'h'; 100]).open();
    assert!(matches!(
        items(half),
        Err(Error::Truncated { within: Within::After(name) }) if name.to_string() == "first"
    ));
}

#[test]
fn checksums() {
    let sum = |change: fn(&mut [u8])| {
        let mut header = Header::new(b'0', b"n\xff\xfe").finish();
        change(&mut header);
        Tar::new().raw(header).end()
    };
    let signed = |header: &mut [u8]| {
        header[148..156].fill(b' ');
        let sum: i32 = header.iter().map(|&b| i32::from(b.cast_signed())).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    };
    assert!(items(sum(|_| {})).is_ok());
    assert!(items(sum(signed)).is_ok(), "old tars add up signed bytes");
    assert!(items(sum(|h| h[148..156].copy_from_slice(b"  12345 "))).is_err());
    assert!(items(sum(|h| h[0] ^= 1)).is_err());
    assert!(items(sum(|h| h[148] = b'x')).is_err());
    let refusal = refusal(sum(|h| h[511] = 1));
    let expected = "no tar header at byte 0, before the first entry: its checksum is wrong; ";
    assert!(refusal.starts_with(expected), "{refusal}");
}

/// No byte of a tar can change without changing the DiffID, whatever else happens.
#[test]
fn every_changed_byte_is_seen() {
    let blob = Tar::new()
        .pax(&[("mtime", "1.5"), ("SCHILY.xattr.user.a", "b")])
        .file("d/f", "content")
        .symlink("s", "t")
        .end();
    let good = diff_id(&blob);
    for at in 0..blob.len() {
        let mut bad = blob.clone();
        bad[at] ^= 1 << (at % 8);
        if let Ok((_, summary)) = drain(open(bad).unwrap()) {
            assert_ne!(summary.diff_id, good, "byte {at}");
        }
    }
}

#[test]
fn headers_about_nothing() {
    for tar in [
        Tar::new().file("a", "").pax(&[("path", "b")]),
        Tar::new().file("a", "").long_name("b"),
        Tar::new().file("a", "").long_link("b"),
    ] {
        let expected = "the layer's tar ends early, after entry a; rebuild the image";
        assert_eq!(refusal(tar.clone().end()), expected);
        assert_eq!(refusal(tar.open()), expected);
    }
}
