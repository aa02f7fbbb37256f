//! The assertions of containerd's conformance suite for snapshotters.
//!
//! `CloseTwice` concerns only the Go client; here, the test is about connections that end. `Rename` is the variant
//! for snapshotters without `redirect_dir`, such as the built-in overlayfs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use cvmfs_snapshotter::proto::snapshots::{Info, Kind, ListSnapshotsRequest};
use prost_types::Timestamp;
use tonic::Code;

use crate::client::{Client, Labels, code, labels};
use crate::daemon::Daemon;
use crate::mount::mounted;
use crate::tree::{Op, apply, dir, remove, tree, write};

const LABELS: Labels<'_> = &[("containerd.io/gc.root", "2026-01-01T00:00:00Z")];

/// Makes a committed layer.
pub async fn layer(daemon: &Daemon, name: &str, parent: &str, ops: &[Op]) {
    let key = format!("{name}-prepare");
    let mounts = daemon.client.prepare(&key, parent, LABELS).await.unwrap();
    apply(mounted(&mounts, &daemon.work("apply")).path(), ops);
    daemon.client.commit(name, &key, LABELS).await.unwrap();
}

/// Stacks layers and compares a view of each with the result of the same changes in a plain directory.
async fn check_snapshots(daemon: &Daemon, prefix: &str, layers: &[&[Op]]) {
    let flat = daemon.work(&format!("flat-{prefix}"));
    let mut parent = String::new();
    for (number, ops) in layers.iter().enumerate() {
        let name = format!("{prefix}{number}");
        layer(daemon, &name, &parent, ops).await;
        apply(&flat, ops);
        let view = format!("{name}-view");
        let mounts = daemon.client.view(&view, &name).await.unwrap();
        assert_eq!(tree(mounted(&mounts, &daemon.work("view")).path()), tree(&flat), "{name}");
        daemon.client.remove(&view).await.unwrap();
        parent = name;
    }
}

#[tokio::test]
async fn basic() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    let initial: &[Op] = &[
        Op::File("foo", "foo\n", 0o777),
        Op::Dir("a", 0o755),
        Op::Dir("a/b", 0o755),
        Op::Dir("a/b/c", 0o755),
    ];
    let diff: &[Op] =
        &[Op::File("bar", "bar\n", 0o777), Op::File("foo", "bar\n", 0o777), Op::Remove("a/b")];
    // A key can be any text; those of the suite are absolute paths.
    let (preparing, committed, next) = ("/tmp/preparing", "/tmp/committed", "/tmp/next layer");

    let mounts = client.prepare(preparing, "", LABELS).await.unwrap();
    apply(mounted(&mounts, &daemon.work("m")).path(), initial);
    client.commit(committed, preparing, LABELS).await.unwrap();
    let first = client.stat(committed).await.unwrap();
    assert_eq!((first.parent.as_str(), first.kind()), ("", Kind::Committed));
    assert_eq!(code(client.stat(preparing).await), Code::NotFound);

    let mounts = client.prepare(next, committed, LABELS).await.unwrap();
    let expected = daemon.work("expected");
    apply(&expected, initial);
    {
        let mount = mounted(&mounts, &daemon.work("m"));
        assert_eq!(tree(mount.path()), tree(&expected));
        apply(mount.path(), diff);
    }
    let active = client.stat(next).await.unwrap();
    assert_eq!((active.parent.as_str(), active.kind()), (committed, Kind::Active));
    client.commit("committed-next", next, LABELS).await.unwrap();
    let second = client.stat("committed-next").await.unwrap();
    assert_eq!((second.parent.as_str(), second.kind()), (committed, Kind::Committed));
    assert_eq!(code(client.stat(next).await), Code::NotFound);
    let mut listed = client.list(&[]).await.unwrap();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(listed, [first, second]);

    let mounts = client.view("v", "committed-next").await.unwrap();
    apply(&expected, diff);
    assert_eq!(tree(mounted(&mounts, &daemon.work("m")).path()), tree(&expected));
    client.remove("v").await.unwrap();

    let refused = client.remove(committed).await.unwrap_err();
    assert!(refused.message().contains("remove"), "{refused}");
    client.remove("committed-next").await.unwrap();
    client.remove(committed).await.unwrap();
}

