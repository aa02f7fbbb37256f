//! What each type of a tar becomes.

use ducc::layer::Kind;

use crate::tar::{Header, Tar};
use crate::{items, refusal, single};

#[test]
fn types() {
    let member = |flag: u8| Tar::new().header(Header::new(flag, "n").link("t").device(1, 3)).end();
    let character = Kind::CharacterDevice { major: 1, minor: 3 };
    let cases = [
        (b'0', Kind::File { size: 0 }),
        (0, Kind::File { size: 0 }),
        (b'7', Kind::File { size: 0 }),
        (b'2', Kind::Symlink { target: b"t".to_vec() }),
        (b'3', character),
        (b'4', Kind::BlockDevice { major: 1, minor: 3 }),
        (b'5', Kind::Directory),
        (b'6', Kind::Fifo),
    ];
    for (flag, kind) in cases {
        assert_eq!(single(member(flag)).entry.kind, kind, "{:?}", char::from(flag));
    }
    assert!(matches!(single(member(b'1')).entry.kind, Kind::HardLink { .. }));
}

/// Old tars have no type for directories.
#[test]
fn a_slash_at_the_end_makes_a_directory() {
    for flag in [b'0', 0, b'7'] {
        let empty = Tar::new().header(Header::new(flag, "d/")).end();
        assert_eq!(single(empty).entry.kind, Kind::Directory, "{flag}");
        let full = Tar::new().member(Header::new(flag, "f/"), "content").end();
        assert_eq!(single(full).content, b"content", "{flag}");
    }
    let v7 = Tar::new().header(Header::new(0, "d/").v7()).end();
    assert_eq!(single(v7).entry.kind, Kind::Directory);
}

/// Some programs give links and directories the size of what they stand for, but no content.
#[test]
fn only_files_have_content() {
    for flag in b'1'..=b'6' {
        let header = Header::new(flag, "n").link("t").device(1, 1).size(1000);
        let items = items(Tar::new().header(header).file("after", "x").end()).unwrap();
        assert_eq!(items.len(), 2, "{:?}", char::from(flag));
        assert!(items[0].content.is_empty() && items[0].segments.is_empty());
        assert_eq!(items[1].content, b"x");
    }
    let records = [("size", "4096")];
    let linked = Tar::new().pax(&records).hard_link("l", "t").file("after", "x").end();
    assert_eq!(items(linked).unwrap()[1].content, b"x");
}

#[test]
fn unknown_types_are_named() {
    for flag in *b"ADIMNVXaz8\xff" {
        let refusal = refusal(Tar::new().header(Header::new(flag, "dir/n")).end());
        let flag = char::from(flag);
        let expected = format!("entry dir/n: unknown tar entry type {flag:?}; rebuild the image");
        assert_eq!(refusal, expected);
    }
    let star = Tar::new().header(Header::new(b'S', "n")).end();
    assert_eq!(refusal(star), "entry n: unknown tar entry type 'S'; rebuild the image");
}

#[test]
fn whiteouts() {
    let cases: [(&str, &str, Kind); 4] = [
        (".wh.a", "/a", Kind::Whiteout),
        ("d/.wh.a", "/d/a", Kind::Whiteout),
        ("d/.wh..wh..opq", "/d", Kind::Opaque),
        (".wh..wh..opq", "/", Kind::Opaque),
    ];
    for (name, path, kind) in cases {
        // The type does not matter, and what content there is is skipped.
        for flag in [b'0', b'1', b'2', b'5', b'7', b'Z'] {
            let content = if matches!(flag, b'0' | b'7' | b'Z') { "content" } else { "" };
            let blob = Tar::new().member(Header::new(flag, name), content).file("after", "x").end();
            let items = items(blob).unwrap();
            assert_eq!(items.len(), 2, "{name} {flag}");
            assert_eq!(items[0].path(), path);
            assert_eq!(items[0].entry.kind, kind);
            assert!(items[0].content.is_empty());
            assert_eq!(items[1].content, b"x");
        }
    }
}

#[test]
fn aufs_bookkeeping_is_dropped_and_the_files_that_it_kept_are_not() {
    let blob = Tar::new()
        .file(".wh..wh.aufs", "content")
        .directory(".wh..wh.orph/")
        .directory(".wh..wh.plnk/")
        .file(".wh..wh.plnk/12.34", "x".repeat(2000))
        .file("d/.wh..wh.tmp", "")
        .hard_link("linked", ".wh..wh.plnk/12.34")
        .file("kept", "y")
        .end();
    let items = items(blob).unwrap();
    let paths: Vec<_> = items.iter().map(crate::Item::path).collect();
    assert_eq!(paths, ["/.wh..wh.plnk/12.34", "/linked", "/kept"]);
    assert_eq!(items[0].content.len(), 2000);
    assert_eq!(items[2].content, b"y");
}

#[test]
fn devices() {
    let device = |flag: u8, major: u64, minor: u64| {
        Tar::new().header(Header::new(flag, "dev/n").device(major, minor)).end()
    };
    let kind = |blob| single(blob).entry.kind;
    // That is what overlayfs makes of it.
    assert_eq!(kind(device(b'3', 0, 0)), Kind::Whiteout);
    assert_eq!(single(device(b'3', 0, 0)).path(), "/dev/n");
    assert_eq!(kind(device(b'3', 0, 1)), Kind::CharacterDevice { major: 0, minor: 1 });
    assert_eq!(kind(device(b'4', 0, 0)), Kind::BlockDevice { major: 0, minor: 0 });
    let most = Kind::BlockDevice { major: 0xfff, minor: 0xf_ffff };
    assert_eq!(kind(device(b'4', 0xfff, 0xf_ffff)), most);
    let cases = [
        (device(b'4', 0x1000, 0), "\"4096:0\": Linux has no such device number"),
        (device(b'3', 0, 0x10_0000), "\"0:1048576\": Linux has no such device number"),
        (
            Tar::new().header(Header::new(b'3', "dev/n").bytes(329, &[0xff; 8])).end(),
            "\"-1:0\": Linux has no such device number",
        ),
        (
            Tar::new().header(Header::new(b'3', "dev/n").v7()).end(),
            "a header of the V7 format has none",
        ),
        (
            Tar::new().header(Header::new(b'3', "dev/n").bytes(329, b"junk")).end(),
            "its device major is \"junk000",
        ),
    ];
    for (blob, expected) in cases {
        let refusal = refusal(blob);
        assert!(refusal.starts_with("entry dev/n: ") && refusal.contains(expected), "{refusal}");
    }
    // Other types may have junk there.
    single(Tar::new().header(Header::new(b'0', "n").bytes(329, b"junk")).end());
}
