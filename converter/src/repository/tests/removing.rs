//! Removing what is published, and putting something else in its place.

use layer_layout::RepositoryPath;

use super::describe::{With, dir, file, link};
use super::image::{flat, layer_metadata, manifest, prepare, public_link, removal};
use super::{Target, layerfs, rootfs, unpack};
use crate::repository::{Error, Published};

fn published(place: &impl Target, path: &RepositoryPath) -> Option<Published> {
    place.repository().lookup(path).unwrap()
}

fn below(path: &RepositoryPath, name: &str) -> RepositoryPath {
    RepositoryPath::of_name(Some(path), name).unwrap()
}

pub(in crate::repository) fn what_is_removed_goes_with_the_publish_that_names_it<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    for name in ["x", "y"] {
        transaction.publish(&prepare(&*transaction, name)).unwrap();
    }
    let before = place.tree(&flat("y"));
    for path in removal("x").iter().chain(&removal("y")) {
        transaction.remove(path).unwrap();
        assert_eq!(transaction.lookup(path).unwrap(), None, "{path}");
        assert!(published(&place, path).is_some(), "{path}");
    }
    let error = transaction.merge(&rootfs("z"), &[layerfs("x")]).unwrap_err();
    assert!(matches!(error, Error::NoTree(_)), "{error:?}");
    transaction.publish(&removal("x")).unwrap();
    for path in removal("x") {
        assert_eq!(published(&place, &path), None, "{path}");
    }
    for path in removal("y") {
        assert!(published(&place, &path).is_some(), "{path}");
    }
    super::snapshot::assert_same(&place.tree(&flat("y")), &before, "the other image");
    // What is gone may be removed again.
    for path in removal("x") {
        transaction.remove(&path).unwrap();
    }
    transaction.publish(&removal("x")).unwrap();
    drop(transaction);
    place.assert_sound();

    let transaction = place.begin();
    assert!(published(&place, &public_link("y")).is_some(), "it was not named");
    removal("y").iter().for_each(|path| transaction.remove(path).unwrap());
    transaction.commit().unwrap();
    for path in removal("y") {
        assert_eq!(published(&place, &path), None, "{path}");
    }
    place.assert_sound();
}

pub(in crate::repository) fn directories_that_are_empty_then_go_too<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let path = |text| RepositoryPath::parse(text).unwrap();
    let links = ["r.io/org/team/a:1", "r.io/org/b:1", ".metadata/r.io/org/a:1/manifest.json"];
    let links = links.map(path);
    for link in &links {
        transaction.write_file(link, b"").unwrap();
    }
    transaction.publish(&links).unwrap();
    for (removed, gone, left) in [
        (&links[0], Some("r.io/org/team"), "r.io/org/b:1"),
        (&links[1], Some("r.io/org"), ".metadata"),
        (&links[2], Some(".metadata/r.io/org"), ".metadata"),
    ] {
        transaction.remove(removed).unwrap();
        transaction.publish(std::slice::from_ref(removed)).unwrap();
        for gone in gone.into_iter().map(path).chain([removed.clone()]) {
            assert_eq!(published(&place, &gone), None, "{gone}");
        }
        assert!(published(&place, &path(left)).is_some(), "{left}");
    }
    drop(transaction);
    place.assert_sound();
}

pub(in crate::repository) fn a_replaced_tree_has_one_name_and_other_content<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    transaction.publish(&prepare(&*transaction, "x")).unwrap();
    transaction.replace(&layerfs("x")).unwrap();
    let entries = [dir("").mode(0o555), file("f", "repaired").mode(0o4755)];
    unpack(&*transaction, &layerfs("x"), &entries).unwrap();
    // Roots are made from the new one.
    for path in [rootfs("x"), flat("x")] {
        transaction.merge(&path, &[layerfs("x")]).unwrap();
        transaction.replace(&path).unwrap();
    }
    assert_eq!(place.tree(&layerfs("x"))["f"].content, b"x");
    let f = below(&layerfs("x"), "f");
    assert_eq!(transaction.read(&f).unwrap().unwrap(), b"repaired");
    let trees = [layerfs("x"), rootfs("x"), flat("x")];
    transaction.publish(&trees).unwrap();
    for path in &trees {
        let tree = place.tree(path);
        assert_eq!(tree["f"].content, b"repaired", "{path}");
        assert_eq!((tree[""].mode, tree["f"].mode), (0o040_555, 0o104_755), "{path}");
        assert!(!tree.contains_key("s"), "{path}");
    }
    assert_eq!(place.repository().read(&layer_metadata("x")).unwrap().unwrap(), b"{}");
    // From now on it is as any other.
    unpack(&*transaction, &layerfs("x"), &[file("other", "")]).unwrap();
    transaction.commit().unwrap();
    assert!(!place.tree(&layerfs("x")).contains_key("other"));
    place.assert_sound();
}

