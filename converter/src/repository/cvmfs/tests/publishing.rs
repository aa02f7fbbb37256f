//! All or nothing, in one revision, beside other publishers.

use cvmfs_repository::catalog::MARKER;
use cvmfs_repository::entry::{Entry, EntryKind, Time};
use cvmfs_repository::path::TreePath;
use cvmfs_repository::publication::Edits;
use layer_layout::Digest;
use layer_layout::path::{self, ImageMetadata};

use super::Scene;
use super::tree_path;
use crate::repository::tests::describe::{dir, file, gone};
use crate::repository::tests::image::{chain_layer, flat, layer_metadata, prepare, public_name};
use crate::repository::tests::{Target, layerfs, rootfs, unpack};
use crate::repository::{Error, Published, Repository};

fn begins_catalog(scene: &Scene, path: &TreePath) -> bool {
    let directory = scene.newest().directory(path).unwrap().unwrap();
    directory.child(MARKER).unwrap().is_some_and(|child| child.marker)
}

fn revision(scene: &Scene) -> u64 {
    scene.newest().manifest().revision
}

#[test]
fn an_image_is_one_revision() {
    let scene = Scene::new();
    let transaction = scene.begin();
    prepare(&*transaction, "x");
    assert_eq!((scene.names(), revision(&scene)), (Vec::new(), 1));
    transaction.commit().unwrap();
    assert_eq!(revision(&scene), 2);
    assert_eq!(scene.names(), [".chains", ".flat", ".layers", ".metadata", "r.io"]);
    scene.assert_sound();

    let repository = &scene.repository;
    drop(scene.begin());
    for (path, expected) in [
        (layerfs("x"), Some(Published::Directory)),
        (layerfs("y"), None),
        (layer_metadata("x"), Some(Published::Other)),
        (chain_layer("x"), Some(Published::Symlink(chain_layer("x").link_to(&layerfs("x"))))),
    ] {
        assert_eq!(repository.lookup(&path).unwrap(), expected, "{path}");
    }
    assert_eq!(repository.read(&layer_metadata("x")).unwrap().unwrap(), b"{}");
    assert_eq!(repository.read(&layerfs("y")).unwrap(), None);
    assert_eq!(repository.name(), super::NAME);
}

#[test]
fn an_abandoned_change_leaves_nothing() {
    let scene = Scene::new();
    let transaction = scene.begin();
    prepare(&*transaction, "x");
    drop(transaction.layer_writer(&layerfs("y")).unwrap());
    drop(transaction);
    assert_eq!((scene.names(), revision(&scene)), (Vec::new(), 1));
}

#[test]
fn trees_are_kept_and_small_things_replaced() {
    let scene = Scene::new();
    for publish in 0..2 {
        let transaction = scene.begin();
        prepare(&*transaction, "x");
        transaction.commit().unwrap();
        assert_eq!(revision(&scene), 2, "{publish}: the same again is no revision");
    }
    let before = scene.tree(&layerfs("x"));
    let transaction = scene.begin();
    unpack(&*transaction, &layerfs("x"), &[file("other", "")]).unwrap();
    transaction.write_file(&layer_metadata("x"), b"[1]").unwrap();
    let link = path::public_link(&public_name("x"));
    transaction.symlink(&link, "elsewhere").unwrap();
    transaction.commit().unwrap();
    assert_eq!(revision(&scene), 3);
    drop(scene.begin());
    assert_eq!(scene.tree(&layerfs("x")), before);
    assert_eq!(scene.repository.read(&layer_metadata("x")).unwrap().unwrap(), b"[1]");
    let published = scene.repository.lookup(&link).unwrap();
    assert_eq!(published, Some(Published::Symlink("elsewhere".to_owned())));
    scene.assert_sound();
}

#[test]
fn a_published_layer_serves_another_merge() {
    let scene = Scene::new();
    let transaction = scene.begin();
    prepare(&*transaction, "x");
    transaction.commit().unwrap();
    let transaction = scene.begin();
    unpack(&*transaction, &layerfs("y"), &[dir(""), file("y", "y"), gone("f")]).unwrap();
    transaction.merge(&rootfs("y"), &[layerfs("y"), layerfs("x")]).unwrap();
    transaction.commit().unwrap();
    let names = |name| scene.tree(&rootfs(name)).into_keys().collect::<Vec<_>>();
    assert_eq!(names("x"), ["", "f", "s"]);
    assert_eq!(names("y"), ["", "s", "y"]);
    scene.assert_sound();
}

