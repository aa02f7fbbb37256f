//! Beside other publishers and collectors: what is relied on, what is overtaken, and what a rebase keeps.

use std::sync::Arc;
use std::time::Duration;

use cvmfs_repository::collector::{Retention, collect};
use cvmfs_repository::entry::Content;
use cvmfs_repository::hash::ObjectKind;
use layer_layout::RepositoryPath;

use super::super::Cvmfs;
use super::super::latest::Latest;
use super::Scene;
use crate::repository::tests::describe::{dir, file};
use crate::repository::tests::image::{
    flat, layer_metadata, manifest, paths, prepare, prepare_names, prepare_trees, public_link,
    removal,
};
use crate::repository::tests::{Target, layerfs, rootfs, unpack};
use crate::repository::{Published, Repository, Stratum0};

impl Scene {
    fn revision(&self) -> u64 {
        self.newest().manifest().revision
    }

    /// How often an object was put so far, or would have been if it had not been there.
    fn put(&self) -> u64 {
        let statistics = self.repository.stratum0.objects.statistics();
        statistics.put + statistics.found
    }

    fn with_images(names: &[&str]) -> Self {
        let scene = Self::new();
        let transaction = scene.begin();
        names.iter().for_each(|name| drop(prepare(&*transaction, name)));
        transaction.commit().unwrap();
        scene
    }

    /// Removes an image as a collector does.
    fn collect(&self, name: &str) {
        let collector = self.begin();
        collector.require_unchanged().unwrap();
        removal(name).iter().for_each(|path| collector.remove(path).unwrap());
        collector.publish(&removal(name)).unwrap();
    }

    fn is_there(&self, path: &RepositoryPath) -> bool {
        self.repository.refresh().unwrap();
        self.repository.lookup(path).unwrap().is_some()
    }
}

fn trees(name: &str) -> [RepositoryPath; 3] {
    [layerfs(name), rootfs(name), flat(name)]
}

#[test]
fn a_batch_is_one_revision_whatever_is_in_it() {
    let scene = Scene::with_images(&["a", "b", "c"]);
    assert_eq!(scene.revision(), 2);
    let transaction = scene.begin();
    let images = ["x", "y"].map(|name| prepare(&*transaction, name)).concat();
    let mut batch = images.clone();
    for path in removal("a") {
        transaction.remove(&path).unwrap();
        batch.push(path);
    }
    transaction.replace(&layerfs("b")).unwrap();
    unpack(&*transaction, &layerfs("b"), &[dir(""), file("f", "better")]).unwrap();
    batch.push(layerfs("b"));
    transaction.publish(&batch).unwrap();
    assert_eq!(scene.revision(), 3);
    assert!(scene.is_there(&public_link("x")) && !scene.is_there(&public_link("a")));
    assert_eq!(scene.tree(&layerfs("b"))["f"].content, b"better");
    transaction.publish(&images).unwrap();
    transaction.commit().unwrap();
    assert_eq!(scene.revision(), 3, "nothing differs");
    scene.assert_sound();
}

#[test]
fn who_relies_on_what_a_collector_removes_is_overtaken() {
    let scene = Scene::with_images(&["x", "other"]);
    let publisher = scene.begin();
    // An image whose layer is there and whose root is made from it.
    publisher.merge(&rootfs("y"), &[layerfs("x")]).unwrap();
    publisher.rely_on(&layerfs("x")).unwrap();
    publisher.write_file(&manifest("y"), b"").unwrap();
    scene.collect("x");
    let error = publisher.publish(&[rootfs("y"), manifest("y")]).unwrap_err();
    assert!(error.is_overtaken() && !error.is_collected(), "{error:?}");
    assert_eq!(scene.revision(), 3);

    publisher.rebase().unwrap();
    assert_eq!(publisher.lookup(&layerfs("x")).unwrap(), None);
    assert_eq!(publisher.lookup(&rootfs("y")).unwrap(), None, "its layer may come back different");
    assert!(publisher.rely_on(&layerfs("x")).unwrap_err().is_overtaken());
    let paths = prepare(&*publisher, "x");
    publisher.publish(&paths).unwrap();
    assert_eq!(scene.revision(), 4);
    scene.assert_sound();
}

