//! Which error each call returns, and that a failed call changes nothing.

use tonic::Code;

use crate::client::{code, labels};
use crate::conformance::layer;
use crate::daemon::Daemon;

/// Makes the call `name` with up to three arguments.
async fn call(daemon: &Daemon, name: &str, a: &str, b: &str, c: &str) -> Code {
    let client = &daemon.client;
    match name {
        "prepare" => code(client.prepare(a, b, &[]).await),
        "view" => code(client.view(a, b).await),
        "mounts" => code(client.mounts(a).await),
        "commit" => code(client.commit_onto(a, b, &[], c).await),
        "remove" => code(client.remove(a).await),
        "stat" => code(client.stat(a).await),
        "usage" => code(client.usage(a).await),
        "update" => {
            let info = cvmfs_snapshotter::proto::snapshots::Info {
                name: a.to_owned(),
                labels: labels(&[("k", "v")]),
                ..Default::default()
            };
            let mask: Vec<_> = b.split(' ').filter(|path| !path.is_empty()).collect();
            code(client.update(info, &mask).await)
        }
        "list" => code(client.list(&[a]).await),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn table() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    // committed: base ← top; active: bare, over (on top); view: look
    layer(&daemon, "base", "", &[]).await;
    layer(&daemon, "top", "base", &[]).await;
    client.prepare("bare", "", &[]).await.unwrap();
    client.prepare("over", "top", &[]).await.unwrap();
    client.view("look", "top").await.unwrap();
    let state = client.list(&[]).await.unwrap();
    let directories = daemon.directories();
    for (name, a, b, c, expected) in [
        ("prepare", "new", "nosuch", "", Code::NotFound),
        ("view", "new", "nosuch", "", Code::NotFound),
        ("prepare", "new", "bare", "", Code::InvalidArgument),
        ("prepare", "new", "look", "", Code::InvalidArgument),
        ("view", "new", "over", "", Code::InvalidArgument),
        ("prepare", "bare", "", "", Code::AlreadyExists),
        ("prepare", "look", "top", "", Code::AlreadyExists),
        ("view", "base", "", "", Code::AlreadyExists),
        ("view", "over", "top", "", Code::AlreadyExists),
        ("prepare", "", "", "", Code::InvalidArgument),
        ("view", "", "", "", Code::InvalidArgument),
        ("mounts", "bare", "", "", Code::Ok),
        ("mounts", "over", "", "", Code::Ok),
        ("mounts", "look", "", "", Code::Ok),
        ("mounts", "base", "", "", Code::FailedPrecondition),
        ("mounts", "nosuch", "", "", Code::NotFound),
        ("stat", "nosuch", "", "", Code::NotFound),
        ("stat", "", "", "", Code::NotFound),
        ("usage", "nosuch", "", "", Code::NotFound),
        ("remove", "nosuch", "", "", Code::NotFound),
        ("update", "nosuch", "", "", Code::NotFound),
        ("commit", "new", "nosuch", "", Code::NotFound),
        ("commit", "base", "nosuch", "", Code::NotFound),
        ("commit", "base", "bare", "", Code::AlreadyExists),
        ("commit", "bare", "bare", "", Code::AlreadyExists),
        ("commit", "look", "bare", "", Code::AlreadyExists),
        ("commit", "new", "look", "", Code::FailedPrecondition),
        ("commit", "new", "base", "", Code::FailedPrecondition),
        ("commit", "", "bare", "", Code::InvalidArgument),
        ("commit", "new", "bare", "nosuch", Code::NotFound),
        ("commit", "new", "bare", "look", Code::FailedPrecondition),
        ("commit", "new", "over", "base", Code::InvalidArgument),
        ("remove", "base", "", "", Code::FailedPrecondition),
        ("remove", "top", "", "", Code::FailedPrecondition),
        ("update", "base", "kind", "", Code::InvalidArgument),
        ("update", "base", "labels.k created_at", "", Code::InvalidArgument),
        ("update", "base", "labelsk", "", Code::InvalidArgument),
        ("list", "kind=active", "", "", Code::InvalidArgument),
        ("list", "labels.a/b==c", "", "", Code::InvalidArgument),
    ] {
        let answer = call(&daemon, name, a, b, c).await;
        assert_eq!(answer, expected, "{name} {a:?} {b:?} {c:?}");
    }
    assert_eq!(client.list(&[]).await.unwrap(), state);
    client.cleanup().await.unwrap();
    assert_eq!(daemon.directories(), directories);
}

#[tokio::test]
async fn messages_end_with_the_class_and_carry_no_details() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    layer(&daemon, "base", "", &[]).await;
    layer(&daemon, "top", "base", &[]).await;
    for (status, class) in [
        (client.stat("x").await.unwrap_err(), "not found"),
        (client.view("base", "").await.unwrap_err(), "already exists"),
        (client.remove("base").await.unwrap_err(), "failed precondition"),
        (client.view("", "").await.unwrap_err(), "invalid argument"),
    ] {
        assert!(status.message().ends_with(&format!(": {class}")), "{status}");
        assert_eq!(status.details(), b"");
    }
}

