//! Images that are hard to publish correctly and have to come out the same on every target.

use crate::image::{Entry, Kind, Sparse};

/// An image that is hard to publish correctly.
pub struct Case {
    /// What it tests.
    pub name: &'static str,
    /// Its layers, base first.
    pub layers: Vec<Vec<Entry>>,
    /// Paths that must be in the merged root, or, with `!` in front, must not.
    pub seen: &'static [&'static str],
    /// Whether umoci can unpack it.
    pub umoci: bool,
}

/// A base layer. No layer gives attributes to a directory without an entry, so every case has entries for its
/// directories.
pub fn base() -> Vec<Entry> {
    vec![
        Entry::dir("./").mode(0o755).mtime(1_600_000_000, 0),
        Entry::dir("d").mode(0o2750).owner(1, 2).mtime(1_600_000_001, 5),
        Entry::file("d/a", "a").owner(3, 4).mtime(1_600_000_002, 123_456_789),
        Entry::dir("d/sub").mode(0o700),
        Entry::file("d/sub/deep", "deep").mode(0o4755),
        Entry::file("f", "f").mode(0o600),
        Entry::symlink("s", "d"),
        Entry::dir("gone"),
        Entry::file("gone/inside", "x"),
    ]
}

/// Layers over [`base`] that exercise the overlay rules and all kinds of entries.
pub fn nasty() -> Vec<Case> {
    let over = |name, upper: Vec<Entry>, seen| Case {
        name,
        layers: vec![base(), upper],
        seen,
        umoci: true,
    };
    let root = || Entry::dir("./").mtime(1_600_000_100, 7);
    vec![
        over("whiteout of a directory", vec![root(), Entry::whiteout("gone")], &["!gone", "d/a"]),
        over(
            "opaque over existing",
            vec![
                root(),
                Entry::dir("d").mode(0o711),
                Entry::opaque("d"),
                Entry::file("d/new", "n"),
            ],
            &["d/new", "!d/a", "!d/sub"],
        ),
        over(
            "opaque mark after the entries",
            vec![root(), Entry::dir("d"), Entry::file("d/new", "n"), Entry::opaque("d")],
            &["d/new", "!d/a"],
        ),
        over(
            "opaque mark before its directory",
            vec![
                root(),
                Entry::opaque("d"),
                Entry::dir("d").mode(0o1777),
                Entry::file("d/new", "n"),
            ],
            &["d/new", "!d/a"],
        ),
        over("file to directory", vec![root(), Entry::dir("f"), Entry::file("f/x", "x")], &["f/x"]),
        over("directory to file", vec![root(), Entry::file("d", "now a file")], &["d", "!d/a"]),
        over("directory to symlink", vec![root(), Entry::symlink("d", "gone")], &["d"]),
        over(
            "symlink to directory",
            vec![root(), Entry::dir("s"), Entry::file("s/own", "o")],
            &["s/own", "!s/a"],
        ),
        over(
            "whiteout, then the name again as a file",
            vec![root(), Entry::whiteout("f"), Entry::file("f", "again")],
            &["f"],
        ),
        over(
            "the name as a directory, then its whiteout",
            vec![root(), Entry::dir("d"), Entry::file("d/new", "n"), Entry::whiteout("d")],
            &["d/new", "!d/a"],
        ),
        over(
            "hard link to a lower file",
            vec![root(), Entry::dir("d"), Entry::hard_link("d/linked", "f")],
            &["d/linked", "f"],
        ),
        over(
            "whiteout of something absent",
            vec![root(), Entry::whiteout("never")],
            &["!never", "f"],
        ),
        over(
            "whiteout inside a merged directory",
            vec![root(), Entry::dir("d"), Entry::whiteout("d/sub")],
            &["d/a", "!d/sub"],
        ),
        over(
            "duplicate entries, the last wins",
            vec![
                root(),
                Entry::file("twice", "one").mode(0o600),
                Entry::file("twice", "two").mode(0o640),
                Entry::dir("kind"),
                Entry::file("kind/x", "x"),
                Entry::file("kind", "a file after all"),
                Entry::symlink("link", "f"),
                Entry::file("link", "no link"),
            ],
            &["twice", "kind", "!kind/x", "link", "f"],
        ),
        Case {
            name: "three layers: removed, and there again without its old content",
            layers: vec![
                base(),
                vec![root(), Entry::whiteout("d")],
                vec![root(), Entry::dir("d").mode(0o1777), Entry::file("d/z", "z")],
            ],
            seen: &["d/z", "!d/a"],
            umoci: true,
        },
        Case {
            name: "everything that an image can hold",
            layers: vec![
                base(),
                vec![
                    root(),
                    Entry::dir("dev"),
                    Entry::new("dev/null", Kind::CharDevice(1, 3)).mode(0o666),
                    Entry::new("dev/loop", Kind::BlockDevice(7, 0)).owner(0, 6),
                    Entry::new("pipe", Kind::Fifo).mode(0o620),
                    Entry::dir("tmp").mode(0o1777),
                    Entry::program("suid", "#!").mode(0o6755).owner(1000, 1000),
                    Entry::program("cap", "#!")
                        .xattr(
                            "security.capability",
                            &b"\x01\0\0\x02\n\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..],
                        )
                        .xattr("user.note", "a\nb=c"),
                    Entry::file(&b"not\xffutf8"[..], "x"),
                    Entry::file(
                        format!("{}/{}", "long".repeat(40), "name".repeat(50)).as_bytes(),
                        "x",
                    ),
                    Entry::hard_link("pipe2", "pipe"),
                    Entry::symlink("far", "../../../../etc/passwd"),
                    Entry::hard_link("far2", "far"),
                    Entry::new("sparse", sparse(Sparse::Pax)),
                    Entry::file("big-ids", "x").owner(3_000_000, 4_000_000),
                ],
            ],
            seen: &["dev/null", "cap", "far2", "sparse"],
            umoci: true,
        },
        Case {
            name: "GNU tar's old form of sparse files",
            layers: vec![base(), vec![root(), Entry::new("sparse-old", sparse(Sparse::OldGnu))]],
            seen: &["sparse-old"],
            umoci: false,
        },
    ]
}

fn sparse(form: Sparse) -> Kind {
    Kind::SparseFile {
        size: 1 << 20,
        data: vec![(4096, b"data".repeat(256)), (900_000, b"end".to_vec())],
        form,
    }
}
