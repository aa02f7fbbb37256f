//! What the format cannot hold, or clients do not show.

use std::path::Path;

use cvmfs_repository::entry::EntryKind;
use layer_layout::{RepositoryPath, path};

use super::{Scene, tree_path};
use crate::repository::tests::describe::{With, dir, fifo, file, gone, link, symlink};
use crate::repository::tests::{Described, Target, layerfs, rootfs, unpack};

/// Publishes a layer. Returns it with the paths of its tree and of the merged one, and the lines about shortfalls.
fn published(entries: &[Described]) -> (Scene, [RepositoryPath; 2], Vec<String>) {
    let scene = Scene::new();
    let transaction = scene.begin();
    unpack(&*transaction, &layerfs("x"), entries).unwrap();
    transaction.merge(&rootfs("x"), &[layerfs("x")]).unwrap();
    let told = transaction.shortfalls();
    transaction.commit().unwrap();
    (scene, [layerfs("x"), rootfs("x")], told)
}

#[test]
fn what_fits_has_no_shortfalls() {
    let entries = [dir("").xattr("user.a", &[b'x'; 255]), symlink("s", "$HOME/(x)"), file("f", "")];
    assert_eq!(published(&entries).2, [""; 0]);
}

#[test]
fn attributes_without_room_are_told() {
    let long = [b'x'; 256];
    let (scene, paths, told) = published(&[
        file("a", "1").xattr("user.long", &long).xattr("user.short", b"1"),
        file("b", "1").xattr("user.long", &long),
        file("c", "1").xattr("user.p@ge", b"1").xattr("user.hash", b"1"),
        fifo("d").xattr("user.none", b"1").xattr("trusted.some", b"1"),
    ]);
    let expected = [
        ("1 names lack the extended attribute user.none, which Linux", ": /d"),
        (
            "2 names lack the extended attribute user.long, for which CernVM-FS has no room",
            ": /a, /b",
        ),
        ("1 names lack the extended attribute user.p@ge, whose @ or ~", ": /c"),
        ("1 names have the extended attribute user.hash, in whose place", ": /c"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (line, (start, end)) in told.iter().zip(expected) {
        assert!(line.starts_with(start) && line.ends_with(end), "{line}");
    }
    for path in paths {
        let tree = scene.tree(&path);
        let names = |name: &str| tree[name].xattrs.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names("a"), [b"user.short"]);
        assert_eq!(names("b"), [b""; 0]);
        assert_eq!(names("c"), [b"user.hash"]);
        assert_eq!(names("d"), [b"trusted.some"]);
    }
}

/// Clients put the values of their variables into `$(NAME)`; those in images are none of theirs.
#[test]
fn link_targets_are_shown_as_they_are() {
    for (target, stored) in [
        ("/$(ARCH)/lib", "/$(:-$)(ARCH)/lib"),
        ("$(HOME:-/x)", "$(:-$)(HOME:-/x)"),
        ("$HOME/(x)", "$HOME/(x)"),
    ] {
        let (scene, paths, told) = published(&[symlink("s", target), link("t", "s")]);
        assert_eq!(told, [""; 0]);
        for path in paths {
            for name in ["s", "t"] {
                let entry = scene.newest().lookup(&tree_path(&path).join(name.as_bytes())).unwrap();
                assert_eq!(entry.unwrap().kind, EntryKind::Symlink(stored.into()), "{path}/{name}");
                assert_eq!(scene.tree(&path)[name].content, target.as_bytes());
            }
        }
    }
}

/// Variables that this program wants to be replaced stay what they are.
#[test]
fn links_for_all_platforms_keep_their_variable() {
    let scene = Scene::new();
    let (transaction, link) = (scene.begin(), RepositoryPath::parse("r.io/x:1").unwrap());
    let target = "../.multiarch/$(CVMFS_ARCH:-amd64)/r.io/x:1";
    transaction.symlink(&link, target).unwrap();
    transaction.commit().unwrap();
    let entry = scene.newest().lookup(&tree_path(&link)).unwrap().unwrap();
    assert_eq!(entry.kind, EntryKind::Symlink(target.into()));
}

/// What is added through a link with such a target is where the link leads in a container.
#[test]
fn link_targets_are_followed_as_they_are() {
    let scene = Scene::new();
    let transaction = scene.begin();
    let below = [dir("$(LIB)"), file("$(LIB)/low", "1"), symlink("lib", "$(LIB)")];
    unpack(&*transaction, &layerfs("x"), &below).unwrap();
    transaction.merge(&rootfs("x"), &[layerfs("x")]).unwrap();
    let flat = path::flat(&layer_layout::Digest::of(b"x").into());
    let mut editor = transaction.share(&flat, Some(&rootfs("x"))).unwrap();
    editor.write_file(Path::new("lib/high"), 0o644, b"2").unwrap();
    editor.ensure_symlink(Path::new("own"), "$(LIB)/low").unwrap();
    drop(editor);
    transaction.commit().unwrap();
    let tree = scene.tree(&flat);
    assert_eq!(tree["$(LIB)/high"].content, b"2");
    assert_eq!(tree["lib"].content, b"$(LIB)");
    assert_eq!(tree["own"].content, b"$(LIB)/low");
}

#[test]
fn reserved_names_are_left_out_and_told() {
    let (scene, paths, told) = published(&[
        file(".cvmfscatalog", "mine"),
        link("other", ".cvmfscatalog"),
        dir("d"),
        dir("d/.cvmfscatalog"),
        file("d/.cvmfscatalog/f", ""),
        gone("e/.cvmfscatalog"),
    ]);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("2 names are left out"), "{told:?}");
    assert!(told[0].ends_with(": /.cvmfscatalog, /d/.cvmfscatalog"), "{told:?}");
    for path in paths {
        let tree = scene.tree(&path);
        assert_eq!(tree.keys().collect::<Vec<_>>(), ["", "d", "e", "other"], "{path}");
        assert_eq!(tree["other"].content, b"mine");
    }
}