#[tokio::test]
async fn an_empty_store_lists_nothing() {
    let daemon = Daemon::plain().await;
    assert_eq!(daemon.client.list_messages(&[]).await.unwrap(), Vec::<Vec<_>>::new());
    daemon.client.cleanup().await.unwrap();
}

#[tokio::test]
async fn labels_are_replaced_at_commit_and_empty_ones_dropped() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    client.prepare("a", "", &[("one", "1"), ("empty", "")]).await.unwrap();
    assert_eq!(client.stat("a").await.unwrap().labels, labels(&[("one", "1")]));
    let long = "x".repeat(4000);
    client.commit("c", "a", &[("two", &long), ("empty", "")]).await.unwrap();
    let committed = client.stat("c").await.unwrap();
    assert_eq!(committed.labels, labels(&[("two", &long)]));
    assert_eq!(committed.created_at, committed.updated_at);
    let cleared =
        client.update(committed, &["labels.two", "labels.none.such/label"]).await.unwrap();
    // A value is given, so the label is set again.
    assert_eq!(cleared.labels, labels(&[("two", &long)]));
    let nothing = cvmfs_snapshotter::proto::snapshots::Info {
        name: "c".to_owned(),
        labels: labels(&[("two", "")]),
        ..Default::default()
    };
    assert_eq!(client.update(nothing, &["labels.two"]).await.unwrap().labels, labels(&[]));
}

#[tokio::test]
async fn a_parent_given_at_commit() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    layer(&daemon, "base", "", &[crate::tree::Op::File("low", "1", 0o644)]).await;
    for key in ["one", "two", "three"] {
        let parent = if key == "two" { "base" } else { "" };
        client.prepare(key, parent, &[]).await.unwrap();
        client.commit_onto(&format!("{key}-done"), key, &[], "base").await.unwrap();
        assert_eq!(client.stat(&format!("{key}-done")).await.unwrap().parent, "base");
    }
    let mounts = client.view("look", "one-done").await.unwrap();
    let mount = crate::mount::mounted(&mounts, &daemon.work("m"));
    assert!(mount.join("low").exists());
    assert_eq!(code(client.remove("base").await), Code::FailedPrecondition);
}

/// An image's author can write any number of annotations of any length, and containerd hands them on. `List` sends
/// them all, every time.
#[tokio::test]
async fn labels_and_names_have_limits() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    layer(&daemon, "base", "", &[]).await;
    client.prepare("a", "base", &[]).await.unwrap();
    let state = client.list(&[]).await.unwrap();
    let directories = daemon.directories();
    let value = "v".repeat(4000);
    let keys: Vec<_> = (0..900).map(|n| format!("containerd.io/snapshot/x{n}")).collect();
    let many: Vec<_> = keys.iter().map(|key| (key.as_str(), value.as_str())).collect();
    let long = "v".repeat(4096);
    let name = "n".repeat(40_000);
    for (what, labels, part) in [
        ("one", &[("k", long.as_str())][..], "label \"k\" has 4097 bytes"),
        ("many", &many[..], "and 65536 is the limit: the image has too many annotations"),
    ] {
        let info = |mut info: cvmfs_snapshotter::proto::snapshots::Info| {
            info.labels = crate::client::labels(labels);
            info
        };
        for answer in [
            client.prepare("new", "base", labels).await.map(|_| ()),
            client.commit("new", "a", labels).await,
            client.update(info(state[0].clone()), &[]).await.map(|_| ()),
        ] {
            let status = answer.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
            assert!(status.message().contains(part), "{what}: {status}");
        }
    }
    // Each change is small enough, and what comes of it is not.
    for (number, piece) in many[..20].iter().enumerate() {
        let mut info = state[0].clone();
        info.labels = labels(&[*piece]);
        let answer = client.update(info, &[&format!("labels.{}", piece.0)]).await;
        assert_eq!(code(answer), if number < 16 { Code::Ok } else { Code::InvalidArgument });
    }
    client.update(state[0].clone(), &[]).await.unwrap();
    for answer in [
        client.prepare(&name, "base", &[]).await.map(|_| ()),
        client.view(&name, "base").await.map(|_| ()),
        client.commit(&name, "a", &[]).await,
    ] {
        assert_eq!(code(answer), Code::InvalidArgument);
    }
    // Nothing of all that is left, and no message is as long as what it complains about.
    assert_eq!(client.names(&[]).await.unwrap(), ["a", "base"]);
    assert_eq!(daemon.directories(), directories);
    let unknown = client.stat(&name).await.unwrap_err();
    assert!(unknown.code() == Code::NotFound && unknown.message().len() < 1000, "{unknown}");
    // The longest name that fits is in no line of the log as a whole.
    client.prepare(&name[..32_768], "base", &[]).await.unwrap();
    client.remove(&name[..32_768]).await.unwrap();
    let longest = daemon.log().lines().map(str::len).max().unwrap();
    assert!(longest < 4000, "{longest}");
}
