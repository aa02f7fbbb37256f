//! Publishing some of what is prepared, and going on.

use layer_layout::RepositoryPath;

use super::describe::{dir, file};
use super::image::{
    chain_layer, flat, layer_metadata, manifest, paths, prepare, prepare_trees, public_link,
};
use super::{Target, layerfs, rootfs, unpack};
use crate::repository::{Error, Published};

fn is_published(place: &impl Target, path: &RepositoryPath) -> bool {
    place.repository().lookup(path).unwrap().is_some()
}

pub(in crate::repository) fn what_is_named_appears_and_the_rest_waits<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let [x, y] = ["x", "y"].map(|name| prepare(&*transaction, name));
    transaction.publish(&x).unwrap();
    for path in &x {
        assert!(is_published(&place, path), "{path}");
        assert!(transaction.lookup(path).unwrap().is_some(), "{path}");
    }
    for path in &y {
        assert!(!is_published(&place, path), "{path}");
        assert!(transaction.lookup(path).unwrap().is_some(), "{path}");
    }
    assert_eq!(place.tree(&flat("x"))["f"].content, b"x");

    // The same transaction goes on, on what it has published.
    transaction.merge(&rootfs("z"), &[layerfs("y"), layerfs("x")]).unwrap();
    let manifests = [manifest("y"), public_link("y")];
    let trees: Vec<_> = y.iter().filter(|path| !manifests.contains(path)).cloned().collect();
    transaction.publish(&trees).unwrap();
    assert!(is_published(&place, &layerfs("y")) && !is_published(&place, &public_link("y")));
    transaction.commit().unwrap();
    assert!(is_published(&place, &public_link("y")));
    assert_eq!(place.tree(&rootfs("z"))["f"].content, b"y");
    place.assert_sound();
}

pub(in crate::repository) fn naming_what_is_there_already_changes_nothing<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let x = prepare(&*transaction, "x");
    transaction.publish(&x).unwrap();
    transaction.publish(&x).unwrap();
    unpack(&*transaction, &layerfs("x"), &[file("other", "")]).unwrap();
    transaction.publish(&x).unwrap();
    assert!(!place.tree(&layerfs("x")).contains_key("other"), "what is there is equivalent");
    drop(transaction);
    assert_eq!(place.tree(&layerfs("x"))["f"].content, b"x");
    place.assert_sound();
}

pub(in crate::repository) fn a_path_of_which_nothing_is_known_is_refused<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let x = prepare(&*transaction, "x");
    let unfinished = transaction.layer_writer(&layerfs("y")).unwrap();
    for unknown in [layerfs("y"), layerfs("z")] {
        let paths: Vec<_> = x.iter().chain([&unknown]).cloned().collect();
        let error = transaction.publish(&paths).unwrap_err();
        assert!(matches!(&error, Error::NoTree(path) if *path == unknown), "{error:?}");
        assert!(!is_published(&place, &layerfs("x")), "all or nothing");
    }
    drop(unfinished);
    transaction.publish(&x).unwrap();
    assert!(is_published(&place, &layerfs("x")));
}

pub(in crate::repository) fn what_is_withdrawn_does_not_appear<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let [x, y] = ["x", "y"].map(|name| prepare(&*transaction, name));
    for path in &y {
        transaction.withdraw(path).unwrap();
        assert_eq!(transaction.lookup(path).unwrap(), None, "{path}");
    }
    let error = transaction.merge(&rootfs("z"), &[layerfs("y")]).unwrap_err();
    assert!(matches!(error, Error::NoTree(_)), "{error:?}");
    transaction.withdraw(&rootfs("never prepared")).unwrap();

    // What is withdrawn may be prepared again, and what still unpacks it counts no more.
    let late = transaction.layer_writer(&layerfs("y")).unwrap();
    transaction.withdraw(&layerfs("y")).unwrap();
    unpack(&*transaction, &layerfs("y"), &[file("again", "")]).unwrap();
    drop(late.finish());
    transaction.publish(&x).unwrap();
    assert!(!is_published(&place, &layerfs("y")));
    transaction.commit().unwrap();
    for path in &y {
        assert_eq!(is_published(&place, path), *path == layerfs("y"), "{path}");
    }
    let names: Vec<_> = place.tree(&layerfs("y")).into_keys().collect();
    assert_eq!(names, ["", "again"]);
    place.assert_sound();
}

