//! Mode, owner, time and extended attributes, from headers and from PAX records.

use ducc::layer::Timestamp;

use crate::tar::{Header, Tar, record};
use crate::{chain, items, refusal, single};

fn header(change: impl FnOnce(Header) -> Header) -> Vec<u8> {
    Tar::new().header(change(Header::new(b'0', "n"))).end()
}

fn pax(keyword: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    Tar::new().pax(&[(keyword, value)]).file("n", "").end()
}

#[test]
fn modes_have_no_type_bits() {
    for (field, mode) in
        [(0o644, 0o644), (0o104_755, 0o4755), (0o41_777, 0o1777), (0o7_777_777, 0o7777)]
    {
        assert_eq!(single(header(|h| h.mode(field))).entry.metadata.mode, mode);
    }
    let base_256 = b"\x80\0\0\0\0\0\x81\xed";
    assert_eq!(single(header(|h| h.bytes(100, base_256))).entry.metadata.mode, 0o755);
}

#[test]
fn owners() {
    let owner = |blob| {
        let metadata = single(blob).entry.metadata;
        (metadata.uid, metadata.gid)
    };
    assert_eq!(owner(header(|h| h.owner(1000, 0o7_777_777))), (1000, 2_097_151));
    let base_256 = b"\x80\0\0\0\xff\xff\xff\xfe";
    assert_eq!(
        owner(header(|h| h.bytes(108, base_256).bytes(116, base_256))),
        (4_294_967_294, 4_294_967_294)
    );
    let records = [("uid", "4294967294"), ("gid", "3000000000")];
    assert_eq!(owner(Tar::new().pax(&records).file("n", "").end()), (4_294_967_294, 3_000_000_000));
    // As `chown` takes them from a container engine: 32 bits, and -1 changes nothing.
    for (number, expected) in [
        ("4294967295", 0),
        ("4294967296", 0),
        ("4294968296", 1000),
        ("9223372036854775807", 0),
        ("-1", 0),
        ("-2", 4_294_967_294),
        ("+5", 5),
    ] {
        let records = [("uid", number), ("gid", number)];
        let owner = owner(Tar::new().pax(&records).file("n", "").end());
        assert_eq!(owner, (expected, expected), "{number}");
    }
    assert_eq!(owner(header(|h| h.bytes(108, b"\x80\0\0\0\xff\xff\xff\xff"))), (0, 0));
    assert_eq!(owner(header(|h| h.bytes(116, &[0xff; 8]))), (0, 0));
    let cases = [
        (pax("gid", "18446744073709551615"), "PAX gid is \"18446744073709551615\": not a decimal"),
        (pax("gid", "root"), "PAX gid is \"root\": not a decimal number"),
        (header(|h| h.bytes(108, b"9999999\0")), "uid is \"9999999\\x00\": no number"),
    ];
    for (blob, expected) in cases {
        let refusal = refusal(blob);
        assert!(refusal.starts_with("entry n: ") && refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn times() {
    let time = |blob| {
        let Timestamp { seconds, nanoseconds } = single(blob).entry.metadata.mtime;
        (seconds, nanoseconds)
    };
    assert_eq!(time(header(|h| h.mtime(0o77_777_777_777))), (8_589_934_591, 0));
    assert_eq!(time(pax("mtime", "1700000000.123456789")), (1_700_000_000, 123_456_789));
    // Times that containerd sets to 1970: earlier ones, and those that do not fit into 64 bits of nanoseconds.
    assert_eq!(time(header(|h| h.bytes(136, &[0xff; 12]))), (0, 0));
    assert_eq!(time(header(|h| h.bytes(136, b"\x80\0\0\0\0\0\0\x04\0\0\0\0"))), (0, 0));
    for (text, expected) in [
        ("-1.5", (0, 0)),
        ("-0.000000001", (0, 0)),
        ("0", (0, 0)),
        ("0.000000001", (0, 1)),
        ("1", (1, 0)),
        ("9223372036.854775807", (9_223_372_036, 854_775_807)),
        ("9223372036.854775808", (0, 0)),
        ("9223372037", (0, 0)),
        ("9223372036854775807", (0, 0)),
    ] {
        assert_eq!(time(pax("mtime", text)), expected, "{text}");
    }
    assert_eq!(time(pax("mtime", "")), (0, 0));
    assert_eq!(time(pax("atime", "5")), (0, 0));
    for wrong in ["yesterday", "1e9", "9223372036854775808", "1,5"] {
        let refusal = refusal(pax("mtime", wrong));
        let expected =
            format!("entry n: its PAX mtime is {wrong:?}: not a decimal number of seconds");
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
}

/// A value may contain any byte: a capability is binary.
#[test]
fn extended_attributes() {
    let capability = [1, 0, 0, 2, b'\n', 0x20, 0, 0, b'=', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let records: [(&str, &[u8]); 12] = [
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.user.twice", b"first"),
        ("SCHILY.xattr.user.twice", b"second"),
        ("SCHILY.xattr.user.empty", b""),
        ("SCHILY.xattr.user.with space", b"\n12 path=evil\n"),
        // The host's own; containerd drops them.
        ("SCHILY.xattr.trusted.dropped", b"t"),
        ("SCHILY.xattr.system.posix_acl_access", b"\x02\0\0\0"),
        // They would steer the mount.
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        // Linux cannot store it.
        ("SCHILY.xattr.com.apple.provenance", b"x"),
        // Container engines do not read it.
        ("LIBARCHIVE.xattr.user.other", b"dmFsdWU"),
        ("comment", b"nothing"),
    ];
    let item = single(Tar::new().pax(&records).file("n", "").end());
    assert_eq!(item.path(), "/n");
    let got: Vec<(String, &[u8])> = item
        .entry
        .metadata
        .xattrs
        .iter()
        .map(|(name, value)| (name.escape_ascii().to_string(), value.as_slice()))
        .collect();
    let expected: Vec<(String, &[u8])> = vec![
        ("security.capability".into(), &capability),
        ("system.posix_acl_access".into(), b"\x02\0\0\0"),
        ("user.empty".into(), b""),
        ("user.twice".into(), b"second"),
        ("user.with space".into(), b"\n12 path=evil\n"),
    ];
    assert_eq!(got, expected);
}

#[test]
fn attributes_end_with_their_member() {
    let tar = Tar::new().pax(&[("SCHILY.xattr.user.a", "1"), ("uid", "7")]).file("one", "");
    let items = items(tar.file("two", "").end()).unwrap();
    assert_eq!(items[0].entry.metadata.uid, 7);
    assert_eq!(
        items[1].entry.metadata,
        ducc::layer::Metadata { mode: 0o644, ..Default::default() }
    );
}

#[test]
fn extended_attributes_that_linux_refuses() {
    let cases = [
        (pax(&format!("SCHILY.xattr.user.{}", "n".repeat(251)), ""), "too long for Linux"),
        (
            pax("SCHILY.xattr.user.a", vec![b'v'; 65537]),
            "its extended attribute is \"user.a\": the name or",
        ),
        (pax("SCHILY.xattr.user.a\0b", "v"), "NUL in a name"),
    ];
    for (blob, expected) in cases {
        let refusal = refusal(blob);
        assert!(refusal.starts_with("entry n: ") && refusal.contains(expected), "{refusal}");
    }
    single(pax(&format!("SCHILY.xattr.user.{}", "n".repeat(250)), vec![b'v'; 65536]));
}

/// Only the record's length decides where it ends.
#[test]
fn pax_records_are_taken_strictly() {
    let content = |content: &[u8]| {
        Tar::new().member(Header::new(b'x', "PaxHeaders/n"), content).file("n", "").end()
    };
    let second_short = [record("path", "ok").as_slice(), b"5 a="].concat();
    let cases: [(&[u8], &str); 14] = [
        (b"path=a\n", "no space behind the length"),
        (b"x path=a\n", "the length is no decimal number"),
        (b"+9 path=a\n", "the length is no decimal number"),
        (b"-9 path=a\n", "the length is no decimal number"),
        (b" 9 path=a\n", "the length is no decimal number"),
        (b"99999999999999999999 a=b\n", "the length is no decimal number"),
        (b"11 path=a\n", "the length leads beyond the header's end"),
        (b"8 path=a\n", "the record does not end with a newline"),
        (b"0 path=a\n", "the length is too short"),
        (b"2 path=a\n", "the record does not end with a newline"),
        (b"8 patha\n", "no `=` behind the keyword"),
        (b"5 =a\n", "the keyword is empty"),
        (&second_short, "is broken at its byte 11: the length leads beyond"),
        (b"9 path=a\n\0\0", "no space behind the length"),
    ];
    for (records, expected) in cases {
        let refusal = refusal(content(records));
        assert!(
            refusal.starts_with("the PAX header at byte 512 is broken at its byte "),
            "{refusal}"
        );
        assert!(refusal.contains(expected), "{}: {refusal}", records.escape_ascii());
    }
    assert_eq!(single(content(b"9 path=a\n")).path(), "/a");
    assert_eq!(single(content(b"011 path=a\n")).path(), "/a");
    assert_eq!(single(content(b"")).path(), "/n");
}

#[test]
fn a_broken_global_header_is_an_error() {
    let blob = Tar::new().member(Header::new(b'g', "g"), "junk").file("n", "").end();
    assert!(refusal(blob).contains("the PAX header at byte 512 is broken"));
}

/// The size in a PAX record takes precedence: it decides where the next header is.
#[test]
fn sizes() {
    let tar = |size: &str| {
        let header = Tar::new().pax(&[("size", size)]).header(Header::new(b'0', "n").size(1));
        header.raw("content").pad().file("after", "").end()
    };
    let items = items(tar("7")).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(items[0].content, b"content");
    assert_eq!(items[1].path(), "/after");
    let base_256 = Header::new(b'0', "n").bytes(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x03");
    assert_eq!(single(Tar::new().header(base_256).raw("abc").pad().end()).content, b"abc");
    let cases = [
        (tar("-7"), "PAX size is \"-7\": not a decimal number"),
        (tar("7.0"), "PAX size is \"7.0\": not a decimal number"),
        (header(|h| h.bytes(124, &[0xff; 12])), "size is \"-1\": a size cannot be negative"),
        (header(|h| h.bytes(124, b"junk")), "size is \"junk0000000\\x00\": no number"),
    ];
    for (blob, expected) in cases {
        let refusal = refusal(blob);
        assert!(refusal.contains(expected), "{refusal}");
    }
}
