//! Names that no file system can store, or only just.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::tar::Tar;
use super::{Case, Node, Outcome, file, found};

use Outcome::{Refused, Unpacked};

pub(super) fn cases(outside: &Path) -> Vec<Case> {
    let victim = outside.join("victim");
    let named = |name: &[u8]| Tar::new().pax(&[("path", name)]).file("x", "evil").end();
    let nul = || Refused("NUL in a path");
    let cut = [victim.as_os_str().as_bytes(), b"\0.txt"].concat();
    let too_long = || Refused("too long for Linux");
    // 15 directories of 255 bytes and a name that fills the rest: 4095 bytes.
    let longest = [("d".repeat(255) + "/").repeat(15), "f".repeat(255)].concat();
    let deepest = "d/".repeat(511) + "f";
    vec![
        Case::new("NUL in a name", named(&cut), nul()).touching(&victim),
        Case::new(
            "NUL in a GNU long name",
            Tar::new().long_name(&cut).file("x", "evil").end(),
            nul(),
        )
        .touching(&victim),
        Case::new(
            "NUL in a symlink's target",
            Tar::new().long_link(&cut).symlink("x", "x").end(),
            nul(),
        )
        .touching(&victim),
        Case::new(
            "NUL in a hard link's target",
            Tar::new().long_link(&cut).hard_link("x", "x").end(),
            nul(),
        )
        .touching(&victim),
        Case::new("a name of 256 bytes", named(&[b'n'; 256]), too_long()),
        Case::new("a path of 4096 bytes", named(&[longest.as_bytes(), b"f"].concat()), too_long()),
        Case::new("a path of 4097 short names", named("d/".repeat(4097).as_bytes()), too_long()),
        Case::new(
            "a path of 513 names",
            named(("d/".repeat(512) + "f").as_bytes()),
            Refused("the number of path components exceeds the limit of 512"),
        ),
        Case::new(
            "the deepest path",
            named(deepest.as_bytes()),
            Unpacked(vec![file(&deepest, "evil")]),
        ),
        Case::new(
            "the longest path",
            named(longest.as_bytes()),
            Unpacked(vec![file(&longest, "evil")]),
        ),
        Case::new(
            "a symlink's target of 4096 bytes",
            Tar::new().symlink("x", "t".repeat(4096)).end(),
            too_long(),
        ),
        Case::new(
            "a symlink to nothing",
            Tar::new().symlink("x", "").end(),
            Refused("the target is empty"),
        ),
        Case::new(
            "terminal control in a name",
            named(b"a/../\x1b]0;owned\x07"),
            Refused("entry a/../\\x1b]0;owned\\x07: `..` in a path"),
        ),
        Case::new(
            "bytes that are no text",
            Tar::new().file(b"\xff\xfe\n\x1b", "evil").directory("\u{202e}").end(),
            Unpacked(vec![file(b"\xff\xfe\n\x1b", "evil"), found("\u{202e}", Node::Directory)]),
        ),
    ]
}
