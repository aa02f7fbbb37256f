//! Ways out of the layer's directory.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::tar::{Header, Tar};
use super::{Case, Node, Outcome, file, found};

use Outcome::{NotUnpacked, Refused, Unpacked};

const EVIL: &str = "evil";

/// More steps up than any directory is deep.
const UP: &str = "../../../../../../../../../../../../../../../../../../../../../../../../";

pub(super) fn cases(outside: &Path) -> Vec<Case> {
    let mut cases = upwards(outside);
    cases.extend(through_symlinks(outside));
    cases.extend(in_place_of_symlinks(outside));
    cases.extend(hard_links(outside));
    cases
}

/// A path of the host below the layer's root, as bytes.
fn relative(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes()[1..].to_vec()
}

fn up(path: &Path) -> Vec<u8> {
    [UP.as_bytes(), &relative(path)].concat()
}

/// `..` wherever a name can stand, and absolute names.
fn upwards(outside: &Path) -> Vec<Case> {
    let (new, victim) = (outside.join("new"), outside.join("victim"));
    let up_new = up(&new);
    let refused = || Refused("`..` in a path");
    let sparse = [
        ("GNU.sparse.major", b"1".as_slice()),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", &up_new),
        ("GNU.sparse.realsize", b"0"),
    ];
    let map = Tar::new().raw("0\n").pad().open();
    let whiteout = [&up(outside), b"/.wh.victim".as_slice()].concat();
    let opaque = [&up(outside), b"/.wh..wh..opq".as_slice()].concat();
    vec![
        Case::new(
            "`..` in a name",
            Tar::new().pax(&[("path", &up_new)]).file("x", EVIL).end(),
            refused(),
        )
        .touching(&new),
        Case::new("`..` in a short name", Tar::new().file("../new", EVIL).end(), refused()),
        Case::new(
            "`..` after a directory",
            Tar::new().directory("a").file("a/../../new", EVIL).end(),
            refused(),
        ),
        Case::new("`..` at a name's end", Tar::new().directory("a/..").end(), refused()),
        Case::new(
            "`..` in the field before the name",
            Tar::new().member(Header::new(b'0', "new").prefix("../.."), EVIL).end(),
            refused(),
        ),
        Case::new(
            "`..` in a GNU long name",
            Tar::new().long_name(&up_new).file("x", EVIL).end(),
            refused(),
        )
        .touching(&new),
        Case::new(
            "`..` in a sparse file's name",
            Tar::new().pax(&sparse).file("x", map).end(),
            refused(),
        )
        .touching(&new),
        Case::new(
            "a directory above",
            Tar::new().pax(&[("path", &up(outside))]).directory("x").end(),
            refused(),
        )
        .touching(outside),
        Case::new(
            "a whiteout above",
            Tar::new().pax(&[("path", whiteout)]).file("x", "").end(),
            refused(),
        )
        .touching(&victim),
        Case::new(
            "an opaque mark above",
            Tar::new().pax(&[("path", opaque)]).file("x", "").end(),
            refused(),
        )
        .touching(&victim),
        Case::new(
            "a whiteout of `..`",
            Tar::new().file("a/.wh...", "").end(),
            Refused("names nothing"),
        ),
        Case::new(
            "a whiteout of `.`",
            Tar::new().file("a/.wh..", "").end(),
            Refused("names nothing"),
        ),
        Case::new(
            "an absolute name",
            Tar::new().pax(&[("path", victim.as_os_str().as_bytes())]).file("x", EVIL).end(),
            Unpacked(vec![file(relative(&victim), EVIL)]),
        )
        .touching(&victim),
        Case::new(
            "`..` in a global header, which says nothing",
            Tar::new().global(&[("path", &up_new)]).file("f", EVIL).end(),
            Unpacked(vec![file("f", EVIL)]),
        )
        .touching(&new),
        Case::new(
            "an absolute whiteout",
            Tar::new()
                .pax(&[("path", outside.join(".wh.victim").as_os_str().as_bytes())])
                .file("x", "")
                .end(),
            Unpacked(vec![]),
        )
        .touching(&victim),
        Case::new(
            "a symlink as the root",
            Tar::new().symlink("./", "/").end(),
            Refused("names the layer's root"),
        )
        .touching("/"),
        Case::new(
            "a file as the root",
            Tar::new().file("/", EVIL).end(),
            Refused("names the layer's root"),
        ),
        Case::new(
            "a hard link as the root",
            Tar::new().file("a", EVIL).hard_link(".", "a").end(),
            Refused("names the layer's root"),
        ),
    ]
}

