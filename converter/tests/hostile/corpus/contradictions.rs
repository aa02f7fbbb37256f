//! Entries that contradict each other.

use super::tar::{Header, Tar};
use super::{Case, Node, Outcome, file, found};

use Outcome::{NotUnpacked, Refused, Unpacked};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = kinds();
    cases.extend(links());
    cases.extend(whiteouts());
    cases
}

/// A file where a directory is needed, and the reverse.
fn kinds() -> Vec<Case> {
    let no_directory = || NotUnpacked("is no directory in the same layer");
    let fifo = || Header::new(b'6', "a");
    let device =
        |major, minor| Tar::new().header(Header::new(b'4', "a").device(major, minor)).end();
    vec![
        Case::new(
            "a file below a file",
            Tar::new().file("a", "").file("a/b", "x").end(),
            no_directory(),
        ),
        Case::new(
            "a directory below a file",
            Tar::new().file("a", "").directory("a/b").end(),
            no_directory(),
        ),
        Case::new(
            "a file below a fifo",
            Tar::new().header(fifo()).file("a/b", "x").end(),
            no_directory(),
        ),
        Case::new(
            "a file below a hard link",
            Tar::new().file("f", "").hard_link("a", "f").file("a/b", "x").end(),
            no_directory(),
        ),
        Case::new(
            "a whiteout below a file",
            Tar::new().file("a", "").file("a/.wh.b", "").end(),
            no_directory(),
        ),
        Case::new(
            "a file over a full directory",
            Tar::new().directory("a").file("a/b", "").file("a", "x").end(),
            Unpacked(vec![file("a", "x")]),
        ),
        Case::new(
            "a directory over a file",
            Tar::new().file("a", "").directory("a").file("a/b", "x").end(),
            Unpacked(vec![file("a/b", "x")]),
        ),
        Case::new(
            "a directory, a symlink, a directory",
            {
                let tar = Tar::new().directory("a").file("a/old", "").symlink("a", "/");
                tar.directory("a").file("a/b", "x").end()
            },
            Unpacked(vec![found("a/old", Node::Absent), file("a/b", "x")]),
        ),
        Case::new(
            "a directory that nobody may enter",
            {
                let closed = Header::new(b'5', "a").mode(0);
                Tar::new().header(closed).file("a/b", "x").end()
            },
            Unpacked(vec![file("a/b", "x")]),
        ),
        Case::new(
            "a device that Linux does not have",
            device(4096, 0),
            Refused("Linux has no such device number"),
        ),
        Case::new(
            "a device of a format without devices",
            Tar::new().header(Header::new(b'3', "a").v7()).end(),
            Refused("a header of the V7 format has none"),
        ),
        Case::new(
            "a whiteout as a device",
            Tar::new().header(Header::new(b'3', "a").device(0, 0)).end(),
            Unpacked(vec![]),
        ),
        Case::new(
            "an unknown type",
            Tar::new().header(Header::new(b'Z', "a")).end(),
            Refused("entry a: unknown tar entry type 'Z'"),
        ),
        Case::new(
            "an owner that means none",
            Tar::new().pax(&[("uid", "4294967295")]).file("a", "").end(),
            Unpacked(vec![file("a", "")]),
        ),
    ]
}

fn links() -> Vec<Case> {
    let absent = || NotUnpacked("no file is seen there, neither in this layer nor in those below");
    vec![
        Case::new(
            "a hard link to a directory",
            Tar::new().directory("d").hard_link("a", "d").end(),
            NotUnpacked("is a hard link to /d, which is a directory"),
        ),
        Case::new(
            "a hard link to the root",
            Tar::new().hard_link("a", "./").end(),
            Refused("a hard link to a directory"),
        ),
        Case::new(
            "a hard link to itself",
            Tar::new().file("d/a", "").hard_link("d/a", "./d//a").end(),
            Refused("cannot be a hard link to itself"),
        ),
        Case::new("a hard link to nothing", Tar::new().hard_link("a", "b").end(), absent()),
        Case::new(
            "hard links in a circle",
            Tar::new().hard_link("a", "b").hard_link("b", "a").end(),
            absent(),
        ),
        Case::new(
            "a hard link to what comes later",
            Tar::new().hard_link("a", "b").file("b", "x").end(),
            Unpacked(vec![file("a", "x"), file("b", "x")]),
        ),
        Case::new(
            "a hard link without a target",
            Tar::new().hard_link("a", "").end(),
            Refused("the target is empty"),
        ),
        Case::new(
            "a hard link to a whiteout",
            Tar::new().file(".wh.b", "").hard_link("a", ".wh.b").end(),
            Refused("the target is a whiteout"),
        ),
        Case::new(
            "a hard link into what AUFS kept",
            Tar::new().file(".wh..wh.plnk/1.2", "x").hard_link("a", ".wh..wh.plnk/1.2").end(),
            Unpacked(vec![file("a", "x"), file(".wh..wh.plnk/1.2", "x")]),
        ),
    ]
}

fn whiteouts() -> Vec<Case> {
    let nothing = || Refused("the whiteout names nothing that it could remove");
    vec![
        Case::new("`.wh.` alone", Tar::new().file(".wh.", "").end(), nothing()),
        Case::new("`.wh.` as a directory", Tar::new().directory("a/.wh./").end(), nothing()),
        Case::new(
            "a file below a whiteout",
            Tar::new().file(".wh.a/b", "x").end(),
            Unpacked(vec![file(".wh.a/b", "x")]),
        ),
        Case::new(
            "what AUFS kept, with content",
            {
                Tar::new()
                    .file(".wh..wh.aufs", "x")
                    .file(".wh..wh.plnk/a", "x")
                    .file("b", "y")
                    .end()
            },
            Unpacked(vec![
                found(".wh..wh.aufs", Node::Absent),
                file(".wh..wh.plnk/a", "x"),
                file("b", "y"),
            ]),
        ),
        Case::new(
            "a whiteout, and the name again",
            Tar::new().file("a", "x").file(".wh.a", "").end(),
            Unpacked(vec![file("a", "x")]),
        ),
        Case::new(
            "marks of overlayfs in the tar",
            {
                let xattrs = [
                    ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
                    ("SCHILY.xattr.trusted.overlay.metacopy", ""),
                    ("SCHILY.xattr.user.overlay.opaque", "y"),
                ];
                Tar::new().pax(&xattrs).directory("a").pax(&xattrs).file("a/b", "x").end()
            },
            Unpacked(vec![file("a/b", "x")]),
        ),
    ]
}
