//! Adding files to a shared tree.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::describe::{With, dir, file, symlink};
use super::{Described, Place, layerfs, rootfs, snapshot};
use crate::repository::TreeEditor;

/// Shares a tree of these entries, edits it, and returns the original and the edited one as they were and
/// are.
fn edit(entries: &[Described], change: impl FnOnce(&mut dyn TreeEditor)) -> [snapshot::Tree; 3] {
    let place = Place::new();
    let layers = place.publish(&[entries]);
    let before = snapshot::of(&place.host(&layerfs("layer 0")));
    let transaction = place.begin();
    let mut editor = transaction.share(&rootfs("x"), &layers[0]).unwrap();
    change(&mut *editor);
    drop(editor);
    transaction.commit().unwrap();
    [before, snapshot::of(&place.host(&layers[0])), snapshot::of(&place.host(&rootfs("x")))]
}

#[test]
fn shared_files_are_left_alone() {
    let entries = [dir("").at(5), file("f", "old"), symlink("s", "f"), dir("d").mode(0o500).at(6)];
    let [before, after, edited] = edit(&entries, |editor| {
        editor.write_file(Path::new("f"), 0o755, b"new").unwrap();
        editor.write_file(Path::new("s"), 0o644, b"no link").unwrap();
        editor.write_file(Path::new("/d/f"), 0o600, b"deep").unwrap();
        editor.make_root_writable().unwrap();
    });
    snapshot::assert_same(&before, &after, "the tree that is shared");
    assert_eq!(edited["f"].content, b"new");
    assert_eq!(edited["f"].mode, 0o100_755);
    assert_eq!(edited["s"].content, b"no link");
    assert_eq!(edited["d/f"].content, b"deep");
    assert_eq!(edited["f"].mtime, (5, 7), "what is added has the time of the root");
    let directory = |tree: &snapshot::Tree| (tree["d"].mode, tree["d"].mtime, tree[""].mtime);
    assert_eq!(directory(&edited), directory(&before));
}

#[test]
fn links_are_followed_as_in_a_container() {
    let entries = [
        dir(""),
        dir("real"),
        symlink("absolute", "/real"),
        symlink("outside", "/../../../../../../real"),
        symlink("dangling", "/nowhere/at/all"),
        symlink("circle", "circle"),
        symlink("etc", "/etc"),
        file("file", ""),
    ];
    let [_, _, edited] = edit(&entries, |editor| {
        for path in ["absolute/a", "outside/b", "dangling/c", "circle/d", "real", "file", "etc/e"] {
            editor.ensure_directory(Path::new(path)).unwrap();
        }
        editor.write_file(Path::new("absolute/f"), 0o644, b"1").unwrap();
        editor.ensure_symlink(Path::new("absolute/f"), "other").unwrap();
        editor.ensure_symlink(Path::new("outside/l"), ".exec").unwrap();
        editor.ensure_file(Path::new("absolute/f"), 0o600).unwrap();
        editor.ensure_file(Path::new("new"), 0o600).unwrap();
    });
    let paths: Vec<_> = edited.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "",
            "absolute",
            "circle",
            "circle/d",
            "dangling",
            "dangling/c",
            "etc",
            "etc/e",
            "file",
            "new",
            "outside",
            "real",
            "real/a",
            "real/b",
            "real/f",
            "real/l"
        ]
    );
    assert_eq!(edited["real/f"].content, b"1");
    assert_eq!(edited["real/l"].content, b".exec");
    assert_eq!(edited["file"].mode, 0o100_644, "what is there stays, whatever it is");
    assert!(!Path::new("/etc/e").exists());
}

#[test]
fn a_root_becomes_writable_for_its_owner_alone() {
    let place = Place::new();
    let layers = place.publish(&[&[dir("").mode(0o555)]]);
    let transaction = place.begin();
    let mut editor = transaction.share(&rootfs("x"), &layers[0]).unwrap();
    editor.make_root_writable().unwrap();
    drop(editor);
    transaction.commit().unwrap();
    assert_eq!(fs::metadata(place.host(&rootfs("x"))).unwrap().mode() & 0o7777, 0o755);
}
