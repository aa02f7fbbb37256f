//! What holds for a publisher without privileges.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use super::{CAPABILITY, TestDirectory, layerfs, names, rootfs, snapshot, unpack};
use crate::repository::tests::describe::{With, device, dir, file, gone, link, opaque, symlink};
use crate::repository::tests::user::{USER, as_ordinary_user};
use crate::repository::{Directory, Error, Repository};

/// Runs `f` as an ordinary user who owns the repository.
fn as_owner<T: Send>(scene: &TestDirectory, f: impl FnOnce() -> T + Send) -> T {
    chown(scene.path(), Some(USER), Some(USER)).unwrap();
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o700)).unwrap();
    as_user(scene, f)
}

/// Runs `f` as an ordinary user.
fn as_user<T: Send>(scene: &TestDirectory, f: impl FnOnce() -> T + Send) -> T {
    let all = fs::Permissions::from_mode(0o755);
    fs::set_permissions(scene.directory.path(), all).unwrap();
    as_ordinary_user(f)
}

#[test]
fn what_can_be_done_is_done_and_the_rest_is_told() {
    let scene = TestDirectory::new();
    let told = as_owner(&scene, || {
        let transaction = scene.begin();
        unpack(
            &*transaction,
            &layerfs("x"),
            &[
                dir("").mode(0o555),
                dir("d").mode(0),
                file("d/f", "x").mode(0).owner(USER, USER),
                file("suid", "x").mode(0o6755),
                file("own", "x").mode(0o4755).owner(USER, USER).xattr("user.a", b"1"),
                file("cap", "x").xattr("security.capability", CAPABILITY).xattr("trusted.t", b"1"),
                symlink("s", "x").owner(USER, USER),
                link("d/g", "d/f"),
                device("null", 1, 3),
                gone("w"),
                dir("o"),
                opaque("o"),
            ],
        )
        .unwrap();
        transaction.merge(&rootfs("x"), &[layerfs("x")]).unwrap();
        drop(transaction.share(&rootfs("y"), Some(&rootfs("x"))).unwrap());
        let told = transaction.shortfalls();
        transaction.commit().unwrap();
        told
    });
    assert_eq!(
        told,
        [
            "5 names have your user and group instead of their own",
            "1 of them lost their setuid or setgid bit",
            "1 device nodes are missing",
            "1 names lack the extended attribute security.capability",
            "1 names lack the extended attribute trusted.t",
        ]
    );
    let layer = snapshot::of(&scene.host(&layerfs("x")));
    assert_eq!((layer["suid"].mode, layer["own"].mode), (0o100_755, 0o104_755));
    assert_eq!((layer["w"].mode, layer["w"].rdev), (0o020_000, 0));
    assert_eq!(layer["o"].xattrs[b"user.overlay.opaque".as_slice()], b"y");
    assert!(!layer.contains_key("null"));
    for path in [layerfs("x"), rootfs("x"), rootfs("y")] {
        let tree = snapshot::of(&scene.host(&path));
        assert_eq!((tree[""].mode, tree["d"].mode), (0o040_555, 0o040_000), "{path}");
        assert_eq!(tree["d/f"].mode, 0o100_000, "{path}");
        assert_eq!(tree["d/g"].group, "d/f", "{path}");
        assert_eq!(fs::metadata(scene.host(&path).join("d/f")).unwrap().nlink(), 6, "{path}");
    }
    assert_eq!(names(&scene.path()), [".chains", ".layers"]);
}

#[test]
fn a_published_layer_serves_another_merge() {
    let scene = TestDirectory::new();
    let layers = as_owner(&scene, || {
        let entries = [dir("").mode(0o500), dir("d").mode(0o100), dir("d/e"), file("d/e/f", "x")];
        scene.publish(&[&entries])
    });
    let before = snapshot::of(&scene.path());
    as_owner(&scene, || scene.begin().merge(&rootfs("x"), &layers).unwrap());
    let mut after = snapshot::of(&scene.path());
    after.insert(String::new(), before[""].clone());
    snapshot::assert_same(&before, &after, "modes that were in the way are restored");
}

#[test]
fn closed_trees_are_replaced_and_removed() {
    let scene = TestDirectory::new();
    let closed = |content| [dir("").mode(0o555), dir("d").mode(0), file("d/f", content).mode(0)];
    as_owner(&scene, || {
        let transaction = scene.begin();
        unpack(&*transaction, &layerfs("x"), &closed("old")).unwrap();
        unpack(&*transaction, &layerfs("y"), &closed("gone")).unwrap();
        transaction.publish(&[layerfs("x"), layerfs("y")]).unwrap();
        transaction.replace(&layerfs("x")).unwrap();
        unpack(&*transaction, &layerfs("x"), &closed("new")).unwrap();
        unpack(&*transaction, &layerfs("z"), &closed("withdrawn")).unwrap();
        transaction.withdraw(&layerfs("z")).unwrap();
        transaction.remove(&layerfs("y").unit()).unwrap();
        transaction.publish(&[layerfs("x"), layerfs("y").unit()]).unwrap();
        assert_eq!(names(&scene.path().join(".ducc/removed")), [""; 0]);
        transaction.commit().unwrap();
    });
    let tree = snapshot::of(&scene.host(&layerfs("x")));
    assert_eq!((tree[""].mode, tree["d"].mode), (0o040_555, 0o040_000));
    assert_eq!(tree["d/f"].content, b"new");
    assert!(!scene.host(&layerfs("y").unit()).exists());
    assert_eq!(names(&scene.path()), [".layers"]);
}

#[test]
fn a_repository_of_somebody_else_is_an_error_that_says_so() {
    let scene = TestDirectory::new();
    let (error, text) = as_user(&scene, || {
        let repository = Directory::open(&scene.path(), None).unwrap();
        let error = repository.begin(&mut |_| true).map(drop).unwrap_err();
        let text = error.to_string();
        (error, text)
    });
    assert!(matches!(error, Error::System { .. }), "{error:?}");
    assert!(error.to_string().contains("not even root"), "it would be another matter for root");
    assert!(text.contains(".ducc") && text.contains("user who owns the repository"), "{text}");
}