#[test]
fn who_relies_on_what_others_leave_alone_is_not_disturbed() {
    let scene = Scene::with_images(&["x", "y", "z"]);
    let publisher = scene.begin();
    for path in [layerfs("x"), rootfs("x"), layerfs("x").unit(), layer_metadata("x")] {
        publisher.rely_on(&path).unwrap();
    }
    publisher.write_file(&manifest("new"), b"").unwrap();
    scene.collect("y");
    let other = scene.begin();
    prepare(&*other, "w");
    other.commit().unwrap();
    publisher.commit().unwrap();
    assert!(scene.is_there(&manifest("new")) && scene.is_there(&public_link("w")));
    scene.assert_sound();
}

#[test]
fn who_relies_on_what_is_replaced_is_overtaken() {
    let scene = Scene::with_images(&["x"]);
    let publisher = scene.begin();
    publisher.merge(&rootfs("y"), &[layerfs("x")]).unwrap();
    publisher.merge(&rootfs("z"), &[layerfs("x")]).unwrap();
    let repair = scene.begin();
    repair.replace(&layerfs("x")).unwrap();
    unpack(&*repair, &layerfs("x"), &[dir(""), file("f", "better")]).unwrap();
    repair.commit().unwrap();
    assert_eq!(scene.tree(&layerfs("x"))["f"].content, b"better");

    // Its view moves with what it publishes, and what it had made from the old one shows that.
    publisher.write_file(&manifest("y"), b"").unwrap();
    publisher.publish(&[manifest("y")]).unwrap();
    let error = publisher.publish(&[rootfs("y")]).unwrap_err();
    assert!(error.is_overtaken(), "{error:?}");
    publisher.rebase().unwrap();
    assert_eq!(publisher.lookup(&rootfs("z")).unwrap(), None);
    publisher.merge(&rootfs("y"), &[layerfs("x")]).unwrap();
    publisher.rely_on(&layerfs("x")).unwrap();
    publisher.commit().unwrap();
    assert_eq!(scene.tree(&rootfs("y"))["f"].content, b"better");
    scene.assert_sound();
}

#[test]
fn two_repairs_of_one_tree_do_not_overwrite_each_other() {
    let scene = Scene::with_images(&["x"]);
    let repairs = ["one", "two"].map(|content| {
        let repair = scene.begin();
        repair.replace(&layerfs("x")).unwrap();
        unpack(&*repair, &layerfs("x"), &[dir(""), file("f", content)]).unwrap();
        repair
    });
    let [first, second] = repairs;
    first.commit().unwrap();
    let error = second.publish(&[layerfs("x")]).unwrap_err();
    assert!(error.is_overtaken(), "{error:?}");
    second.rebase().unwrap();
    second.commit().unwrap();
    assert_eq!(scene.tree(&layerfs("x"))["f"].content, b"one");
    scene.assert_sound();
}

#[test]
fn a_collector_removes_nothing_that_was_referred_to_meanwhile() {
    let scene = Scene::with_images(&["x"]);
    let collector = scene.begin();
    collector.require_unchanged().unwrap();
    removal("x").iter().for_each(|path| collector.remove(path).unwrap());

    let publisher = scene.begin();
    publisher.rely_on(&layerfs("x")).unwrap();
    publisher.write_file(&manifest("y"), b"refers to the layer of x").unwrap();
    publisher.commit().unwrap();

    let error = collector.publish(&removal("x")).unwrap_err();
    assert!(error.is_overtaken() && !error.is_collected(), "{error:?}");
    for path in paths("x") {
        assert!(scene.is_there(&path), "{path}");
    }
    // The collector sees the new image, and keeps what it needs.
    collector.rebase().unwrap();
    assert!(collector.lookup(&manifest("y")).unwrap().is_some());
    assert!(
        collector.lookup(&layerfs("x")).unwrap().is_some(),
        "nothing is to be removed any more"
    );
    collector.require_unchanged().unwrap();
    let names = removal("x").into_iter().take(2).collect::<Vec<_>>();
    names.iter().for_each(|path| collector.remove(path).unwrap());
    collector.publish(&names).unwrap();
    assert!(!scene.is_there(&public_link("x")) && scene.is_there(&layerfs("x")));
    // Its own revisions do not overtake it.
    collector.remove(&flat("x")).unwrap();
    collector.commit().unwrap();
    assert!(!scene.is_there(&flat("x")));
    scene.assert_sound();
}