/// A symlink, and then something below it: it leads to a place in the layer, with the layer's root as `/`.
fn through_symlinks(outside: &Path) -> Vec<Case> {
    let target = outside.as_os_str().as_bytes();
    let linked = || Tar::new().symlink("link", target);
    let device = Header::new(b'3', "link/new").device(1, 3);
    let proc = [b"/proc/self/root".as_slice(), target].concat();
    let new = outside.join("new");
    let evil = || Node::File(EVIL.into());
    let aim = |name: &str, tar: Tar, node: Node| {
        Case::new(name, tar.end(), Unpacked(vec![found(relative(&new), node)])).touching(&new)
    };
    let deeper = |name: &str, tar: Tar, at: &[u8]| {
        Case::new(name, tar.end(), Unpacked(vec![found(at, evil())])).touching(&new)
    };
    let below = |path: &Path, names: &str| [&relative(path), names.as_bytes()].concat();
    vec![
        aim("a file through a symlink", linked().file("link/new", EVIL), evil()),
        aim("a directory through a symlink", linked().directory("link/new"), Node::Directory),
        aim(
            "a symlink through a symlink",
            linked().symlink("link/new", "x"),
            Node::Symlink(b"x".to_vec()),
        ),
        aim("a fifo through a symlink", linked().header(Header::new(b'6', "link/new")), Node::Fifo),
        aim("a device through a symlink", linked().header(device), Node::Device),
        aim(
            "a hard link through a symlink",
            linked().file("a", EVIL).hard_link("link/new", "a"),
            evil(),
        ),
        deeper(
            "parents through a symlink",
            linked().file("link/new/a/b/c", EVIL),
            &below(&new, "/a/b/c"),
        ),
        aim(
            "a file through a relative symlink",
            Tar::new().symlink("link", up(outside)).file("link/new", EVIL),
            evil(),
        ),
        aim(
            "a file through a deep relative symlink",
            Tar::new().directory("a/b").symlink("a/b/link", up(outside)).file("a/b/link/new", EVIL),
            evil(),
        ),
        aim(
            "a file through a chain of symlinks",
            linked().symlink("one", "link").symlink("two", "one").file("two/new", EVIL),
            evil(),
        ),
        aim(
            "a file through a symlink to the root",
            Tar::new()
                .symlink("link", "/")
                .pax(&[("path", [b"link/", &*relative(&new)].concat())])
                .file("x", EVIL),
            evil(),
        ),
        deeper(
            "a file through /proc",
            Tar::new().symlink("link", &proc).file("link/new", EVIL),
            &[&proc[1..], b"/new"].concat(),
        ),
        aim(
            "a file through a directory that becomes a symlink",
            Tar::new()
                .directory("link")
                .file("link/a", "")
                .symlink("link", target)
                .file("link/new", EVIL),
            evil(),
        ),
        aim(
            "a file through an implied directory that becomes a symlink",
            Tar::new().file("a/link/b", "").symlink("a/link", target).file("a/link/new", EVIL),
            evil(),
        ),
        aim(
            "a file through a hard link to a symlink",
            linked().hard_link("same", "link").file("same/new", EVIL),
            evil(),
        ),
        aim(
            "a file through a name that is there before",
            linked().file("link/new", "").file("link/new", EVIL),
            evil(),
        ),
        Case::new(
            "a file through a symlink to itself",
            Tar::new().symlink("loop", "loop").file("loop/new", EVIL).end(),
            NotUnpacked("leads through too many symlinks of this layer"),
        ),
        Case::new(
            "a file through a symlink that makes its path too long",
            Tar::new()
                .long_link("d/".repeat(2000))
                .symlink("link", "")
                .pax(&[("path", ["link/", &"e/".repeat(50), "new"].concat())])
                .file("x", EVIL)
                .end(),
            NotUnpacked("or too deep"),
        ),
        Case::new(
            "a file through a symlink to here",
            Tar::new().symlink("here", ".").file("here/here/new", EVIL).end(),
            Unpacked(vec![file("new", EVIL)]),
        ),
        Case::new(
            "a whiteout through a symlink",
            linked().file("link/.wh.victim", "").end(),
            Unpacked(vec![found(below(outside, "/victim"), Node::Device)]),
        )
        .touching(outside.join("victim")),
        Case::new(
            "an opaque mark through a symlink",
            linked().file("link/.wh..wh..opq", "").end(),
            Unpacked(vec![found(relative(outside), Node::Directory)]),
        )
        .touching(outside.join("victim")),
    ]
}

