//! Where names and link targets come from, and how they are cleaned.

use ducc::layer::Kind;

use crate::tar::{Header, Tar};
use crate::{Item, chain, items, refusal, single};

/// All the ways to write a name, and how each is read.
#[test]
fn spellings() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    let name_100 = "n".repeat(100);
    let plain = |name: &str| Tar::new().file(name, "").end();
    let header = |header: Header| Tar::new().header(header).end();
    let pax = |name: &[u8]| Tar::new().pax(&[("path", name)]).file("short", "").end();
    let gnu_times = b"14371573456\x0014371573456\0";
    let cases: Vec<(&str, Vec<u8>, String)> = vec![
        ("simple", plain("a/b"), "/a/b".into()),
        ("leading ./", plain("./a/b"), "/a/b".into()),
        ("absolute", plain("/a/b"), "/a/b".into()),
        ("many slashes", plain("///a//.//b"), "/a/b".into()),
        ("100 bytes without a NUL", plain(&name_100), format!("/{name_100}")),
        ("POSIX prefix", header(Header::new(b'0', "b").prefix("p/a")), "/p/a/b".into()),
        (
            "POSIX prefix with an odd version",
            header(Header::new(b'0', "b").prefix("p").bytes(263, b"\0\0")),
            "/p/b".into(),
        ),
        ("V7 has no prefix", header(Header::new(b'0', "b").v7().prefix("p")), "/b".into()),
        (
            "star's prefix is shorter",
            header(
                Header::new(b'0', "b")
                    .prefix("p".repeat(131))
                    .bytes(476, b"00000000000 00000000000 ")
                    .bytes(508, b"tar\0"),
            ),
            format!("/{}/b", "p".repeat(131)),
        ),
        (
            "GNU has times there",
            header(Header::new(b'0', "b").gnu().bytes(345, gnu_times)),
            "/b".into(),
        ),
        (
            "old Go's prefix in GNU",
            header(Header::new(b'0', "b").gnu().prefix("p/a")),
            "/p/a/b".into(),
        ),
        ("GNU long name", Tar::new().long_name(&long).file("cut", "").end(), format!("/{long}")),
        (
            "GNU long name without its NUL",
            Tar::new().member(Header::new(b'L', "").gnu(), "a/b").file("cut", "").end(),
            "/a/b".into(),
        ),
        ("PAX path", pax(long.as_bytes()), format!("/{long}")),
        ("PAX path with a newline", pax(b"a\nb=c"), "/a\\nb=c".into()),
        ("empty PAX path: the header's", pax(b""), "/short".into()),
        (
            "the last PAX path wins",
            Tar::new().pax(&[("path", "one"), ("path", "two")]).file("x", "").end(),
            "/two".into(),
        ),
        (
            "an empty one last: the header's",
            Tar::new().pax(&[("path", "one"), ("path", "")]).file("x", "").end(),
            "/x".into(),
        ),
        (
            "the last PAX header wins",
            Tar::new().pax(&[("path", "one")]).pax(&[("mtime", "1")]).file("x", "").end(),
            "/x".into(),
        ),
        (
            "GNU over PAX",
            Tar::new().long_name("gnu").pax(&[("path", "pax")]).file("x", "").end(),
            "/gnu".into(),
        ),
        (
            "global headers say nothing, as in container engines",
            Tar::new().global(&[("path", "everywhere"), ("comment", "1f2e")]).file("x", "").end(),
            "/x".into(),
        ),
        ("bytes that are no UTF-8", pax(b"\xff\xc3/\x80"), "/\\xff\\xc3/\\x80".into()),
        (
            "declared binary",
            {
                let records: [(&str, &[u8]); 2] =
                    [("hdrcharset", b"BINARY"), ("path", b"\xe9t\xe9")];
                Tar::new().pax(&records).file("x", "").end()
            },
            "/\\xe9t\\xe9".into(),
        ),
        ("a name of 255 bytes", pax(&[b'n'; 255]), format!("/{}", "n".repeat(255))),
        ("dots", pax(b".../..a/b.."), "/.../..a/b..".into()),
    ];
    for (what, blob, path) in cases {
        match items(blob) {
            Ok(items) => {
                let paths: Vec<String> = items.iter().map(Item::path).collect();
                assert_eq!(paths, [path], "{what}");
            }
            Err(error) => panic!("{what}: {}", chain(&error)),
        }
    }
}

