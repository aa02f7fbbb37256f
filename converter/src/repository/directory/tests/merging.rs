//! Merged trees against what the kernel's overlayfs shows of the same layers.

use std::path::{Path, PathBuf};

use layer_layout::RepositoryPath;
use proptest::prelude::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{Described, TestDirectory, layerfs, rootfs, snapshot, unpack};
use crate::repository::tests::apply;
use crate::repository::tests::describe::{With, dir, file, gone, link, opaque, symlink};
use crate::repository::tests::merging::{any_entry, base, pairs, stack};

/// An overlay mount of published layers, for as long as it lives.
struct Overlay {
    at: PathBuf,
}

impl Overlay {
    /// `lower` are directories, topmost first. An overlay needs two lower directories; an empty one on top changes nothing.
    fn of(scene: &TestDirectory, lower: &[PathBuf]) -> Self {
        let base = scene.directory.path();
        let at = base.join("overlay");
        let empty = base.join("empty");
        std::fs::create_dir_all(&at).unwrap();
        std::fs::create_dir_all(&empty).unwrap();
        let mut lower: Vec<_> = lower.iter().map(|path| path.display().to_string()).collect();
        if lower.len() == 1 {
            lower.push(empty.display().to_string());
        }
        let options = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
        mount("overlay", &at, "overlay", MountFlags::RDONLY, Some(options.as_c_str())).unwrap();
        Self { at }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        unmount(&self.at, UnmountFlags::DETACH).unwrap();
    }
}

/// What overlayfs shows of layers, with its own marks left out: a normal mount shows
/// `user.overlay.opaque`. A mark on the root of a lower directory means nothing to the kernel: the stack
/// has to end there.
fn shown(scene: &TestDirectory, stack: Vec<PathBuf>) -> snapshot::Tree {
    let opaque = |layer: &PathBuf| xattr::get(layer, "trusted.overlay.opaque").unwrap().is_some();
    let end = stack.iter().position(opaque).map_or(stack.len(), |at| at + 1);
    let overlay = Overlay::of(scene, &stack[..end]);
    let mut tree = snapshot::of(&overlay.at);
    for node in tree.values_mut() {
        node.xattrs.remove(b"user.overlay.opaque".as_slice());
    }
    tree
}

#[test]
fn a_merged_tree_is_what_overlayfs_shows() {
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    let mut stacks = Vec::new();
    let (base, pairs) = (base(), pairs());
    for (name, upper) in &pairs {
        let stack = stack(&*transaction, name, &[&base, upper]);
        transaction.merge(&rootfs(name), &stack).unwrap();
        stacks.push(stack);
    }
    transaction.commit().unwrap();
    for ((name, _), stack) in pairs.iter().zip(stacks) {
        let merged = snapshot::of(&scene.host(&rootfs(name)));
        let stack = stack.iter().map(|path| scene.host(path)).collect();
        snapshot::assert_same(&merged, &shown(&scene, stack), name);
    }
}

#[test]
fn marks_of_overlayfs_end_in_the_merged_tree() {
    let scene = TestDirectory::new();
    let stack =
        scene.publish(&[&[dir("d"), file("d/low", "")], &[dir("d"), opaque("d"), gone("x")]]);
    let transaction = scene.begin();
    transaction.merge(&rootfs("x"), &stack).unwrap();
    transaction.commit().unwrap();
    let tree = snapshot::of(&scene.host(&rootfs("x")));
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["", "d"]);
    assert_eq!(xattrs(&scene.host(&rootfs("x")).join("d")), [""; 0]);
}

fn xattrs(path: &Path) -> Vec<String> {
    xattr::list(path).unwrap().map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn content_is_shared_and_attributes_are_not() {
    use std::os::unix::fs::MetadataExt;
    let scene = TestDirectory::new();
    let stack = scene.publish(&[&[dir("d"), file("d/f", "x"), link("g", "d/f")]]);
    let transaction = scene.begin();
    transaction.merge(&rootfs("x"), &stack).unwrap();
    transaction.commit().unwrap();
    let inode = |path: &Path| path.symlink_metadata().unwrap().ino();
    let (layer, root) = (scene.host(&stack[0]), scene.host(&rootfs("x")));
    assert_eq!(inode(&layer.join("d/f")), inode(&root.join("d/f")));
    assert_eq!(inode(&layer.join("g")), inode(&root.join("d/f")));
    assert_ne!(inode(&layer.join("d")), inode(&root.join("d")));
}

/// ext4 gives a file at most 65,000 names.
#[test]
fn a_file_with_too_many_names_is_copied() {
    use std::os::unix::fs::MetadataExt;
    let scene = TestDirectory::on_disk();
    let stack = scene.publish(&[&[
        file("a", "x").mode(0o4711).owner(1, 2).xattr("user.x", b"1"),
        link("b", "a"),
        symlink("s", "a").owner(3, 4),
    ]]);
    let layer = scene.host(&stack[0]);
    let extra = scene.directory.path().join("extra");
    std::fs::create_dir(&extra).unwrap();
    for name in ["a", "s"] {
        // A file system without such a limit (or one too high to be reached) has nothing to try.
        for at in 0..70_000 {
            if std::fs::hard_link(layer.join(name), extra.join(format!("{name}{at}"))).is_err() {
                break;
            }
        }
    }
    let transaction = scene.begin();
    transaction.merge(&rootfs("x"), &stack).unwrap();
    transaction.commit().unwrap();
    let merged = scene.host(&rootfs("x"));
    snapshot::assert_same(&snapshot::of(&layer), &snapshot::of(&merged), "copies");
    let inode = |path: PathBuf| path.symlink_metadata().unwrap().ino();
    assert_eq!(inode(merged.join("a")), inode(merged.join("b")));
}

/// Leaves out what a single layer cannot have: names below files.
fn valid(entries: Vec<Described>) -> Vec<Described> {
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    let mut kept: Vec<Described> = vec![dir("")];
    let mut writer = transaction.layer_writer(&layerfs("x")).unwrap();
    for (entry, content) in entries {
        if apply(&mut *writer, &entry, &content).is_ok() {
            kept.push((entry, content));
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_stack_is_what_overlayfs_shows(
        layers in proptest::collection::vec(proptest::collection::vec(any_entry(), 0..12), 3)
    ) {
        let layers: Vec<_> = layers.into_iter().map(valid).collect();
        let scene = TestDirectory::new();
        let transaction = scene.begin();
        let mut stack: Vec<RepositoryPath> = Vec::new();
        for (at, entries) in layers.iter().enumerate() {
            let path = layerfs(&format!("{at}"));
            let ends = unpack(&*transaction, &path, entries).unwrap();
            // A layer that does not fit on those below is left out of the stack.
            if !ends.is_empty() && transaction.complete_layer(&path, &ends, &stack).is_err() {
                return Ok(());
            }
            stack.insert(0, path);
        }
        transaction.merge(&rootfs("x"), &stack).unwrap();
        let merged = snapshot::of(&scene.staged(&rootfs("x")));
        let stack = stack.iter().map(|path| scene.staged(path)).collect();
        let difference = snapshot::difference(&merged, &shown(&scene, stack));
        prop_assert!(difference.is_empty(), "{layers:?}\n{}", difference.join("\n"));
    }
}
