//! All or nothing: what is visible when, and what is left of a publisher that failed or was killed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink as make_symlink};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use layer_layout::path::{self, ImageMetadata, LayerMetadata};
use layer_layout::{Digest, PublicName, RepositoryPath};

use super::{TestDirectory, layerfs, names, rootfs, unpack};
use crate::repository::tests::describe::{With, dir, file};
use crate::repository::{Directory, Error, Published, Repository, Transaction};

fn public_name() -> PublicName {
    "r.io/a:1".parse().unwrap()
}

fn flat() -> RepositoryPath {
    path::flat(&Digest::of(b"config").into())
}

fn layer_metadata() -> RepositoryPath {
    path::layer_metadata(&Digest::of(b"x").into(), LayerMetadata::Layers)
}

fn chain_layer() -> RepositoryPath {
    path::chain_layer(&Digest::of(b"x").into())
}

/// Prepares an image of one layer. Its root forbids its owner to write, which makes it hard to move.
pub(super) fn prepare(transaction: &dyn Transaction) {
    let (layer, name) = (layerfs("x"), public_name());
    unpack(transaction, &layer, &[dir("").mode(0o555), file("f", "content")]).unwrap();
    transaction.write_file(&layer_metadata(), b"{}").unwrap();
    transaction.symlink(&chain_layer(), &chain_layer().link_to(&layer)).unwrap();
    transaction.merge(&rootfs("x"), &[layer]).unwrap();
    drop(transaction.share(&flat(), Some(&rootfs("x"))).unwrap());
    let manifest = path::image_metadata(&name, ImageMetadata::Manifest);
    transaction.write_file(&manifest, b"[]").unwrap();
    let link = path::public_link(&name);
    transaction.symlink(&link, &link.link_to(&flat())).unwrap();
}

#[test]
fn an_image_appears_as_a_whole() {
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    prepare(&*transaction);
    assert_eq!(names(&scene.path()), [".ducc"]);
    transaction.commit().unwrap();
    assert_eq!(names(&scene.path()), [".chains", ".flat", ".layers", ".metadata", "r.io"]);
    let read = |path: &str| fs::read_to_string(scene.path().join(path)).unwrap();
    assert_eq!(read("r.io/a:1/f"), "content");
    assert_eq!(fs::read(scene.host(&chain_layer()).join("f")).unwrap(), b"content");
    for path in [layerfs("x"), rootfs("x"), flat()] {
        assert_eq!(fs::metadata(scene.host(&path)).unwrap().mode() & 0o7777, 0o555, "{path}");
        assert_eq!(fs::metadata(scene.host(&path).join("f")).unwrap().nlink(), 3, "{path}");
    }
    let repository = scene.open();
    for (path, expected) in [
        (layerfs("x"), Some(Published::Directory)),
        (layerfs("y"), None),
        (layer_metadata(), Some(Published::Other)),
        (chain_layer(), Some(Published::Symlink(chain_layer().link_to(&layerfs("x"))))),
    ] {
        assert_eq!(repository.lookup(&path).unwrap(), expected, "{path}");
    }
    assert_eq!(repository.read(&layer_metadata()).unwrap().unwrap(), b"{}");
    assert_eq!(repository.read(&layerfs("y")).unwrap(), None);
}

#[test]
fn an_abandoned_transaction_leaves_nothing() {
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    prepare(&*transaction);
    drop(transaction);
    assert_eq!(names(&scene.path()), [""; 0]);
}

#[test]
fn what_a_killed_publisher_had_prepared_is_removed() {
    let scene = TestDirectory::new();
    for leftover in ["staging/.layers/closed", "staging/deep/er", "staging"] {
        fs::create_dir_all(scene.path().join(".ducc").join(leftover)).unwrap();
    }
    let closed = scene.path().join(".ducc/staging/.layers/closed");
    fs::set_permissions(closed, fs::Permissions::from_mode(0o0)).unwrap();
    fs::write(scene.path().join(".ducc/lock"), "1 elsewhere\n").unwrap();
    fs::write(scene.path().join(".ducc/journal.json.new"), "[{\"pa").unwrap();
    drop(scene.begin());
    assert_eq!(names(&scene.path()), [""; 0]);
}

