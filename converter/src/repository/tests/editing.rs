//! Adding files to a shared tree.

use std::path::Path;

use super::describe::{With, dir, file, symlink};
use super::{Described, Target, publish, rootfs, snapshot};
use crate::repository::TreeEditor;

/// Shares a tree of these entries, edits it, and returns the original and the edited one as they were and
/// are.
fn edit<T: Target>(
    entries: &[Described],
    change: impl FnOnce(&mut dyn TreeEditor),
) -> [snapshot::Tree; 3] {
    let place = T::new();
    let layers = publish(&place, &[entries]);
    let before = place.tree(&layers[0]);
    let transaction = place.begin();
    let mut editor = transaction.share(&rootfs("x"), Some(&layers[0])).unwrap();
    change(&mut *editor);
    drop(editor);
    transaction.commit().unwrap();
    [before, place.tree(&layers[0]), place.tree(&rootfs("x"))]
}

pub(in crate::repository) fn shared_files_are_left_alone<T: Target>() {
    let entries = [dir("").at(5), file("f", "old"), symlink("s", "f"), dir("d").mode(0o500).at(6)];
    let [before, after, edited] = edit::<T>(&entries, |editor| {
        editor.write_file(Path::new("f"), 0o755, b"new").unwrap();
        editor.write_file(Path::new("s"), 0o644, b"no link").unwrap();
        editor.write_file(Path::new("/d/f"), 0o600, b"deep").unwrap();
        editor.open_root().unwrap();
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

pub(in crate::repository) fn links_are_followed_as_in_a_container<T: Target>() {
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
    let [_, _, edited] = edit::<T>(&entries, |editor| {
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

pub(in crate::repository) fn a_root_is_opened_to_everybody<T: Target>() {
    for (mode, expected) in
        [(0o555, 0o755), (0o700, 0o755), (0o750, 0o755), (0o1777, 0o1777), (0, 0o755)]
    {
        let place = T::new();
        let layers = publish(&place, &[&[dir("").mode(mode)]]);
        let transaction = place.begin();
        let mut editor = transaction.share(&rootfs("x"), Some(&layers[0])).unwrap();
        editor.open_root().unwrap();
        drop(editor);
        transaction.commit().unwrap();
        assert_eq!(place.tree(&rootfs("x"))[""].mode, 0o040_000 | expected, "{mode:o}");
        assert_eq!(place.tree(&layers[0])[""].mode, 0o040_000 | mode, "the layer keeps its own");
    }
}