pub(in crate::repository) fn what_is_removed_and_prepared_again_is_new<T: Target>() {
    for whole in [true, false] {
        let place = T::new();
        let transaction = place.begin();
        transaction.publish(&prepare(&*transaction, "x")).unwrap();
        let unit = layerfs("x").unit();
        // A link whose place a directory has taken, and a directory whose place a file takes.
        transaction.remove(&public_link("x")).unwrap();
        unpack(&*transaction, &public_link("x"), &[file("f", "tree")]).unwrap();
        transaction.remove(&flat("x")).unwrap();
        transaction.symlink(&flat("x"), "elsewhere").unwrap();
        transaction.remove(&unit).unwrap();
        unpack(&*transaction, &layerfs("x"), &[file("f", "new")]).unwrap();
        if !whole {
            transaction.write_file(&layer_metadata("x"), b"not yet").unwrap();
        }
        assert_eq!(transaction.lookup(&unit).unwrap(), Some(Published::Directory));
        assert_eq!(place.tree(&layerfs("x"))["f"].content, b"x");
        let paths = [unit, layerfs("x"), public_link("x"), flat("x")];
        transaction.publish(&paths).unwrap();
        assert_eq!(place.tree(&layerfs("x"))["f"].content, b"new");
        assert_eq!(published(&place, &layer_metadata("x")), None, "whole: {whole}");
        assert_eq!(place.tree(&public_link("x"))["f"].content, b"tree");
        let link = Some(Published::Symlink("elsewhere".to_owned()));
        assert_eq!(published(&place, &flat("x")), link);
        transaction.commit().unwrap();
        assert_eq!(published(&place, &layer_metadata("x")).is_some(), !whole);
        place.assert_sound();
    }
}

pub(in crate::repository) fn a_tag_moves_at_once<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    for name in ["x", "y"] {
        transaction.publish(&prepare(&*transaction, name)).unwrap();
    }
    let link = public_link("x");
    let target = link.link_to(&flat("y"));
    transaction.symlink(&link, &target).unwrap();
    transaction.remove(&flat("x")).unwrap();
    transaction.remove(&manifest("y")).unwrap();
    transaction.publish(&[link.clone(), flat("x"), manifest("y")]).unwrap();
    assert_eq!(published(&place, &link), Some(Published::Symlink(target)));
    assert_eq!(published(&place, &flat("x")), None);
    assert_eq!(published(&place, &manifest("y")), None);
    drop(transaction);
    place.assert_sound();
}

pub(in crate::repository) fn the_bytes_that_removing_would_free_are_known<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let contents = [file("d/one", "12345"), file("two", "123"), link("d/uno", "d/one")];
    unpack(&*transaction, &layerfs("x"), &contents).unwrap();
    transaction.merge(&rootfs("x"), &[layerfs("x")]).unwrap();
    transaction.write_file(&layer_metadata("x"), b"1234567").unwrap();
    transaction.symlink(&public_link("x"), "elsewhere").unwrap();
    transaction.commit().unwrap();
    let bytes = |paths: &[RepositoryPath]| place.repository().content_bytes(paths).unwrap();
    // Of a file with names in several trees, all have to go.
    let [alone, together, two] = if T::SHARES_FILES { [0, 8, 3] } else { [13, 26, 6] };
    let (layer, root) = (layerfs("x"), rootfs("x"));
    for (paths, expected) in [
        (vec![], 0),
        (vec![layerfs("absent")], 0),
        (vec![public_link("x")], 0),
        (vec![layer_metadata("x")], 7),
        (vec![layer.clone()], alone),
        (vec![layer.clone(), root.clone()], together),
        (vec![layer.unit(), layer.clone(), root.clone()], together + 7),
        (vec![below(&layer, "two"), below(&root, "two")], two),
    ] {
        assert_eq!(bytes(&paths), expected, "{paths:?}");
    }
}