#[test]
fn a_name_that_somebody_else_has_moved_is_not_removed() {
    let scene = Scene::with_images(&["x", "y"]);
    let unwish = scene.begin();
    unwish.remove(&public_link("x")).unwrap();
    let other = scene.begin();
    let link = public_link("x");
    let target = link.link_to(&flat("y"));
    other.symlink(&link, &target).unwrap();
    other.commit().unwrap();
    let error = unwish.publish(std::slice::from_ref(&link)).unwrap_err();
    assert!(error.is_overtaken(), "{error:?}");
    scene.repository.refresh().unwrap();
    let there = scene.repository.lookup(&link).unwrap();
    assert_eq!(there, Some(Published::Symlink(target)));
}

#[test]
fn a_rebase_keeps_prepared_trees_and_what_was_stored_for_them() {
    let scene = Scene::split_at(Some(20));
    let publisher = scene.begin();
    let entries: Vec<_> =
        (0..200).map(|at| file(&format!("d{}/f{at:03}", at % 5), &format!("{at}"))).collect();
    unpack(&*publisher, &layerfs("x"), &entries).unwrap();
    publisher.merge(&rootfs("x"), &[layerfs("x")]).unwrap();
    drop(publisher.share(&flat("x"), Some(&rootfs("x"))).unwrap());
    let overtake = |content: &[u8]| {
        let other = scene.begin();
        other.write_file(&manifest("x"), content).unwrap();
        other.commit().unwrap();
    };
    let mut attempts = Vec::new();
    for attempt in ["first", "second", "third"] {
        prepare_names(&*publisher, "x");
        if attempt != "third" {
            overtake(attempt.as_bytes());
        }
        let before = scene.put();
        let published = publisher.publish(&paths("x"));
        attempts.push(scene.put() - before);
        match published {
            Ok(()) => assert_eq!(attempt, "third"),
            Err(error) => {
                assert!(error.is_overtaken(), "{attempt}: {error:?}");
                publisher.rebase().unwrap();
            }
        }
    }
    // Each of the three trees has six catalogs. The others are those above the trees.
    let [first, second, third] = attempts[..] else { unreachable!() };
    assert!(first >= second + 18, "{attempts:?}");
    assert!(second < 18 && third < 30, "{attempts:?}");
    assert_eq!(scene.tree(&flat("x")).len(), 206);
    scene.assert_sound();
}

#[test]
fn a_rebase_drops_the_trees_that_others_have_published_meanwhile() {
    let scene = Scene::new();
    let publisher = scene.begin();
    for name in ["x", "y"] {
        prepare(&*publisher, name);
    }
    let other = scene.begin();
    prepare(&*other, "x");
    other.write_file(&layer_metadata("x"), b"[1]").unwrap();
    other.commit().unwrap();
    let all = [paths("x"), paths("y")].concat();
    let error = publisher.publish(&all).unwrap_err();
    assert!(error.is_overtaken(), "{error:?}");
    let before = scene.put();
    publisher.rebase().unwrap();
    assert_eq!(publisher.read(&layer_metadata("x")).unwrap().unwrap(), b"[1]");
    assert_eq!(publisher.read(&layer_metadata("y")).unwrap(), None);
    assert!(publisher.lookup(&layerfs("y")).unwrap().is_some());
    prepare_names(&*publisher, "y");
    publisher.publish(&all).unwrap();
    let put = scene.put() - before;
    assert!(put <= 30, "{put}");
    for path in &all {
        assert!(scene.is_there(path), "{path}");
    }
    scene.assert_sound();
}

#[test]
fn after_a_collection_of_objects_everything_is_done_again() {
    let scene = Scene::with_images(&["x"]);
    let publisher = scene.begin();
    prepare_trees(&*publisher, "y");
    let retention = Retention { revisions: 0, since: None, grace: Duration::ZERO };
    let stratum0 = &scene.repository.stratum0;
    collect(&stratum0.repository, &stratum0.objects, &retention, false).unwrap();
    for error in [publisher.publish(&[layerfs("y")]).unwrap_err(), publisher.rebase().unwrap_err()]
    {
        assert!(error.is_overtaken() && error.is_collected(), "{error:?}");
    }
    drop(publisher);
    let publisher = scene.begin();
    prepare(&*publisher, "y");
    publisher.commit().unwrap();
    scene.assert_sound();
}

