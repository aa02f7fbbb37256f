//! Small layers that become large.

use std::io::{Read, repeat};

use ducc::layer::Limits;

use super::tar::{Header, Tar, record};
use super::{Case, Outcome};

use Outcome::Refused;

const MIB: u64 = 1 << 20;

pub(super) fn cases() -> Vec<Case> {
    let small =
        Limits { entries: 100, file_size: MIB, unpacked_size: 4 * MIB, ..Limits::default() };
    let many = (0..101).fold(Tar::new(), |tar, n| tar.file(format!("f{n}"), "")).end();
    let zeros = || repeat(0).take(16 * MIB);
    let mut gzip = Vec::new();
    flate2::read::GzEncoder::new(zeros(), flate2::Compression::best())
        .read_to_end(&mut gzip)
        .unwrap();
    let zstd = zstd::encode_all(zeros(), 3).unwrap();
    let large = vec![b'x'; usize::try_from(MIB).unwrap() + 1];
    // Base-256, as GNU tar writes what octal digits cannot hold.
    let most = b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
    let long_pax = record("comment", "c".repeat(1 << 20));
    vec![
        Case::new("many entries", many, Refused("the number of entries exceeds the limit of 100"))
            .limited(small),
        Case::new(
            "a large file",
            Tar::new().file("f", &large).end(),
            Refused("the number of bytes of a file exceeds the limit of 1048576"),
        )
        .limited(small),
        Case::new(
            "many files",
            (0..5).fold(Tar::new(), |tar, n| tar.file(format!("f{n}"), &large[1..])).end(),
            Refused("bytes exceeds the limit of 4194304"),
        )
        .limited(small),
        Case::new(
            "gzip of zeros",
            gzip,
            Refused("the number of uncompressed bytes exceeds the limit"),
        )
        .limited(small),
        Case::new(
            "zstd of zeros",
            zstd,
            Refused("the number of uncompressed bytes exceeds the limit"),
        )
        .limited(small),
        Case::new(
            "a hole of an exabyte",
            hole(1 << 60),
            Refused("the number of bytes of a file exceeds the limit"),
        ),
        Case::new(
            "many holes",
            (0..5).fold(Tar::new(), |tar, n| tar.raw(hole_member(&format!("f{n}"), MIB))).end(),
            Refused("the number of bytes of all files exceeds the limit"),
        )
        .limited(small),
        Case::new(
            "a size of 8 exabytes",
            Tar::new().header(Header::new(b'0', "f").bytes(124, most)).end(),
            Refused("the number of bytes of a file exceeds the limit"),
        ),
        Case::new(
            "a PAX header of 8 exabytes",
            Tar::new().header(Header::new(b'x', "x").bytes(124, most)).end(),
            Refused("the number of bytes of a PAX header or long name exceeds the limit"),
        ),
        Case::new(
            "a long name of 8 exabytes",
            Tar::new().header(Header::new(b'L', "x").gnu().bytes(124, most)).end(),
            Refused("the number of bytes of a PAX header or long name exceeds the limit"),
        ),
        Case::new(
            "a PAX header of more than a megabyte",
            Tar::new().member(Header::new(b'x', "x"), long_pax).file("f", "").end(),
            Refused("the number of bytes of a PAX header or long name exceeds the limit"),
        ),
        Case::new(
            "a sparse map of 2^63 stretches",
            map("9223372036854775807\n0\n0\n", 0),
            Refused("broken map of a sparse file: the map is longer than the stored bytes"),
        ),
        Case::new(
            "a sparse map without end",
            map(&("1000000\n".to_owned() + &"0\n".repeat(1_999_999)), 0),
            Refused("the number of bytes of a sparse file's map exceeds the limit"),
        ),
        Case::new(
            "sparse stretches that overlap",
            map("2\n0\n10\n5\n10\n", 100),
            Refused("stretches overlap or are out of order"),
        ),
        Case::new(
            "sparse stretches beyond the end",
            map("1\n95\n10\n", 100),
            Refused("a stretch lies beyond the file's end"),
        ),
        Case::new(
            "sparse stretches beyond all numbers",
            map("1\n18446744073709551615\n10\n", u64::MAX),
            Refused("a stretch is too long"),
        ),
        Case::new(
            "a sparse file without its data",
            map("1\n0\n100\n", 100),
            Refused("the stretches do not add up to the stored bytes"),
        ),
        Case::new(
            "a window of 2 gigabytes",
            {
                // A zstd frame header that asks for it, and an empty last block (RFC 8878, 3.1.1.1).
                b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00".to_vec()
            },
            Refused("the layer's zstd data is broken"),
        ),
    ]
}

fn hole_member(name: &str, size: u64) -> Vec<u8> {
    let size = size.to_string();
    let records =
        [("GNU.sparse.map", ""), ("GNU.sparse.numblocks", "0"), ("GNU.sparse.size", size.as_str())];
    Tar::new().pax(&records).file(name, "").open()
}

fn hole(size: u64) -> Vec<u8> {
    Tar::new().raw(hole_member("f", size)).end()
}

/// A sparse file with this map before its data, of which there is none.
fn map(text: &str, size: u64) -> Vec<u8> {
    let size = size.to_string();
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "f"),
        ("GNU.sparse.realsize", &size),
    ];
    Tar::new().pax(&records).file("x", Tar::new().raw(text).pad().open()).end()
}