#[test]
fn a_damaged_journal_is_left_for_people() {
    for journal in ["", "{}", r#"[{"path":"../x"}]"#, r#"[{"path":"/etc"}]"#, r#"[{"path":""}]"#] {
        let scene = TestDirectory::new();
        fs::create_dir_all(scene.path().join(".ducc/staging/x")).unwrap();
        fs::write(scene.path().join(".ducc/journal.json"), journal).unwrap();
        let begun = scene.open().begin(&mut |_| true).map(drop);
        assert!(matches!(begun, Err(Error::Journal { .. })), "{journal}: {begun:?}");
        assert_eq!(names(&scene.path().join(".ducc")), ["journal.json", "staging"]);
    }
}

#[test]
fn trees_are_kept_and_small_things_replaced() {
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    prepare(&*transaction);
    transaction.commit().unwrap();
    let inode = |path: &RepositoryPath| fs::symlink_metadata(scene.host(path)).unwrap().ino();
    let trees = [layerfs("x"), rootfs("x"), flat()];
    let before = trees.each_ref().map(inode);

    let transaction = scene.begin();
    prepare(&*transaction);
    transaction.write_file(&layer_metadata(), b"[1]").unwrap();
    let link = path::public_link(&public_name());
    transaction.symlink(&link, "elsewhere").unwrap();
    transaction.commit().unwrap();
    assert_eq!(trees.each_ref().map(inode), before);
    assert_eq!(fs::read(scene.host(&layer_metadata())).unwrap(), b"[1]");
    assert_eq!(fs::read_link(scene.host(&link)).unwrap(), Path::new("elsewhere"));
    assert_eq!(names(&scene.path()), [".chains", ".flat", ".layers", ".metadata", "r.io"]);
}

#[test]
fn a_later_image_adds_to_a_known_chain() {
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    unpack(&*transaction, &layerfs("x"), &[dir("")]).unwrap();
    transaction.symlink(&chain_layer(), &chain_layer().link_to(&layerfs("x"))).unwrap();
    transaction.commit().unwrap();
    let transaction = scene.begin();
    transaction.merge(&rootfs("x"), &[layerfs("x")]).unwrap();
    transaction.commit().unwrap();
    assert_eq!(names(scene.host(&rootfs("x")).parent().unwrap()), ["layer", "rootfs"]);
}

#[test]
fn what_is_in_the_way_stops_a_commit_before_it_begins() {
    let elsewhere = tempfile::tempdir().unwrap();
    let link = path::public_link(&public_name());
    type Obstacle<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let cases: &[Obstacle<'_>] = &[
        (
            "a directory for the name",
            &|r| fs::create_dir_all(r.join("r.io/a:1")).unwrap(),
            "Occupied",
        ),
        ("a file for a parent", &|r| fs::write(r.join("r.io"), "").unwrap(), "Indirect"),
        (
            "a symlink for a parent",
            &|r| make_symlink(elsewhere.path(), r.join("r.io")).unwrap(),
            "Indirect",
        ),
        (
            "a symlink for the layers",
            &|r| make_symlink(elsewhere.path(), r.join(".layers")).unwrap(),
            "Indirect",
        ),
        (
            "a file for a chain",
            &|r| {
                let chain = r.join(path::chain(&Digest::of(b"x").into()));
                fs::create_dir_all(chain.parent().unwrap()).unwrap();
                fs::write(chain, "").unwrap();
            },
            "Occupied",
        ),
    ];
    for (case, obstruct, expected) in cases {
        let scene = TestDirectory::new();
        let transaction = scene.begin();
        prepare(&*transaction);
        obstruct(&scene.path());
        let before: Vec<_> =
            names(&scene.path()).into_iter().filter(|name| name != ".ducc").collect();
        let error = transaction.commit().unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{case}: {error:?}");
        assert_eq!(names(&scene.path()), before, "{case}");
        assert_eq!(names(elsewhere.path()), [""; 0], "{case}");
    }
    let scene = TestDirectory::new();
    fs::create_dir_all(scene.host(&link)).unwrap();
    let error = scene.begin().symlink(&link, "x").unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error:?}");
}

