//! What a layer becomes.

use super::describe::{With, clean, device, dir, fifo, file, gone, link, opaque, symlink};
use super::{CAPABILITY, Described, Target, layerfs, snapshot, unpack};
use crate::repository::{EntryError, Error, OpenEnds};

const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFREG: u32 = 0o100_000;

/// Publishes each layer for itself and takes in what stands in the repository then.
fn unpacked<'a, T: Target>(
    layers: impl IntoIterator<Item = &'a [Described]>,
) -> Vec<(snapshot::Tree, OpenEnds)> {
    let place = T::new();
    let transaction = place.begin();
    let mut unpacked = Vec::new();
    for (at, entries) in layers.into_iter().enumerate() {
        let path = layerfs(&format!("{at}"));
        let ends = unpack(&*transaction, &path, entries).unwrap();
        unpacked.push((path, ends));
    }
    transaction.commit().unwrap();
    assert_eq!(place.names(), [".layers"], "nothing of the publisher is left");
    let take = |(path, ends)| (place.tree(&path), ends);
    unpacked.into_iter().map(take).collect()
}

pub(in crate::repository) fn everything_an_entry_has_is_kept<T: Target>() {
    let entries = [
        dir("").mode(0o555).owner(1, 2).at(-5),
        dir("d").mode(0o2755).owner(3, 4).xattr("user.d", b"v"),
        file("d/suid", "x").mode(0o4755).owner(5, 6).xattr("security.capability", CAPABILITY),
        file("d/none", "").mode(0).xattr("user.a", b"1").xattr("trusted.b", b""),
        symlink("d/link", "/nowhere").owner(7, 8).xattr("trusted.c", b"3"),
        device("d/dev", 5, 300).owner(0, 5),
        fifo("d/fifo").mode(0o1640),
        link("d/other", "d/suid"),
        link("d/otherlink", "d/link"),
    ];
    let (tree, ends) = unpacked::<T>([entries.as_slice()]).remove(0);
    assert!(ends.is_empty());
    let root = &tree[""];
    assert_eq!((root.mode, root.owner, root.mtime), (S_IFDIR | 0o555, (1, 2), (-5, 7)));
    assert_eq!((tree["d"].mode, tree["d"].owner), (S_IFDIR | 0o2755, (3, 4)));
    assert_eq!(tree["d"].xattrs[b"user.d".as_slice()], b"v");
    assert_eq!(tree["d"].mtime, (1_700_000_000, 123_456_789));
    assert_eq!((tree["d/suid"].mode, tree["d/suid"].owner), (S_IFREG | 0o4755, (5, 6)));
    assert_eq!(tree["d/suid"].xattrs[b"security.capability".as_slice()], CAPABILITY);
    assert_eq!((tree["d/none"].mode, tree["d/none"].xattrs.len()), (S_IFREG, 2));
    assert_eq!(
        (tree["d/link"].owner, tree["d/link"].mtime),
        ((7, 8), (1_700_000_000, 123_456_789))
    );
    assert_eq!(tree["d/link"].xattrs[b"trusted.c".as_slice()], b"3");
    assert_eq!(tree["d/dev"].rdev, rustix::fs::makedev(5, 300));
    assert_eq!((tree["d/dev"].mode, tree["d/dev"].owner), (S_IFCHR | 0o620, (0, 5)));
    assert_eq!(tree["d/fifo"].mode, 0o010_000 | 0o1640);
    assert_eq!(tree["d/suid"].group, tree["d/other"].group);
    assert_eq!(tree["d/link"].group, tree["d/otherlink"].group);
}

pub(in crate::repository) fn of_several_entries_the_last_counts<T: Target>() {
    let cases: &[(&[Described], &[&str])] = &[
        (&[file("a", "1"), file("a", "2")], &["", "a=2"]),
        (&[dir("a"), file("a/b", ""), file("a", "2")], &["", "a=2"]),
        (&[file("a", "1"), dir("a"), file("a/b", "3")], &["", "a", "a/b=3"]),
        (&[dir("a"), file("a/b", "3"), dir("a")], &["", "a", "a/b=3"]),
        (&[symlink("a", "b"), dir("a"), file("b", "")], &["", "a", "b="]),
        (&[file("a", "1"), link("b", "a"), file("a", "2")], &["", "a=2", "b=1"]),
        (&[file("a", "1"), link("b", "a"), file("b", "2")], &["", "a=1", "b=2"]),
        (&[symlink("a", "/etc/passwd"), file("a", "2")], &["", "a=2"]),
        (&[dir("a"), dir("a/b"), file("a/b/c", ""), symlink("a", "x")], &["", "a=x"]),
        (&[dir("a"), file("a/b", ""), file("a", "1"), dir("a")], &["", "a"]),
        (&[file("a", "1"), file("b", "2"), link("b", "a")], &["", "a=1", "b=1"]),
        (&[file("a", "1"), dir("b"), file("b/c", ""), link("b", "a")], &["", "a=1", "b=1"]),
        // A name that only looks like one below the other.
        (&[dir("a"), dir("a-b"), file("a-b/c", ""), file("a", "1")], &["", "a=1", "a-b", "a-b/c="]),
    ];
    let trees = unpacked::<T>(cases.iter().map(|(entries, _)| *entries));
    for ((entries, expected), (tree, _)) in cases.iter().zip(trees) {
        let is: Vec<String> = tree
            .iter()
            .map(|(name, node)| match node.mode & 0o170_000 {
                S_IFDIR => name.clone(),
                _ => format!("{name}={}", String::from_utf8_lossy(&node.content)),
            })
            .collect();
        assert_eq!(is, *expected, "{entries:?}");
    }
}