pub(in crate::repository) fn a_transaction_sees_what_it_has_prepared<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let x = prepare(&*transaction, "x");
    transaction.publish(&x).unwrap();
    prepare(&*transaction, "y");
    transaction.write_file(&layer_metadata("x"), b"[1]").unwrap();
    transaction.remove(&manifest("x")).unwrap();
    transaction.remove(&public_link("x")).unwrap();
    transaction.symlink(&public_link("x"), "elsewhere").unwrap();
    let directory = Some(Published::Directory);
    let link = |target: &str| Some(Published::Symlink(target.to_owned()));
    let below = |path: &RepositoryPath, name| RepositoryPath::of_name(Some(path), name).unwrap();
    for (path, expected) in [
        (layerfs("x"), directory.clone()),
        (layerfs("y"), directory.clone()),
        (layerfs("z"), None),
        (layerfs("y").unit(), directory.clone()),
        (manifest("x"), None),
        (manifest("y"), Some(Published::Other)),
        (below(&layerfs("y"), "f"), Some(Published::Other)),
        (below(&layerfs("y"), "s"), link("f")),
        (below(&layerfs("y"), "no"), None),
        (below(&below(&layerfs("y"), "no"), "f"), None),
        (below(&flat("y"), "f"), Some(Published::Other)),
        (public_link("x"), link("elsewhere")),
        (chain_layer("y"), link(&chain_layer("y").link_to(&layerfs("y")))),
    ] {
        assert_eq!(transaction.lookup(&path).unwrap(), expected, "{path}");
    }
    for (path, expected) in [
        (layer_metadata("x"), Some("[1]")),
        (layer_metadata("y"), Some("{}")),
        (layer_metadata("z"), None),
        (manifest("x"), None),
        (manifest("y"), Some("[]")),
        (below(&layerfs("y"), "f"), Some("y")),
    ] {
        let content = transaction.read(&path).unwrap();
        assert_eq!(content.as_deref(), expected.map(str::as_bytes), "{path}");
        let published = place.repository().read(&path).unwrap();
        let before = if path == layer_metadata("x") { Some(&b"{}"[..]) } else { None };
        let before = if path == manifest("x") { Some(&b"[]"[..]) } else { before };
        assert_eq!(published.as_deref(), before, "{path}");
    }
    let error = transaction.read(&layerfs("y")).unwrap_err();
    assert!(!error.is_overtaken(), "{error:?}");
    transaction.commit().unwrap();
    assert_eq!(place.repository().read(&layer_metadata("x")).unwrap().unwrap(), b"[1]");
    assert_eq!(place.repository().lookup(&manifest("x")).unwrap(), None);
    assert_eq!(place.repository().lookup(&public_link("x")).unwrap(), link("elsewhere"));
    place.assert_sound();
}

pub(in crate::repository) fn threads_prepare_while_others_publish<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let names: Vec<_> = (0..12).map(|number| format!("image-{number}")).collect();
    std::thread::scope(|scope| {
        for names in names.chunks(3) {
            let transaction = &transaction;
            scope.spawn(move || {
                for name in names {
                    let paths = prepare(&**transaction, name);
                    transaction.publish(&paths).unwrap();
                }
            });
        }
    });
    transaction.commit().unwrap();
    for name in &names {
        assert_eq!(place.tree(&flat(name))["f"].content, name.as_bytes());
        for path in paths(name) {
            assert!(is_published(&place, &path), "{path}");
        }
    }
    place.assert_sound();
}

pub(in crate::repository) fn small_things_are_forgotten_by_a_rebase_and_trees_kept<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    transaction.publish(&prepare(&*transaction, "x")).unwrap();
    prepare(&*transaction, "y");
    transaction.remove(&public_link("x")).unwrap();
    transaction.rely_on(&layerfs("x")).unwrap();
    transaction.require_unchanged().unwrap();
    transaction.rebase().unwrap();
    let trees = [layerfs("y"), rootfs("y"), flat("y")];
    for path in paths("y") {
        let is_tree = trees.contains(&path);
        assert_eq!(transaction.lookup(&path).unwrap().is_some(), is_tree, "{path}");
    }
    assert!(transaction.lookup(&public_link("x")).unwrap().is_some(), "it is not removed");
    transaction.write_file(&manifest("y"), b"again").unwrap();
    transaction.commit().unwrap();
    assert_eq!(place.repository().read(&manifest("y")).unwrap().unwrap(), b"again");
    assert!(is_published(&place, &public_link("x")) && !is_published(&place, &public_link("y")));
    assert_eq!(place.tree(&flat("y"))["f"].content, b"y");
    place.assert_sound();
}

pub(in crate::repository) fn what_is_relied_on_has_to_be_there<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let error = transaction.rely_on(&layerfs("x")).unwrap_err();
    assert!(error.is_overtaken() && !error.is_collected(), "{error:?}");

    // What is only prepared has to come along.
    unpack(&*transaction, &layerfs("x"), &[dir("")]).unwrap();
    transaction.rely_on(&layerfs("x")).unwrap();
    transaction.write_file(&manifest("x"), b"").unwrap();
    transaction.withdraw(&layerfs("x")).unwrap();
    let error = transaction.publish(&[manifest("x")]).unwrap_err();
    assert!(error.is_overtaken(), "{error:?}");
    assert!(!is_published(&place, &manifest("x")));

    transaction.rebase().unwrap();
    prepare_trees(&*transaction, "x");
    transaction.rely_on(&layerfs("x")).unwrap();
    transaction.write_file(&manifest("x"), b"").unwrap();
    transaction.publish(&[layerfs("x"), manifest("x")]).unwrap();
    transaction.write_file(&manifest("y"), b"").unwrap();
    transaction.publish(&[manifest("y")]).unwrap();

    // What the transaction itself removes is not relied on any more.
    transaction.remove(&layerfs("x")).unwrap();
    assert!(transaction.rely_on(&layerfs("x")).unwrap_err().is_overtaken());
    transaction.commit().unwrap();
    assert!(!is_published(&place, &layerfs("x")));
    place.assert_sound();
}