#[test]
fn names_that_no_layer_may_have() {
    let pax = |name: &[u8]| Tar::new().pax(&[("path", name)]).file("x", "").end();
    let deep = "d/".repeat(2047) + "ff";
    assert_eq!(deep.len(), 4096);
    let cases: [(Vec<u8>, &str); 10] = [
        (Tar::new().file("../etc/passwd", "").end(), "entry ../etc/passwd: `..` in a path"),
        (Tar::new().file("a/../b", "").end(), "entry a/../b: `..` in a path"),
        (Tar::new().directory("..").end(), "entry ..: `..` in a path"),
        (Tar::new().file(".wh...", "").end(), "entry .wh...: the whiteout names nothing"),
        (pax(b"a\0b"), "entry a\\x00b: NUL in a path"),
        (Tar::new().long_name("a\0b").file("x", "").end(), "entry a\\x00b: NUL in a path"),
        (pax(&[b'n'; 256]), "too long for Linux"),
        (pax(deep.as_bytes()), "too long for Linux"),
        (Tar::new().file("./", "content").end(), "entry ./: names the layer's root"),
        (Tar::new().symlink("", "/etc").end(), "entry : names the layer's root"),
    ];
    for (blob, expected) in cases {
        let refusal = refusal(blob);
        assert!(refusal.contains(expected), "{refusal}");
    }
}

/// A message never contains a megabyte of an attacker's bytes, nor control characters.
#[test]
fn messages_are_short_and_printable() {
    let name = [b"\x1b[2J\n".as_slice(), &[b'n'; 100_000]].concat();
    let refusal = refusal(Tar::new().pax(&[("path", name)]).file("x", "").end());
    assert!(refusal.len() < 400, "{} bytes", refusal.len());
    assert!(refusal.starts_with("entry \\x1b[2J\\nnnn"), "{refusal}");
    assert!(refusal.contains('…'));
}

#[test]
fn link_targets() {
    let symlink = |target: &str| Kind::Symlink { target: target.as_bytes().to_vec() };
    let long = "t/".repeat(2000);
    let cases = [
        (
            "as it stands",
            Tar::new().symlink("l", "../..//etc/./passwd"),
            symlink("../..//etc/./passwd"),
        ),
        ("absolute", Tar::new().symlink("l", "/"), symlink("/")),
        ("PAX", Tar::new().symlink("l", &long), symlink(&long)),
        ("GNU", Tar::new().long_link(&long).symlink("l", "cut"), symlink(&long)),
        (
            "GNU over PAX",
            Tar::new().long_link("gnu").pax(&[("linkpath", "pax")]).symlink("l", "x"),
            symlink("gnu"),
        ),
        (
            "empty PAX: the header's",
            Tar::new().pax(&[("linkpath", "")]).symlink("l", "x"),
            symlink("x"),
        ),
    ];
    for (what, tar, kind) in cases {
        assert_eq!(single(tar.end()).entry.kind, kind, "{what}");
    }
    let bytes = Tar::new().symlink("l", b"\xff\xfe").end();
    assert_eq!(single(bytes).entry.kind, Kind::Symlink { target: vec![0xff, 0xfe] });
}

/// A hard link's target is relative to the layer's root, whatever it begins with.
#[test]
fn hard_link_targets() {
    for target in ["a/b", "/a/b", "./a/b", "a//b/"] {
        let item = single(Tar::new().hard_link("d/l", target).end());
        let Kind::HardLink { target: got } = item.entry.kind else { panic!("{:?}", item.entry) };
        assert_eq!(got.to_string(), "/a/b", "{target}");
    }
}

#[test]
fn links_that_no_layer_may_have() {
    let cases: [(Vec<u8>, &str); 10] = [
        (Tar::new().symlink("l", "").end(), "entry l: links to \"\": the target is empty"),
        (Tar::new().long_link("a\0b").symlink("l", "x").end(), "NUL in a path"),
        (Tar::new().symlink("l", "t".repeat(4096)).end(), "too long for Linux"),
        (Tar::new().hard_link("l", "").end(), "the target is empty"),
        (
            Tar::new().hard_link("l", "../../etc/shadow").end(),
            "links to \"../../etc/shadow\": `..` in a path",
        ),
        (Tar::new().hard_link("l", "/").end(), "a hard link to a directory"),
        (Tar::new().hard_link("d/l", "./d//l").end(), "a file cannot be a hard link to itself"),
        (Tar::new().hard_link("l", ".wh.a").end(), "the target is a whiteout"),
        (Tar::new().hard_link("l", ".wh..wh.aufs").end(), "AUFS bookkeeping"),
        (Tar::new().hard_link("l", "t".repeat(256)).end(), "too long for Linux"),
    ];
    for (blob, expected) in cases {
        let refusal = refusal(blob);
        assert!(refusal.contains(expected), "{refusal}");
    }
    assert_eq!(
        single(Tar::new().symlink("l", "t".repeat(4095)).end()).entry.kind,
        Kind::Symlink { target: vec![b't'; 4095] }
    );
}
