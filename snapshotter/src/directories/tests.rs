use super::*;

fn open() -> (tempfile::TempDir, Directories) {
    let root = tempfile::tempdir().unwrap();
    let directories = Directories::open(root.path()).unwrap();
    (root, directories)
}

fn local(writable: bool) -> Content<'static> {
    let me = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    Content::Local { uid: me, gid: group, writable }
}

fn none() -> Result<HashSet<SnapshotId>> {
    Ok(HashSet::new())
}

#[test]
fn a_directory_without_a_record_goes_unless_it_is_just_being_made() {
    let (_root, directories) = open();
    let kept = directories.create(&local(true)).unwrap();
    let id = kept.id();
    kept.keep();
    let pending = directories.create(&local(true)).unwrap();
    let thrown_away = directories.create(&local(false)).unwrap().id();
    assert_eq!(directories.existing().unwrap().len(), 2);
    assert!(!directories.fs(thrown_away).exists());
    assert_eq!(directories.sweep(SnapshotId(0), || Ok([id].into())).unwrap(), 0);
    assert_eq!(directories.sweep(SnapshotId(id.0 + 1), none).unwrap(), 0, "spared");
    assert_eq!(directories.sweep(SnapshotId(0), none).unwrap(), 1);
    assert_eq!(directories.existing().unwrap(), [pending.id()]);
    pending.keep();
    assert_eq!(directories.sweep(SnapshotId(0), none).unwrap(), 1);
    directories.empty_trash();
    assert_eq!(fs::read_dir(directories.root.join(TRASH)).unwrap().count(), 0);
}

#[test]
fn numbers_only_grow() {
    let (_root, directories) = open();
    let mut last = SnapshotId(0);
    for above in [0, 5, 3] {
        directories.reserve_up_to(SnapshotId(above));
        let pending = directories.create(&local(false)).unwrap();
        assert!(pending.id() > last && pending.id() > SnapshotId(above));
        last = pending.id();
    }
}

#[test]
fn links_follow_their_repository() {
    let (root, directories) = open();
    let target = |name: &str| root.path().join(name);
    let (layer, rootfs) = (target("layer"), target("rootfs"));
    let remote = Content::Remote { layer: &layer, rootfs: Some(&rootfs) };
    let pending = directories.create(&remote).unwrap();
    let id = pending.id();
    // Nothing is asked of the target: it may hang, or not be there.
    assert!(directories.is_whole(id, true) && !directories.is_whole(id, false));
    directories.relink(id, &target("new"), Some(&rootfs)).unwrap();
    assert_eq!(fs::read_link(directories.fs(id)).unwrap(), target("new"));
    assert_eq!(fs::read_link(directories.rootfs(id)).unwrap(), rootfs);
    pending.keep();
    fs::create_dir(target("new")).unwrap();
    fs::write(target("new").join("precious"), "x").unwrap();
    directories.discard(id);
    directories.empty_trash();
    assert!(target("new").join("precious").exists());
}

#[test]
fn the_trash_may_hold_anything() {
    let (_root, directories) = open();
    let trash = directories.root.join(TRASH);
    // What an interrupted deletion of a deep tree has left, and a tree as deep as three of its rounds.
    fs::create_dir_all(trash.join("deep-1/x")).unwrap();
    fs::create_dir_all(trash.join("7").join("d/".repeat(200))).unwrap();
    fs::write(trash.join("file"), "x").unwrap();
    symlink("/", trash.join("link")).unwrap();
    directories.empty_trash();
    assert_eq!(fs::read_dir(trash).unwrap().count(), 0);
}

#[test]
fn one_process_per_root() {
    let (root, _directories) = open();
    assert!(matches!(Directories::open(root.path()), Err(Error::FailedPrecondition(_))));
}