pub(in crate::repository) fn paths_through_symlinks_stay_in_the_layer<T: Target>() {
    let cases: &[(&[Described], &[&str])] = &[
        (&[symlink("a", "/etc"), file("a/b", "1")], &["a=/etc", "etc", "etc/b=1"]),
        (&[symlink("a", "../../etc"), file("a/b", "1")], &["a=../../etc", "etc", "etc/b=1"]),
        (&[symlink("a", "."), file("a/a/b", "1")], &["a=.", "b=1"]),
        (&[symlink("a", "b"), dir("b"), file("a/x/y", "1")], &["a=b", "b", "b/x", "b/x/y=1"]),
        (
            &[symlink("lib", "usr/lib"), dir("usr"), file("lib/x", "1"), link("y", "lib/x")],
            &["lib=usr/lib", "usr", "usr/lib", "usr/lib/x=1", "y=1"],
        ),
        (&[link("x", "a/b"), symlink("a", "d"), file("d/b", "1")], &["a=d", "d", "d/b=1", "x=1"]),
        (&[link("x", "y"), file("y", "1"), file("z", "2")], &["x=1", "y=1", "z=2"]),
    ];
    let trees = unpacked::<T>(cases.iter().map(|(entries, _)| *entries));
    for ((entries, expected), (tree, _)) in cases.iter().zip(trees) {
        let below_root = tree.iter().filter(|(name, _)| !name.is_empty());
        let is: Vec<String> = below_root
            .map(|(name, node)| match node.mode & 0o170_000 {
                S_IFDIR => name.clone(),
                _ => format!("{name}={}", String::from_utf8_lossy(&node.content)),
            })
            .collect();
        assert_eq!(is, *expected, "{entries:?}");
        // A CernVM-FS repository links within a directory only.
        if let (Some(one), Some(other)) = (tree.get("x"), tree.get("y")) {
            assert_eq!(one.group, other.group, "{entries:?}");
        }
    }
}

pub(in crate::repository) fn marks_concern_the_layers_below_only<T: Target>() {
    // Expected: names, `!` a whiteout, `/` an opaque directory.
    let cases: &[(&[Described], &[&str])] = &[
        (&[gone("a")], &["a!"]),
        (&[file("a", ""), gone("a")], &["a"]),
        (&[gone("a"), file("a", "")], &["a"]),
        (&[gone("a"), dir("a"), file("a/b", "")], &["a/", "a/b"]),
        (&[dir("a"), file("a/b", ""), gone("a")], &["a/", "a/b"]),
        (&[gone("a"), file("a/b", "")], &["a/", "a/b"]),
        (&[gone("d/a")], &["d", "d/a!"]),
        (&[dir("d"), opaque("d"), gone("d/a")], &["d/"]),
        (&[gone("d/e/a"), opaque("d"), gone("d/b")], &["d/", "d/e"]),
        (&[opaque("d"), file("d/x", ""), opaque("d/e")], &["d/", "d/e/", "d/x"]),
        (&[opaque(""), gone("a"), gone("b/c")], &["/", "b"]),
        (&[dir("a"), gone("a/x"), file("a", "")], &["a"]),
        (&[gone("a"), link("b", "c"), gone("b")], &["a!"]),
        (&[gone("a/x"), gone("a")], &["a/"]),
    ];
    let trees = unpacked::<T>(cases.iter().map(|(entries, _)| *entries));
    for ((entries, expected), (tree, _)) in cases.iter().zip(trees) {
        let is: Vec<String> = tree
            .iter()
            .filter_map(|(name, node)| {
                let opaque =
                    |mark: &str| node.xattrs.get(mark.as_bytes()).is_some_and(|v| v == b"y");
                let (trusted, user) =
                    (opaque("trusted.overlay.opaque"), opaque("user.overlay.opaque"));
                assert_eq!(trusted, user, "{name}");
                if node.mode == S_IFCHR {
                    assert_eq!((node.rdev, node.owner, node.mtime), (0, (0, 0), (0, 0)));
                    return Some(format!("{name}!"));
                }
                let mark = if trusted { "/" } else { "" };
                (!name.is_empty() || trusted).then(|| format!("{name}{mark}"))
            })
            .collect();
        assert_eq!(is, *expected, "{entries:?}");
    }
}