#[test]
fn publishers_wait_for_each_other() {
    let scene = TestDirectory::new();
    let first = scene.begin();
    prepare(&*first);
    let (told, tell) = mpsc::channel();
    let path = scene.path();
    let second = std::thread::spawn(move || {
        let repository = Directory::open(&path, None).unwrap();
        let mut wait = |text: &str| {
            told.send(text.to_owned()).unwrap();
            true
        };
        let transaction = repository.begin(&mut wait).unwrap();
        let seen = path.join("r.io/a:1/f").exists();
        drop(transaction);
        seen
    });
    let text = tell.recv_timeout(Duration::from_secs(10)).unwrap();
    let pid = format!("(pid {} on ", std::process::id());
    assert!(text.contains(&pid) && text.contains("is publishing into"), "{text}");
    assert!(text.contains(scene.path().to_str().unwrap()), "{text}");
    first.commit().unwrap();
    assert!(second.join().unwrap(), "the second begins when the first has published");
    assert_eq!(names(&scene.path()), [".chains", ".flat", ".layers", ".metadata", "r.io"]);
}

#[test]
fn many_publishers_leave_no_lock_behind() {
    let scene = TestDirectory::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    drop(scene.open().begin(&mut |_| true).unwrap());
                }
            });
        }
    });
    assert_eq!(names(&scene.path()), [""; 0]);
}

#[test]
fn a_full_file_system_leaves_the_repository_as_it_was() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let scene = TestDirectory::new();
    mount("tmpfs", scene.path(), "tmpfs", MountFlags::empty(), Some(c"size=64k")).unwrap();
    let transaction = scene.begin();
    let error = unpack(&*transaction, &layerfs("x"), &[file("big", &"x".repeat(100_000))]);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("/big (the file system is full"), "{text}");
    drop(transaction);
    let left = names(&scene.path());
    unmount(scene.path(), UnmountFlags::DETACH).unwrap();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_part_on_another_file_system_is_told_before_anything_moves() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let scene = TestDirectory::new();
    let flats = scene.host(&flat()).parent().unwrap().parent().unwrap().to_owned();
    fs::create_dir(&flats).unwrap();
    mount("tmpfs", &flats, "tmpfs", MountFlags::empty(), None).unwrap();
    let transaction = scene.begin();
    prepare(&*transaction);
    let error = transaction.commit().unwrap_err();
    unmount(&flats, UnmountFlags::DETACH).unwrap();
    assert!(matches!(error, Error::OtherFileSystem { .. }), "{error:?}");
    assert_eq!(names(&scene.path()), [".flat"]);
}

#[test]
fn a_repository_must_be_there() {
    let scene = TestDirectory::new();
    let open = |name: &str| Directory::open(&scene.directory.path().join(name), None);
    assert!(matches!(open("absent"), Err(Error::NoSuchRepository(_))));
    fs::write(scene.directory.path().join("file"), "").unwrap();
    assert!(matches!(open("file"), Err(Error::NotADirectory(_))));
    assert_eq!(open("repository").unwrap().name(), "repository");
    assert_eq!(Directory::open(&scene.path(), Some("r.cern.ch")).unwrap().name(), "r.cern.ch");
}

#[test]
fn who_does_not_want_to_wait_is_told() {
    let scene = TestDirectory::new();
    let other = scene.begin();
    let begun = scene.open().begin(&mut |_| false).map(drop);
    assert!(matches!(&begun, Err(Error::Busy(text)) if text.contains("pid")), "{begun:?}");
    drop(other);
    assert!(scene.open().begin(&mut |_| false).is_ok());
}