#[test]
fn catalogs_begin_at_trees_and_where_names_gather() {
    let scene = Scene::new();
    for name in ["x", "y"] {
        let transaction = scene.begin();
        prepare(&*transaction, name);
        transaction.commit().unwrap();
        let trees = [layerfs(name), rootfs(name), flat(name)];
        let gathering: Vec<_> = [
            chain_layer(name),
            layer_metadata(name),
            flat(name),
            path::public_link(&public_name(name)),
            path::image_metadata(&public_name(name), ImageMetadata::Manifest),
        ]
        .iter()
        .flat_map(path::catalog_roots)
        .collect();
        for path in trees.iter().chain(&gathering) {
            assert!(begins_catalog(&scene, &tree_path(path)), "{path}");
        }
    }
    scene.assert_sound();
}

#[test]
fn large_trees_are_split() {
    let scene = Scene::split_at(Some(20));
    let entries: Vec<_> = (0..100).map(|at| file(&format!("d{}/f{at:02}", at % 5), "x")).collect();
    let transaction = scene.begin();
    unpack(&*transaction, &layerfs("x"), &entries).unwrap();
    transaction.merge(&rootfs("x"), &[layerfs("x")]).unwrap();
    transaction.commit().unwrap();
    for path in [layerfs("x"), rootfs("x")] {
        assert!(begins_catalog(&scene, &tree_path(&path).join(b"d3")), "{path}");
        assert_eq!(scene.tree(&path).len(), 106);
    }
    scene.assert_sound();
}

#[test]
fn publishers_do_not_lose_each_others_images() {
    let scene = Scene::new();
    let (first, second) = (scene.begin(), scene.begin());
    prepare(&*first, "x");
    prepare(&*second, "y");
    first.commit().unwrap();
    second.commit().unwrap();
    assert_eq!(revision(&scene), 3);
    for name in ["x", "y"] {
        assert_eq!(scene.tree(&flat(name))["f"].content, name.as_bytes());
    }
    scene.assert_sound();
}

#[test]
fn who_comes_second_with_the_same_image_looks_again() {
    let scene = Scene::new();
    let (first, second) = (scene.begin(), scene.begin());
    prepare(&*first, "x");
    prepare(&*second, "x");
    second.write_file(&layer_metadata("x"), b"other").unwrap();
    first.commit().unwrap();
    let error = second.commit().unwrap_err();
    assert!(error.is_overtaken(), "{error:?}");
    assert_eq!(revision(&scene), 2);
}

#[test]
fn what_is_in_the_way_stops_a_commit() {
    let directory = Entry::directory(0o755, Time::default());
    let link = Entry { kind: EntryKind::Symlink(b"elsewhere".to_vec()), ..directory.clone() };
    let chain = path::chain(&Digest::of(b"x").into()).to_string();
    let cases: &[(&str, &Entry, &str)] = &[
        ("r.io/a:x", &directory, "Occupied"),
        ("r.io", &link, "Indirect"),
        (".layers", &link, "Indirect"),
        (&chain, &link, "Occupied"),
    ];
    for (path, obstacle, expected) in cases {
        let scene = Scene::new();
        let mut edits = Edits::default();
        let stratum0 = &scene.repository.stratum0;
        edits.put(&TreePath::parse(path.as_bytes()).unwrap(), (*obstacle).clone(), None);
        let session = stratum0.repository.begin().unwrap();
        stratum0.repository.publish(&edits, &stratum0.objects, &session).unwrap();

        let transaction = scene.begin();
        let link = path::public_link(&public_name("x"));
        if link.as_str() == *path {
            let error = transaction.symlink(&link, "x").unwrap_err();
            assert!(matches!(error, Error::Occupied { .. }), "{error:?}");
        }
        transaction.write_file(&link, b"").unwrap();
        transaction.write_file(&layer_metadata("x"), b"").unwrap();
        transaction.symlink(&chain_layer("x"), "x").unwrap();
        let error = transaction.commit().unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{path}: {error:?}");
        assert_eq!(revision(&scene), 2, "{path}");
    }
}