/// A symlink, and then something of the same name: the symlink must be replaced, never followed.
fn in_place_of_symlinks(outside: &Path) -> Vec<Case> {
    let (victim, directory) = (outside.join("victim"), outside.join("directory"));
    let to_victim = || Tar::new().symlink("link", victim.as_os_str().as_bytes());
    let to_directory = || Tar::new().symlink("link", directory.as_os_str().as_bytes());
    let is = |node: Node| Unpacked(vec![found("link", node)]);
    let fifo = Header::new(b'6', "link");
    let device = Header::new(b'3', "link").device(1, 3);
    let dressed = Header::new(b'2', "link").mode(0o777).owner(12345, 12345).mtime(1);
    let link = victim.as_os_str().as_bytes();
    vec![
        Case::new(
            "a file over a symlink",
            to_victim().file("link", EVIL).end(),
            is(Node::File(EVIL.into())),
        )
        .touching(&victim),
        Case::new(
            "a hard link over a symlink",
            to_victim().file("a", EVIL).hard_link("link", "a").end(),
            is(Node::File(EVIL.into())),
        )
        .touching(&victim),
        Case::new("a fifo over a symlink", to_victim().header(fifo).end(), is(Node::Fifo))
            .touching(&victim),
        Case::new("a device over a symlink", to_victim().header(device).end(), is(Node::Device))
            .touching(&victim),
        Case::new(
            "a directory over a symlink",
            to_directory().directory("link").file("link/inner", EVIL).end(),
            Unpacked(vec![found("link", Node::Directory), file("link/inner", EVIL)]),
        )
        .touching(directory.join("inner")),
        Case::new(
            "a directory's attributes through a symlink",
            {
                to_directory()
                    .header(Header::new(b'5', "link/").mode(0).owner(12345, 12345).mtime(1))
                    .end()
            },
            is(Node::Directory),
        )
        .touching(&directory),
        Case::new(
            "a symlink's attributes on its target",
            {
                let records: [(&str, &[u8]); 2] =
                    [("SCHILY.xattr.trusted.evil", b"evil"), ("linkpath", link)];
                Tar::new().pax(&records).header(dressed).end()
            },
            is(Node::Symlink(link.to_vec())),
        )
        .touching(&victim),
        Case::new(
            "a file over a dangling symlink",
            {
                let new = outside.join("new");
                Tar::new().symlink("link", new.as_os_str().as_bytes()).file("link", EVIL).end()
            },
            is(Node::File(EVIL.into())),
        )
        .touching(outside.join("new")),
        Case::new(
            "a file over a hard link to a symlink",
            to_victim().hard_link("same", "link").file("same", EVIL).end(),
            Unpacked(vec![file("same", EVIL), found("link", Node::Symlink(link.to_vec()))]),
        )
        .touching(&victim),
        Case::new(
            "a file over a hard link",
            Tar::new().file("a", "first").hard_link("b", "a").file("b", EVIL).end(),
            Unpacked(vec![file("a", "first"), file("b", EVIL)]),
        ),
        Case::new(
            "a tree with a symlink, replaced by a file",
            {
                let tar = Tar::new()
                    .directory("a")
                    .pax(&[("linkpath", directory.as_os_str().as_bytes())]);
                tar.header(Header::new(b'2', "a/link")).file("a", EVIL).end()
            },
            Unpacked(vec![file("a", EVIL)]),
        )
        .touching(directory.join("inner")),
        Case::new(
            "a file over a fifo, which nobody reads",
            Tar::new().header(Header::new(b'6', "pipe")).file("pipe", EVIL).end(),
            Unpacked(vec![file("pipe", EVIL)]),
        ),
        Case::new(
            "a file over a device",
            Tar::new().header(Header::new(b'3', "full").device(1, 7)).file("full", EVIL).end(),
            Unpacked(vec![file("full", EVIL)]),
        )
        .touching("/dev/full"),
    ]
}

/// Another name for something outside the layer.
fn hard_links(outside: &Path) -> Vec<Case> {
    let victim = outside.join("victim");
    let absent = || NotUnpacked("no file is seen there, neither in this layer nor in those below");
    let target = outside.as_os_str().as_bytes();
    let through = [&relative(outside), b"/victim".as_slice()].concat();
    vec![
        Case::new(
            "a hard link to `..`",
            Tar::new().hard_link("new", "../victim").end(),
            Refused("`..` in a path"),
        ),
        Case::new(
            "a hard link far above",
            Tar::new().hard_link("new", up(&victim)).end(),
            Refused("`..` in a path"),
        )
        .touching(&victim),
        Case::new(
            "a hard link to an absolute name",
            Tar::new().hard_link("new", victim.as_os_str().as_bytes()).end(),
            absent(),
        )
        .touching(&victim),
        Case::new(
            "a hard link to what lies behind a symlink",
            Tar::new().symlink("link", target).hard_link("new", "link/victim").end(),
            absent(),
        )
        .touching(&victim),
        Case::new(
            "a hard link to what lies behind the root's symlink",
            {
                Tar::new()
                    .symlink("link", "/")
                    .hard_link("new", [b"link/", &*through].concat())
                    .end()
            },
            absent(),
        )
        .touching(&victim),
        Case::new(
            "a hard link to a symlink stays one",
            {
                let link = victim.as_os_str().as_bytes();
                Tar::new().symlink("link", link).hard_link("new", "link").end()
            },
            Unpacked(vec![found("new", Node::Symlink(victim.as_os_str().as_bytes().to_vec()))]),
        )
        .touching(&victim),
    ]
}
