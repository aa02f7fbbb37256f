//! Layers that are damaged, or lie about themselves.

use std::io::Write;

use super::tar::{BLOCK, Header, Tar};
use super::{Case, Outcome};

use Outcome::Refused;

/// A layer with one of each, so that every part can be cut.
fn sample() -> Vec<u8> {
    Tar::new()
        .directory("d")
        .pax(&[("path", "d/long"), ("mtime", "1.5")])
        .file("x", "content".repeat(200))
        .long_name("d/other")
        .file("x", "x")
        .symlink("s", "d")
        .hard_link("h", "d/other")
        .end()
}

/// Blocks of [`sample`] before which a tar may end: each entry is whole, and nothing is announced.
const ENDS: [usize; 5] = [1, 7, 11, 12, 13];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = lies();
    cases.extend(cuts());
    cases.extend(compressed());
    cases
}

fn lies() -> Vec<Case> {
    let pax =
        |content: &str| Tar::new().member(Header::new(b'x', "x"), content).file("f", "").end();
    let mut wrong_sum = Header::new(b'0', "f").finish();
    wrong_sum[0] = b'g';
    let early = || Refused("the layer's tar ends early");
    vec![
        Case::new(
            "a header with a wrong checksum",
            Tar::new().file("first", "").raw(wrong_sum).end(),
            Refused("no tar header at byte 512, after entry first: its checksum is wrong"),
        ),
        Case::new(
            "no tar at all",
            "no tar at all ".repeat(100).into(),
            Refused("no tar header at byte 0"),
        ),
        Case::new(
            "a size that is too large",
            Tar::new().header(Header::new(b'0', "f").size(100_000)).raw("x").pad().end(),
            Refused("the layer's tar ends early, in entry f"),
        ),
        Case::new(
            "a PAX size that is too large",
            Tar::new().pax(&[("size", "100000")]).file("f", "x").end(),
            Refused("the layer's tar ends early, in entry f"),
        ),
        Case::new(
            "a PAX size that is too small",
            Tar::new().pax(&[("size", "1")]).file("f", "x".repeat(1000)).end(),
            Refused("its checksum is wrong"),
        ),
        Case::new(
            "a PAX size below zero",
            Tar::new().pax(&[("size", "-1")]).file("f", "").end(),
            Refused("not a decimal number"),
        ),
        Case::new(
            "a size below zero",
            Tar::new().header(Header::new(b'0', "f").bytes(124, &[0xff; 12])).end(),
            Refused("a size cannot be negative"),
        ),
        Case::new(
            "a PAX record that is too long",
            pax("99 path=x\n"),
            Refused("leads beyond the header's end"),
        ),
        Case::new(
            "a PAX record that is too short",
            pax("3 path=x\n"),
            Refused("does not end with a newline"),
        ),
        Case::new(
            "a PAX record without a length",
            pax("path=x\n"),
            Refused("no space behind the length"),
        ),
        Case::new("a PAX header about nothing", Tar::new().pax(&[("path", "f")]).end(), early()),
        Case::new("a long name about nothing", Tar::new().long_name("f").end(), early()),
        Case::new(
            "an entry behind half an end",
            Tar::new().file("a", "").raw([0; BLOCK]).file("b", "").end(),
            Refused("its checksum is wrong"),
        ),
    ]
}

/// The sample cut before each block, and in the middle of each.
fn cuts() -> Vec<Case> {
    let whole = sample();
    let blocks = whole.len() / BLOCK - 2;
    let mut cases = Vec::new();
    for block in 1..=blocks {
        if !ENDS.contains(&block) {
            let name = format!("cut before block {block}");
            let early = Refused("the layer's tar ends early");
            cases.push(Case::new(name, whole[..block * BLOCK].to_vec(), early));
        }
    }
    for block in [0, 1, 3, 4, 7, 9, 11, 12, 13] {
        let name = format!("cut in block {block}");
        let at = block * BLOCK + if block == 9 { 0 } else { 100 };
        let early = Refused("the layer's tar ends early");
        cases.push(Case::new(name, whole[..at].to_vec(), early));
    }
    cases
}

fn compressed() -> Vec<Case> {
    let tar = sample();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zstd = zstd::Encoder::new(Vec::new(), 3).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(&tar).unwrap();
    let zstd = zstd.finish().unwrap();
    let mut cases = Vec::new();
    for (format, blob) in [("gzip", gzip), ("zstd", zstd)] {
        let refused = || match format {
            "gzip" => Refused("the layer's gzip data is broken"),
            _ => Refused("the layer's zstd data is broken"),
        };
        let middle = blob.len() / 2;
        let mut flipped = blob.clone();
        flipped[middle] ^= 0x10;
        let mut sum = blob.clone();
        sum[blob.len() - 1] ^= 1;
        let case =
            |what: &str, blob: Vec<u8>| Case::new(format!("{format} {what}"), blob, refused());
        cases.extend([
            case("cut in the middle", blob[..middle].to_vec()),
            case("without its last byte", blob[..blob.len() - 1].to_vec()),
            case("with a wrong checksum", sum),
            case("with something behind it", [blob.as_slice(), b"junk"].concat()),
            case("with zeros and more behind it", [blob.as_slice(), &[0; 512], b"junk"].concat()),
        ]);
    }
    cases.push(Case::new("bzip2", b"BZh91AY&SY".to_vec(), Refused("compressed with bzip2")));
    cases.push(Case::new("xz", b"\xfd7zXZ\0\0\x04".to_vec(), Refused("compressed with xz")));
    cases
}