#[tokio::test]
async fn stat_active_and_committed() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    client.prepare("a", "", LABELS).await.unwrap();
    let info = client.stat("a").await.unwrap();
    assert_eq!((info.name.as_str(), info.kind(), info.parent.as_str()), ("a", Kind::Active, ""));
    client.commit("c", "a", LABELS).await.unwrap();
    let info = client.stat("c").await.unwrap();
    assert_eq!((info.name.as_str(), info.kind(), info.parent.as_str()), ("c", Kind::Committed, ""));
}

#[tokio::test]
async fn transitivity() {
    let daemon = Daemon::plain().await;
    layer(&daemon, "A", "", &[Op::File("foo", "foo\n", 0o777)]).await;
    layer(&daemon, "B", "A", &[Op::File("foo", "foo bar\n", 0o777)]).await;
    let b = daemon.client.stat("B").await.unwrap();
    assert_eq!(b.parent, "A");
    assert_eq!(daemon.client.stat(&b.parent).await.unwrap().parent, "");
}

#[tokio::test]
async fn prepare_or_view_on_a_used_key_fails() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    layer(&daemon, "A", "", &[]).await;
    client.prepare("p", "A", LABELS).await.unwrap();
    client.view("v", "A").await.unwrap();
    for key in ["p", "v", "A"] {
        assert_eq!(code(client.prepare(key, "A", LABELS).await), Code::AlreadyExists, "{key}");
        assert_eq!(code(client.view(key, "A").await), Code::AlreadyExists, "{key}");
        assert_eq!(code(client.prepare(key, "", LABELS).await), Code::AlreadyExists, "{key}");
    }
}