#[test]
fn a_refresh_shows_what_others_have_published() {
    let scene = Scene::with_images(&["x"]);
    let stratum0 = Arc::clone(&scene.repository.stratum0);
    let newest = Arc::new(Latest::new(scene.newest()));
    let other = Cvmfs {
        name: "other".to_owned(),
        stratum0,
        home: crate::repository::cvmfs::home::Home::new(None),
        newest,
        ducc: None,
    };
    let transaction = scene.begin();
    prepare(&*transaction, "y");
    transaction.commit().unwrap();
    let sees = |repository: &Cvmfs| repository.lookup(&flat("y")).unwrap().is_some();
    assert!(sees(&scene.repository), "it knows what its own transactions publish");
    assert!(!sees(&other));
    other.refresh().unwrap();
    assert!(sees(&other));
    assert_eq!(other.list(None).unwrap().len(), 5);
}

#[test]
fn eight_publishers_at_once_all_get_through() {
    let scene = Scene::new();
    std::thread::scope(|scope| {
        for publisher in 0..8 {
            let scene = &scene;
            scope.spawn(move || {
                let transaction = scene.begin();
                for image in 0..3 {
                    let paths = prepare(&*transaction, &format!("{publisher}-{image}"));
                    transaction.publish(&paths).unwrap();
                }
            });
        }
    });
    assert_eq!(scene.revision(), 25);
    for (publisher, image) in (0..8).flat_map(|it| (0..3).map(move |image| (it, image))) {
        let name = format!("{publisher}-{image}");
        assert_eq!(scene.tree(&flat(&name))["f"].content, name.as_bytes());
    }
    scene.assert_sound();
}

#[test]
fn who_catches_up_keeps_the_trees_and_does_the_rest_again() {
    let scene = Scene::with_images(&["other"]);
    let publisher = scene.begin();
    prepare_trees(&*publisher, "x");
    publisher.write_file(&manifest("x"), b"").unwrap();
    assert!(!publisher.catch_up().unwrap(), "nobody has published anything");
    assert!(publisher.is_prepared(&manifest("x")));

    let other = scene.begin();
    prepare(&*other, "y");
    other.commit().unwrap();
    assert!(publisher.catch_up().unwrap());
    assert!(!publisher.is_prepared(&manifest("x")), "it may be another one now");
    for tree in trees("x") {
        assert!(publisher.is_prepared(&tree), "{tree}");
    }
    assert!(publisher.lookup(&public_link("y")).unwrap().is_some());
    prepare_names(&*publisher, "x");
    publisher.commit().unwrap();
    assert_eq!(scene.revision(), 4);
    scene.assert_sound();
}

#[test]
fn what_is_stored_beforehand_is_not_seen_and_not_stored_again() {
    let scene = Scene::new();
    let publisher = scene.begin();
    prepare_trees(&*publisher, "x");
    let (revision, before, trees) = (scene.revision(), scene.put(), trees("x"));
    publisher.store(&[&trees[..], &[manifest("x"), layerfs("absent")]].concat()).unwrap();
    let stored = scene.put() - before;
    assert!(stored >= trees.len() as u64, "{stored}");
    assert!(scene.revision() == revision && !scene.is_there(&layerfs("x")));
    publisher.store(&trees).unwrap();
    assert_eq!(scene.put() - before, stored);
    prepare_names(&*publisher, "x");
    publisher.publish(&paths("x")).unwrap();
    assert!(scene.is_there(&layerfs("x")));
    scene.assert_sound();
}

#[test]
fn of_a_small_file_only_what_is_published_is_stored() {
    let scene = Scene::new();
    let Stratum0 { objects, repository, .. } = &*scene.repository.stratum0;
    let is_stored = |content: &[u8]| {
        let packed = objects.pack_file(content);
        let Content::Whole(hash) = &packed.file().content else { panic!("it was cut") };
        repository.storage().exists(hash.object(ObjectKind::File)).unwrap()
    };
    let publisher = scene.begin();
    for content in [b"first", b"third"] {
        publisher.write_file(&manifest("x"), content).unwrap();
        publisher.write_file(&manifest("y"), b"not published").unwrap();
    }
    assert!(!is_stored(b"third"));
    publisher.publish(&[manifest("x")]).unwrap();
    assert_eq!(scene.repository.read(&manifest("x")).unwrap().unwrap(), b"third");
    assert_eq!([&b"first"[..], b"third", b"not published"].map(is_stored), [false, true, false]);
    publisher.commit().unwrap();
    assert!(is_stored(b"not published"));
    scene.assert_sound();
}
