use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;
use crate::error::Error;
use crate::filter::Filters;
use crate::snapshot::{Labels, LayerRoot, Remote, SnapshotId, SnapshotKind, Usage};

const NONE: SnapshotId = SnapshotId(0);

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("m.db"), NONE).unwrap();
    (directory, store)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn new<'a>(id: i64, name: &'a str, parent: i64, labels: &'a Labels) -> NewSnapshot<'a> {
    let parent = (parent != 0).then_some(SnapshotId(parent));
    NewSnapshot {
        id: SnapshotId(id),
        name,
        parent,
        kind: SnapshotKind::Active,
        labels,
        remote: None,
    }
}

fn commit(store: &Store, key: &str, name: &str) -> Result<()> {
    let (usage, root) = (Usage { bytes: 512, inodes: 1 }, LayerRoot::default());
    let id = store.get(key)?.id;
    store.commit(&Commit { name, key, id, labels: &Labels::new(), parent: "", usage, root })
}

#[test]
fn what_was_answered_survives_and_what_failed_leaves_nothing() {
    let (directory, store) = store();
    let given = labels(&[("k", "v"), ("empty", "")]);
    store.create(&new(1, "a", 0, &given)).unwrap();
    commit(&store, "a", "A").unwrap();
    store.create(&new(2, "b", 1, &given)).unwrap();
    assert!(matches!(store.create(&new(3, "b", 1, &given)), Err(Error::AlreadyExists(_))));
    assert!(
        matches!(store.create(&new(3, "c", 2, &given)), Err(Error::NotFound(_))),
        "b is no parent"
    );
    assert!(matches!(store.create(&new(3, "c", 77, &given)), Err(Error::NotFound(_))));
    assert!(matches!(store.remove("A"), Err(Error::FailedPrecondition(_))));
    let before = store.list(&Filters::parse::<&str>(&[]).unwrap()).unwrap();
    drop(store);
    let store = Store::open(&directory.path().join("m.db"), SnapshotId(99)).unwrap();
    assert!(!store.is_new());
    assert_eq!(store.spared_below().unwrap(), SnapshotId(1), "as when it was made");
    assert_eq!(store.list(&Filters::parse::<&str>(&[]).unwrap()).unwrap(), before);
    let (record, chain) = store.get_with_chain("b").unwrap();
    assert_eq!((record.info.parent.as_str(), chain.len()), ("A", 1));
    assert_eq!(record.info.labels, labels(&[("k", "v")]));
    assert_eq!(store.get("A").unwrap().usage, Some(Usage { bytes: 512, inodes: 1 }));
    // Numbers are not given out again, also if the newest is gone.
    store.remove("b").unwrap();
    assert_eq!(store.last_id().unwrap(), SnapshotId(2));
}

#[test]
fn remote_layers() {
    let (_directory, store) = store();
    let remote =
        Remote { repository: "r".to_owned(), layer: "l".to_owned(), rootfs: Some("m".to_owned()) };
    let root = LayerRoot { uid: 1, gid: 2, opaque: true };
    let given = labels(&[("ref", "x")]);
    for (id, name) in [(1, "base"), (2, "top")] {
        let kind = SnapshotKind::Committed;
        let remote = Some(NewRemote { root, remote: &remote });
        store.create(&NewSnapshot { kind, remote, ..new(id, name, id - 1, &given) }).unwrap();
    }
    let record = store.get("top").unwrap();
    assert_eq!((record.info.kind, record.usage), (SnapshotKind::Committed, Some(Usage::default())));
    let (parent, chain) = store.get_for_child("new", "top").unwrap();
    assert_eq!(parent.unwrap(), record);
    assert_eq!(chain.len(), 2);
    assert!(chain.iter().all(|layer| layer.root == root && layer.remote.as_ref() == Some(&remote)));
    for (value, parent, expected) in
        [("x", "", Some("base")), ("x", "base", Some("top")), ("x", "top", None), ("y", "", None)]
    {
        assert_eq!(store.find_committed("ref", value, parent).unwrap().as_deref(), expected);
    }
    // An active one with the same label does not count.
    let other = labels(&[("ref", "z")]);
    store.create(&new(3, "active", 0, &other)).unwrap();
    assert_eq!(store.find_committed("ref", "z", "").unwrap(), None);
    store.remove("top").unwrap();
    assert_eq!(store.find_committed("ref", "x", "base").unwrap(), None);
}

#[test]
fn readers_do_not_wait_for_a_writer() {
    let (_directory, store) = store();
    store.create(&new(1, "a", 0, &Labels::new())).unwrap();
    let (started, wait) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let store = &store;
        scope.spawn(move || {
            let mut writer = store.writer();
            let transaction = writer.transaction().unwrap();
            transaction.execute("UPDATE snapshot SET name = 'b'", []).unwrap();
            started.send(()).unwrap();
            released.recv().unwrap();
            transaction.commit().unwrap();
        });
        wait.recv().unwrap();
        let asked = Instant::now();
        assert_eq!(store.get("a").unwrap().id, SnapshotId(1));
        assert!(store.get_with_chain("a").unwrap().1.is_empty());
        assert_eq!(store.list(&Filters::parse::<&str>(&[]).unwrap()).unwrap().len(), 1);
        assert!(asked.elapsed() < Duration::from_secs(1));
        release.send(()).unwrap();
    });
    assert_eq!(store.get("b").unwrap().id, SnapshotId(1));
}

#[test]
fn listing_by_parent() {
    let (_directory, store) = store();
    for (id, name, parent) in [(1, "a", 0), (2, "b", 1), (3, "c", 1), (4, "d", 0)] {
        store.create(&new(id, name, parent, &Labels::new())).unwrap();
        if id == 1 {
            commit(&store, "a", "a2").unwrap();
        }
    }
    for (filters, expected) in [
        (&["parent==a2"][..], "b c"),
        (&["parent==\"\""], "a2 d"),
        (&["parent==nosuch"], ""),
        (&["parent==a2,name==c"], "c"),
        (&["parent==a2", "name==d"], "b c d"),
        (&[], "a2 b c d"),
    ] {
        let infos = store.list(&Filters::parse(filters).unwrap()).unwrap();
        let names: Vec<_> = infos.iter().map(|info| info.name.as_str()).collect();
        assert_eq!(names.join(" "), expected, "{filters:?}");
    }
}

#[test]
fn other_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.db");
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE precious (x)").unwrap();
    drop(foreign);
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Store::open(&path, NONE), Err(OpenError::Foreign(_))));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::write(&path, "no database at all, but long enough to be taken for one".repeat(100))
        .unwrap();
    assert!(matches!(Store::open(&path, NONE), Err(OpenError::Unusable(..))));
}