/// c1 ← c2 ← a1, v1 and a2, v2 without parents.
async fn base_snapshots(client: &Client, prefix: &str) {
    let name = |name: &str| format!("{prefix}{name}");
    client.prepare(&name("c1-a"), "", LABELS).await.unwrap();
    client.commit(&name("c1"), &name("c1-a"), LABELS).await.unwrap();
    client.prepare(&name("c2-a"), &name("c1"), LABELS).await.unwrap();
    client.commit(&name("c2"), &name("c2-a"), LABELS).await.unwrap();
    client.prepare(&name("a1"), &name("c2"), LABELS).await.unwrap();
    client.prepare(&name("a2"), "", LABELS).await.unwrap();
    client.view(&name("v1"), &name("c2")).await.unwrap();
    client.view(&name("v2"), "").await.unwrap();
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn between(time: Option<Timestamp>, from: Timestamp, to: Timestamp) -> bool {
    let key = |time: Timestamp| (time.seconds, time.nanos);
    time.is_some_and(|time| key(from) <= key(time) && key(time) <= key(to))
}

#[tokio::test]
async fn update() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    let before = now();
    base_snapshots(client, "").await;
    let after = now();
    for (name, kind, parent) in [
        ("c1", Kind::Committed, ""),
        ("c2", Kind::Committed, "c1"),
        ("a1", Kind::Active, "c2"),
        ("a2", Kind::Active, ""),
        ("v1", Kind::View, "c2"),
        ("v2", Kind::View, ""),
    ] {
        let info = client.stat(name).await.unwrap();
        let (created, updated) = (info.created_at, info.updated_at);
        assert!(between(created, before, after) && created == updated, "{name}: {info:?}");
        assert_eq!((info.name.as_str(), info.kind(), info.parent.as_str()), (name, kind, parent));

        // Without a mask: all labels, and nothing else. containerd sends neither kind nor times.
        let year_one = Timestamp { seconds: -62_135_596_800, nanos: 0 };
        let change = Info {
            name: name.to_owned(),
            parent: "doesnotexist".to_owned(),
            kind: 77,
            created_at: Some(year_one),
            updated_at: None,
            labels: labels(&[("l1", "v1"), ("l2", "v2"), ("l3", "v3")]),
        };
        let from = now();
        let info = client.update(change.clone(), &[]).await.unwrap();
        assert!(between(info.updated_at, from, now()), "{info:?}");
        assert_eq!(info.created_at, created);
        assert_eq!((info.name.as_str(), info.kind(), info.parent.as_str()), (name, kind, parent));
        assert_eq!(info.labels, change.labels);
        assert_eq!(client.stat(name).await.unwrap(), info);

        // Single labels: set, and removed if absent.
        let some = Info { labels: labels(&[("l1", "updated"), ("l4", "v4")]), ..change.clone() };
        let info = client.update(some, &["labels.l1", "labels.l2"]).await.unwrap();
        assert_eq!(info.labels, labels(&[("l1", "updated"), ("l3", "v3")]));
        let all = Info { labels: labels(&[("l4", "v4")]), ..change.clone() };
        let info = client.update(all.clone(), &["labels"]).await.unwrap();
        assert_eq!(info.labels, all.labels);

        let refused = client.update(all, &["parent"]).await;
        assert_eq!(code(refused), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn removed_keys_and_names_can_be_used_again() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    client.prepare("committed-a", "", LABELS).await.unwrap();
    client.commit("committed-1", "committed-a", LABELS).await.unwrap();
    client.prepare("reuse-1", "committed-1", LABELS).await.unwrap();
    client.remove("reuse-1").await.unwrap();
    client.view("reuse-1", "committed-1").await.unwrap();
    client.remove("reuse-1").await.unwrap();
    client.prepare("reuse-1", "", LABELS).await.unwrap();
    client.remove("committed-1").await.unwrap();
    client.commit("committed-1", "reuse-1", LABELS).await.unwrap();
}

#[tokio::test]
async fn walk() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    let with = |value| [("l", value), ("containerd.io/gc.root", "check-walk")];
    let without: Labels<'_> = &[("containerd.io/gc.root", "check-walk")];
    client.prepare("a-np", "", without).await.unwrap();
    client.prepare("p-tmp", "", without).await.unwrap();
    client.commit("p", "p-tmp", without).await.unwrap();
    client.prepare("a", "p", without).await.unwrap();
    client.view("v", "p").await.unwrap();
    client.prepare("p-wl-tmp", "", without).await.unwrap();
    client.commit("p-wl", "p-wl-tmp", &with("1")).await.unwrap();
    client.prepare("a-wl", "p-wl", &with("2")).await.unwrap();
    client.view("v-wl", "p-wl").await.unwrap();
    for (view, value) in [("v", None), ("v-wl", Some("3"))] {
        let mut info = client.stat(view).await.unwrap();
        info.labels = value.map_or_else(|| labels(without), |value| labels(&with(value)));
        client.update(info, &[]).await.unwrap();
    }
    client.prepare("a-np-wl", "", &with("2")).await.unwrap();
    let root = "labels.\"containerd.io/gc.root\"==check-walk";
    let kind = |kind| format!("kind=={kind},{root}");
    for (filters, expected) in [
        (vec![root.to_owned()], "a a-np a-np-wl a-wl p p-wl v v-wl"),
        (vec![], "a a-np a-np-wl a-wl p p-wl v v-wl"),
        (vec![kind("active")], "a a-np a-np-wl a-wl"),
        (vec![kind("view")], "v v-wl"),
        (vec![kind("committed")], "p p-wl"),
        (vec!["name==p".to_owned(), "name==a-np-wl".to_owned()], "a-np-wl p"),
        (vec!["name==a-wl,labels.l".to_owned()], "a-wl"),
        (vec!["parent==p".to_owned()], "a v"),
        (vec![format!("parent!=\"\",{root}")], "a a-wl v v-wl"),
        (vec!["parent==\"\"".to_owned()], "a-np a-np-wl p p-wl"),
        (vec!["labels.l".to_owned()], "a-np-wl a-wl p-wl v-wl"),
        (vec!["labels.l==2".to_owned()], "a-np-wl a-wl"),
        (vec!["labels.l~=[13]".to_owned()], "p-wl v-wl"),
    ] {
        let filters: Vec<_> = filters.iter().map(String::as_str).collect();
        let names = client.names(&filters).await.unwrap();
        assert_eq!(names.join(" "), expected, "{filters:?}");
    }
}

#[tokio::test]
async fn layer_file_update() {
    let daemon = Daemon::plain().await;
    for round in 0..2 {
        let layers: [&[Op]; 2] = [
            &[
                Op::Dir("etc", 0o700),
                Op::File("etc/hosts", "mydomain 10.0.0.1", 0o644),
                Op::File("etc/profile", "PATH=/usr/bin", 0o644),
            ],
            &[
                Op::File("etc/hosts", "mydomain 10.0.0.2", 0o644),
                Op::File("etc/profile", "PATH=/usr/bin", 0o666),
                Op::Dir("root", 0o700),
                Op::File("root/.bashrc", "PATH=/usr/sbin:/usr/bin", 0o644),
            ],
        ];
        check_snapshots(&daemon, &format!("l{round}-"), &layers).await;
        // So that the rounds do not all fall into one second.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    }
}

#[tokio::test]
async fn changes_over_lower_layers() {
    let daemon = Daemon::plain().await;
    let cases: [(&str, &[&[Op]]); 6] = [
        (
            "remove-directory-in-lower-layer",
            &[
                &[Op::Dir("lib", 0o700), Op::File("lib/hidden", "", 0o644)],
                &[Op::Remove("lib"), Op::Dir("lib", 0o700), Op::File("lib/not-hidden", "", 0o644)],
                &[Op::File("lib/newfile", "", 0o644)],
            ],
        ),
        (
            "chown",
            &[
                &[
                    Op::Dir("opt", 0o700),
                    Op::Dir("opt/a", 0o700),
                    Op::Dir("opt/a/b", 0o700),
                    Op::File("opt/a/b/file.txt", "hello", 0o644),
                ],
                &[
                    Op::Chown("opt", 1),
                    Op::Chown("opt/a", 1),
                    Op::Chown("opt/a/b", 1),
                    Op::Chown("opt/a/b/file.txt", 1),
                ],
            ],
        ),
        (
            "directory-permission-on-commit",
            &[
                &[
                    Op::Dir("dir1", 0o700),
                    Op::Dir("dir2", 0o700),
                    Op::Dir("dir3", 0o700),
                    Op::Dir("dir4", 0o700),
                    Op::File("dir4/f1", "...", 0o644),
                    Op::Dir("dir5", 0o700),
                    Op::File("dir5/f1", "...", 0o644),
                    Op::Chown("dir1", 1),
                    Op::Chown("dir2", 1),
                    Op::Chown("dir3", 1),
                    Op::Chown("dir5", 1),
                    Op::Chown("dir5/f1", 1),
                ],
                &[
                    Op::Chown("dir2", 0),
                    Op::Remove("dir3"),
                    Op::Chown("dir4", 1),
                    Op::Chown("dir4/f1", 1),
                ],
                &[
                    Op::Dir("dir3", 0o700),
                    Op::Chown("dir3", 1),
                    Op::Remove("dir5"),
                    Op::Dir("dir5", 0o700),
                    Op::Chown("dir5", 1),
                ],
            ],
        ),
        (
            "deleted-files-in-child-snapshot",
            &[
                &[Op::File("foo", "foo\n", 0o777), Op::File("foobar", "foobar\n", 0o777)],
                &[Op::Remove("foobar")],
                &[],
            ],
        ),
        (
            "move-file-from-lower-layer",
            &[
                &[
                    Op::Dir("dir1", 0o700),
                    Op::File("dir1/f1", "Hello", 0o644),
                    Op::Dir("dir2", 0o700),
                    Op::File("dir2/f2", "...", 0o644),
                ],
                &[
                    Op::Dir("dir3", 0o700),
                    Op::File("dir3/f1", "Hello", 0o644),
                    Op::Remove("dir1"),
                    Op::Link("dir2/f2", "dir3/f2"),
                    Op::Remove("dir2/f2"),
                ],
            ],
        ),
        (
            "rename",
            &[
                &[
                    Op::Dir("dir1", 0o700),
                    Op::Dir("somefiles", 0o700),
                    Op::File("somefiles/f1", "was here first!", 0o644),
                    Op::File("somefiles/f2", "nothing interesting", 0o644),
                ],
                &[
                    Op::File("somefiles/f1-overwrite", "new content 1", 0o644),
                    Op::Rename("somefiles/f1-overwrite", "somefiles/f1"),
                    Op::Rename("somefiles/f2", "somefiles/f3"),
                ],
            ],
        ),
    ];
    for (name, layers) in cases {
        check_snapshots(&daemon, name, layers).await;
    }
}

#[tokio::test]
async fn an_intermediate_snapshot_stays() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    layer(&daemon, "base", "", &[]).await;
    layer(&daemon, "middle", "base", &[]).await;
    client.prepare("top", "middle", LABELS).await.unwrap();
    assert_eq!(code(client.remove("middle").await), Code::FailedPrecondition);
    for name in ["top", "middle", "base"] {
        client.remove(name).await.unwrap();
    }
}

#[tokio::test]
async fn a_view_is_read_only() {
    let daemon = Daemon::plain().await;
    layer(&daemon, "empty", "", &[]).await;
    layer(&daemon, "second", "empty", &[]).await;
    for parent in ["", "empty", "second"] {
        let mounts = daemon.client.view(&format!("view of {parent}"), parent).await.unwrap();
        let mount = mounted(&mounts, &daemon.work("m"));
        assert!(fs::write(mount.join("testfile"), "x").is_err(), "{parent:?}");
    }
}

#[tokio::test]
async fn stat_during_a_walk() {
    let daemon = Daemon::plain().await;
    base_snapshots(&daemon.client, "walk-").await;
    // Enough for several messages. The calls below are made before all of them have been read.
    for number in 0..120 {
        daemon.client.prepare(&format!("more-{number}"), "", LABELS).await.unwrap();
    }
    let request = ListSnapshotsRequest::default();
    let mut stream = daemon.client.raw().list(request).await.unwrap().into_inner();
    let mut seen = 0;
    while let Some(message) = stream.message().await.unwrap() {
        for info in message.info {
            assert_eq!(daemon.client.stat(&info.name).await.unwrap(), info);
            seen += 1;
        }
        daemon.client.prepare(&format!("changed after {seen}"), "", LABELS).await.unwrap();
    }
    assert_eq!(seen, 6 + 120);
}

#[tokio::test]
async fn connections_come_and_go() {
    let daemon = Daemon::plain().await;
    for number in 0..20 {
        let client = Client::new(&daemon.socket());
        let (key, name) = (format!("p{number}"), format!("c{number}"));
        client.prepare(&key, "", LABELS).await.unwrap();
        client.commit(&name, &key, LABELS).await.unwrap();
        client.remove(&name).await.unwrap();
    }
    assert_eq!(daemon.client.list(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn root_permission() {
    let daemon = Daemon::plain().await;
    layer(&daemon, "base", "", &[]).await;
    for (key, parent) in [("bare", ""), ("over", "base")] {
        let mounts = daemon.client.prepare(key, parent, LABELS).await.unwrap();
        let mount = mounted(&mounts, &daemon.work("m"));
        assert_eq!(fs::metadata(mount.path()).unwrap().mode() & 0o7777, 0o755, "{key}");
    }
}

#[tokio::test]
async fn a_hundred_and_twenty_eight_layers() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    let flat = daemon.work("flat");
    let change = |root: &Path, number: usize| {
        write(&root.join("overwriteme"), &format!("{number} WAS HERE!\n"), 0o777);
        write(&root.join(format!("addhere/file-{number}")), "same\n", 0o755);
        remove(&root.join("onlyme"));
        dir(&root.join("onlyme"), 0o755);
        write(&root.join(format!("onlyme/file-{number}")), "only me!\n", 0o777);
    };
    let mut parent = String::new();
    for number in 0..128 {
        let key = format!("prepare-layer-{number}");
        let mounts = client.prepare(&key, &parent, LABELS).await.unwrap();
        {
            let mount = mounted(&mounts, &daemon.work("m"));
            assert_eq!(tree(mount.path()), tree(&flat), "before {number}");
            for root in [mount.path(), flat.as_path()] {
                if number == 0 {
                    write(&root.join("bottom"), "way at the bottom\n", 0o777);
                    dir(&root.join("addhere"), 0o755);
                    dir(&root.join("onlyme"), 0o755);
                }
                change(root, number);
            }
            assert_eq!(tree(mount.path()), tree(&flat), "after {number}");
        }
        parent = format!("committed-{number}");
        client.commit(&parent, &key, LABELS).await.unwrap();
    }
    let mounts = client.view("fullview", &parent).await.unwrap();
    assert_eq!(tree(mounted(&mounts, &daemon.work("view")).path()), tree(&flat));
    let chain: BTreeMap<_, _> =
        client.list(&[]).await.unwrap().into_iter().map(|info| (info.name, info.parent)).collect();
    assert_eq!(chain.len(), 129);
}