pub(in crate::repository) fn open_ends_are_told<T: Target>() {
    /// Entries, implied directories, links to lower layers with their targets.
    type Case<'a> = (&'a [Described], &'a [&'a str], &'a [(&'a str, &'a str)]);
    let cases: &[Case<'_>] = &[
        (&[dir("a"), file("a/b", "")], &[], &[]),
        (&[file("a/b/c", "")], &["a", "a/b"], &[]),
        (&[file("a/b", ""), dir("a")], &[], &[]),
        (&[dir("a"), file("a/b/c", "")], &["a/b"], &[]),
        (&[gone("a/b")], &["a"], &[]),
        (&[opaque("a"), file("a/b/c", "")], &["a"], &[]),
        (&[gone("a"), file("a/b/c", "")], &[], &[]),
        (&[link("x", "y")], &[], &[("x", "y")]),
        (&[link("x", "l/y")], &[], &[("x", "l/y")]),
        (&[symlink("l", "d"), link("x", "l/y")], &[], &[("x", "d/y")]),
        (&[link("x", "y"), link("z", "x")], &[], &[("x", "y"), ("z", "y")]),
        (&[link("x", "y"), file("x", "")], &[], &[]),
        (&[link("x", "y"), link("z", "x"), file("x", "")], &[], &[("z", "y")]),
        (&[file("x", ""), link("x", "y")], &[], &[("x", "y")]),
        (&[dir("d"), link("d/x", "y"), file("d", "")], &[], &[]),
        (&[link("x", "y"), dir("x")], &[], &[]),
    ];
    let trees = unpacked::<T>(cases.iter().map(|(entries, ..)| *entries));
    for ((entries, implied, links), (_, ends)) in cases.iter().zip(trees) {
        let expected = OpenEnds {
            implied_directories: implied.iter().map(|path| clean(path)).collect(),
            lower_links: links.iter().map(|(a, b)| (clean(a), clean(b))).collect(),
        };
        assert_eq!(ends, expected, "{entries:?}");
    }
}

pub(in crate::repository) fn what_contradicts_itself_is_refused<T: Target>() {
    use EntryError::{
        LinkToDirectory, LinkToItself, LinkToNothing, Root, SymlinkLoop, ThroughFile,
        WhiteoutDevice,
    };
    let cases: &[(&[Described], &str, EntryError)] = &[
        (&[symlink("a", "a"), file("a/b", "")], "a/b", SymlinkLoop),
        (&[symlink("a", "b"), symlink("b", "/a"), gone("a/b")], "a/b", SymlinkLoop),
        (&[symlink("a", "f"), file("f", ""), file("a/x/y", "")], "f/x/y", ThroughFile(clean("f"))),
        (&[file("a", ""), file("a/b", "")], "a/b", ThroughFile(clean("a"))),
        (&[fifo("a"), dir("a/b")], "a/b", ThroughFile(clean("a"))),
        (&[link("a", "low"), file("a/b", "")], "a/b", ThroughFile(clean("a"))),
        (&[symlink("a", "a"), link("b", "a/passwd")], "b", SymlinkLoop),
        (&[link("b", "a"), dir("a")], "b", LinkToDirectory(clean("a"))),
        (&[file("a", ""), link("b", "a/c")], "b", ThroughFile(clean("a"))),
        (&[dir("a"), link("b", "a")], "b", LinkToDirectory(clean("a"))),
        (&[link("b", "")], "b", LinkToDirectory(clean(""))),
        (&[link("a/b", "a")], "a/b", LinkToDirectory(clean("a"))),
        (&[file("a", ""), link("a/b", "a")], "a/b", ThroughFile(clean("a"))),
        (&[link("b", "b")], "b", LinkToItself),
        (&[gone("a"), link("b", "a")], "b", LinkToNothing(clean("a"))),
        (&[opaque("d"), link("b", "d/a")], "b", LinkToNothing(clean("d/a"))),
        (&[file("", "")], "", Root),
        (&[symlink("", "/etc")], "", Root),
        (&[gone("")], "", Root),
        (&[device("a", 0, 0)], "a", WhiteoutDevice),
    ];
    let place = T::new();
    let transaction = place.begin();
    for (entries, path, reason) in cases {
        match unpack(&*transaction, &layerfs("x"), entries) {
            Err(Error::Entry { path: is, reason: why }) => {
                assert_eq!((&is, &why), (&clean(path), reason), "{entries:?}");
            }
            other => panic!("{entries:?}: {other:?}"),
        }
    }
    transaction.commit().unwrap();
    assert_eq!(place.names(), [""; 0], "what was begun and not finished is not published");
}
