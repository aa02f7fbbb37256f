//! Layers that are not downloaded.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::path::Path;

use cvmfs_snapshotter::proto::snapshots::Kind;
use layer_layout::label::{
    CRI_LAYER_DIGEST, GID_MAPPING, STARGZ_LAYER_DIGEST, TARGET, THIN_LAYER_DIGEST, THIN_REPOSITORY,
    UID_MAPPING,
};
use layer_layout::overlay::{OPAQUE_VALUE, TRUSTED_OPAQUE, USER_OPAQUE};
use layer_layout::path::{self, LayerMetadata};
use layer_layout::{ChainId, Digest};
use tonic::Code;

use crate::client::code;
use crate::daemon::Daemon;
use crate::mount::{lower_paths, mounted};
use crate::repository::{
    Layer, Pulled, Repository, chains, layer, pull, pull_layer, pull_with, remotes, top,
};

/// Names in the root of a mounted snapshot.
async fn names(daemon: &Daemon, key: &str) -> Vec<String> {
    let mounts = daemon.client.mounts(key).await.unwrap();
    let mount = mounted(&mounts, &daemon.work("names"));
    let mut names: Vec<_> = fs::read_dir(mount.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // Every name can be looked up, not only listed.
    names.iter().for_each(|name| drop(fs::metadata(mount.join(name)).unwrap()));
    names
}

/// Where the lower directories of a snapshot lead.
async fn targets(daemon: &Daemon, key: &str) -> Vec<std::path::PathBuf> {
    let mounts = daemon.client.mounts(key).await.unwrap();
    lower_paths(&mounts)
        .into_iter()
        .map(|path| {
            assert_eq!(path.parent().unwrap().parent().unwrap(), daemon.root().join("snapshots"));
            fs::read_link(&path).unwrap_or(path)
        })
        .collect()
}

#[tokio::test]
async fn an_image_without_a_download() {
    let repository = Repository::new();
    let (layers, chains) = repository.image(&["a", "b", "c"]);
    lchown(repository.layerfs(&layers[2]), Some(11), Some(12)).unwrap();
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    let pulled = pull(client, "k8s.io", &chains).await;
    assert_eq!(remotes(&pulled), [true; 3]);
    // Nothing else is left, and every record is as containerd needs it.
    let infos = client.list(&[]).await.unwrap();
    assert_eq!(infos.len(), 3);
    assert!(
        infos
            .iter()
            .all(|info| info.kind() == Kind::Committed && info.created_at == info.updated_at)
    );
    for layer in &pulled {
        let usage = client.usage(&layer.name).await.unwrap();
        assert_eq!((usage.size, usage.inodes), (0, 0));
        assert_eq!(code(client.mounts(&layer.name).await), Code::FailedPrecondition);
    }
    for id in daemon.directories() {
        let link = fs::read_link(daemon.root().join("snapshots").join(id).join("fs")).unwrap();
        assert!(link.starts_with(repository.path()) && link.is_dir(), "{link:?}");
    }
    // A container.
    let before = daemon.directories();
    let mounts = client.prepare("k8s.io/9/container", top(&pulled), &[]).await.unwrap();
    let upper = fs::metadata(daemon.new_directory(&before).join("fs")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&upper), 11);
    {
        let mount = mounted(&mounts, &daemon.work("m"));
        assert_eq!(fs::read_to_string(mount.join("b")).unwrap(), "b");
        fs::write(mount.join("b"), "changed").unwrap();
    }
    assert_eq!(names(&daemon, "k8s.io/9/container").await, ["a", "b", "c"]);
    assert_eq!(fs::read_to_string(repository.layerfs(&layers[1]).join("b")).unwrap(), "b");
    // One line for each decision.
    let hits = daemon.logged(&[
        "\"outcome\":\"hit\"",
        "\"repository\":\"r.org\"",
        "\"by\":\"chain\"",
        "\"ms\":",
    ]);
    assert_eq!(hits, 3);
    // Removal leaves the repository alone.
    client.remove("k8s.io/9/container").await.unwrap();
    for layer in pulled.iter().rev() {
        client.remove(&layer.name).await.unwrap();
    }
    client.cleanup().await.unwrap();
    assert_eq!((daemon.directories().len(), daemon.trash()), (0, 0));
    for (layer, name) in layers.iter().zip(["a", "b", "c"]) {
        assert_eq!(fs::read_to_string(repository.layerfs(layer).join(name)).unwrap(), name);
    }
}

#[tokio::test]
async fn namespaces_share_and_are_independent() {
    let repository = Repository::new();
    let (_, chains) = repository.image(&["a", "b"]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let first = pull(&daemon.client, "one", &chains).await;
    let second = pull(&daemon.client, "two", &chains).await;
    assert_eq!(first, second);
    assert_eq!(daemon.logged(&["\"outcome\":\"present\""]), 2);
    // Both at once.
    let (_, others) = repository.image(&["c", "d", "e"]);
    let (one, two) =
        tokio::join!(pull(&daemon.client, "one", &others), pull(&daemon.client, "two", &others));
    assert_eq!(one, two);
    assert_eq!(remotes(&one), [true; 3]);
    daemon.client.cleanup().await.unwrap();
    assert_eq!(daemon.directories().len(), 5);
}

#[tokio::test]
async fn a_layer_in_several_images() {
    let repository = Repository::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| repository.add(name));
    let images = [[a, b, c], [c, b, a], [b, a, c]];
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    for (number, image) in images.iter().enumerate() {
        let pulled = pull(&daemon.client, "ns", &repository.publish(image)).await;
        assert_eq!(remotes(&pulled), [true; 3]);
        let key = format!("container {number}");
        daemon.client.prepare(&key, top(&pulled), &[]).await.unwrap();
        assert_eq!(names(&daemon, &key).await, ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn a_layer_twice_in_one_image_is_mounted_once_at_its_topmost_place() {
    let repository = Repository::new();
    let [a, b] = ["a", "b"].map(|name| repository.add(name));
    fs::write(repository.layerfs(&a).join("both"), "a").unwrap();
    fs::write(repository.layerfs(&b).join("both"), "b").unwrap();
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    let pulled = pull(client, "ns", &repository.publish(&[a, b, a, b, a])).await;
    assert_eq!(remotes(&pulled), [true; 5]);
    for (key, parent, content) in [("top", 4, "a"), ("middle", 3, "b"), ("first", 0, "a")] {
        let mounts = client.prepare(key, &pulled[parent].name, &[]).await.unwrap();
        let mount = mounted(&mounts, &daemon.work("m"));
        assert_eq!(fs::read_to_string(mount.join("both")).unwrap(), content);
        let expected: &[_] = match key {
            "top" => &[a, b],
            "middle" => &[b, a],
            _ => &[a],
        };
        let expected: Vec<_> = expected.iter().map(|layer| repository.layerfs(layer)).collect();
        assert_eq!(targets(&daemon, key).await, expected);
    }
    // Of the same layer alone a view shows no whiteouts for itself.
    let twice = pull(client, "ns", &repository.publish(&[b, b])).await;
    let mounts = client.view("twice", top(&twice)).await.unwrap();
    assert_eq!(mounts[0].r#type, "overlay");
    assert_eq!(names(&daemon, "twice").await, ["b", "both"]);
}

#[tokio::test]
async fn a_parent_that_is_local_in_one_namespace_and_remote_in_another() {
    let repository = Repository::new();
    let layers = ["a", "b"].map(layer);
    let chains = chains(&layers);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    // Nothing is published yet, and this client gives no labels: `ctr` 1.6.
    client.prepare("old/1/extract", "", &[]).await.unwrap();
    client.commit("old/1/base", "old/1/extract", &[]).await.unwrap();
    repository.image(&["a", "b"]);
    let remote = pull(client, "new", &chains).await;
    assert_eq!(remotes(&remote), [true; 2]);
    // The upper layer on the local parent: its own snapshot, found by containerd through that parent.
    let target = chains[1].to_string();
    let mixed =
        pull_layer(client, "old", 2, &target, "old/1/base", &[(TARGET, target.as_str())]).await;
    assert!(mixed.remote);
    assert_ne!(mixed.name, remote[1].name);
    // Once more in the other order: a layer that was unpacked with labels is shared as it is.
    let (_, others) = repository.image(&["x", "y"]);
    fs::rename(repository.path().join(".chains"), repository.path().join("away")).unwrap();
    let local = pull(client, "one", &others).await;
    assert_eq!(remotes(&local), [false, false]);
    fs::rename(repository.path().join("away"), repository.path().join(".chains")).unwrap();
    let shared = pull(client, "two", &others).await;
    assert_eq!(remotes(&shared), [true, true]);
    assert_eq!(shared[1].name, local[1].name);
}

#[tokio::test]
async fn local_layers_on_remote_ones() {
    let repository = Repository::new();
    let (layers, _) = repository.image(&["a", "b"]);
    let own = chains(&[layers[0], layers[1], layer("own")]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let pulled = pull(&daemon.client, "ns", &own[..2]).await;
    let mounts = daemon.client.prepare("own", top(&pulled), &[]).await.unwrap();
    {
        let mount = mounted(&mounts, &daemon.work("m"));
        fs::write(mount.join("own"), "own").unwrap();
        fs::remove_file(mount.join("a")).unwrap();
    }
    daemon.client.commit("own layer", "own", &[]).await.unwrap();
    daemon.client.prepare("container", "own layer", &[]).await.unwrap();
    assert_eq!(names(&daemon, "container").await, ["b", "own"]);
    // One local directory suffices for the name limit: no empty one on top.
    let mounts = daemon.client.view("view", "own layer").await.unwrap();
    assert_eq!(lower_paths(&mounts).len(), 3);
    assert_eq!(names(&daemon, "view").await, ["b", "own"]);
}

#[tokio::test]
async fn views() {
    let repository = Repository::new();
    let (layers, chains) = repository.image(&["a", "b", "c"]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let pulled = pull(&daemon.client, "ns", &chains).await;
    let one = daemon.client.view("one", &pulled[0].name).await.unwrap();
    assert_eq!((one[0].r#type.as_str(), one[0].options.join(" ").as_str()), ("bind", "ro rbind"));
    assert_eq!(fs::read_link(&one[0].source).unwrap(), repository.layerfs(&layers[0]));
    assert_eq!(names(&daemon, "one").await, ["a"]);
    // All from a repository: an empty local directory is the topmost.
    let before = daemon.directories();
    let three = daemon.client.view("three", &pulled[2].name).await.unwrap();
    let lowers = lower_paths(&three);
    assert_eq!(lowers.len(), 4);
    assert_eq!(lowers[0], daemon.new_directory(&before).join("fs"));
    assert_eq!(fs::read_dir(&lowers[0]).unwrap().count(), 0);
    assert_eq!(names(&daemon, "three").await, ["a", "b", "c"]);
    let mount = mounted(&three, &daemon.work("m"));
    assert!(fs::write(mount.join("new"), "x").is_err());
}

#[tokio::test]
async fn a_merged_root_replaces_all_layers_below() {
    let repository = Repository::new();
    let (layers, chains) = repository.image(&["a", "b", "c", "d"]);
    let merged = repository.merge(&chains[1], "merged");
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    let pulled = pull(client, "ns", &chains).await;
    let layerfs = |number: usize| repository.layerfs(&layers[number]);
    for (parent, expected) in [
        (0, vec![layerfs(0)]),
        (1, vec![merged.clone()]),
        (2, vec![layerfs(2), merged.clone()]),
        (3, vec![layerfs(3), layerfs(2), merged.clone()]),
    ] {
        let key = format!("container {parent}");
        client.prepare(&key, &pulled[parent].name, &[]).await.unwrap();
        assert_eq!(targets(&daemon, &key).await, expected);
    }
    assert_eq!(names(&daemon, "container 1").await, ["merged"]);
    assert_eq!(names(&daemon, "container 3").await, ["c", "d", "merged"]);
    let view = client.view("view 1", &pulled[1].name).await.unwrap();
    assert_eq!(
        (view[0].r#type.as_str(), fs::read_link(&view[0].source).unwrap()),
        ("bind", merged)
    );
    assert_eq!(names(&daemon, "view 1").await, ["merged"]);
    client.view("view 3", &pulled[3].name).await.unwrap();
    assert_eq!(names(&daemon, "view 3").await, ["c", "d", "merged"]);
}

#[tokio::test]
async fn an_opaque_root_hides_all_layers_below() {
    let repository = Repository::new();
    let (layers, chains) = repository.image(&["a", "b", "c"]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    for mark in [TRUSTED_OPAQUE, USER_OPAQUE] {
        xattr::set(repository.layerfs(&layers[1]), mark, OPAQUE_VALUE).unwrap();
        let pulled = pull(client, "ns", &chains).await;
        assert_eq!(remotes(&pulled), [true; 3]);
        client.prepare("container", top(&pulled), &[]).await.unwrap();
        assert_eq!(names(&daemon, "container").await, ["b", "c"]);
        client.view("view", &pulled[1].name).await.unwrap();
        assert_eq!(names(&daemon, "view").await, ["b"]);
        for key in ["container", "view"] {
            client.remove(key).await.unwrap();
        }
        for layer in pulled.iter().rev() {
            client.remove(&layer.name).await.unwrap();
        }
        xattr::remove(repository.layerfs(&layers[1]), mark).unwrap();
    }
    // The same for a layer that was unpacked here, whose user mark however an image's author may have set.
    let base = pull(client, "ns", &chains[..1]).await;
    for (mark, expected) in [(TRUSTED_OPAQUE, vec!["own"]), (USER_OPAQUE, vec!["a", "own"])] {
        let before = daemon.directories();
        client.prepare("p", top(&base), &[]).await.unwrap();
        let upper = daemon.new_directory(&before).join("fs");
        fs::write(upper.join("own"), "x").unwrap();
        xattr::set(&upper, mark, OPAQUE_VALUE).unwrap();
        client.commit(mark, "p", &[]).await.unwrap();
        client.prepare("container", mark, &[]).await.unwrap();
        assert_eq!(names(&daemon, "container").await, expected, "{mark}");
        client.remove("container").await.unwrap();
    }
}

#[tokio::test]
async fn a_hundred_and_twenty_seven_layers() {
    let repository = Repository::new();
    let all: Vec<_> = (0..127).map(|number| format!("layer-{number:03}")).collect();
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let (layers, chains) = repository.image(&all);
    for layer in &layers {
        fs::write(repository.layerfs(layer).join("last"), layer.diff.to_string()).unwrap();
    }
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let pulled = pull(&daemon.client, "ns", &chains).await;
    assert_eq!(remotes(&pulled), [true; 127]);
    let mut expected = all.clone();
    expected.insert(0, "last");
    daemon.client.prepare("container", top(&pulled), &[]).await.unwrap();
    assert_eq!(names(&daemon, "container").await, expected);
    daemon.client.view("view", top(&pulled)).await.unwrap();
    assert_eq!(names(&daemon, "view").await, expected);
    let mount = mounted(&daemon.client.mounts("container").await.unwrap(), &daemon.work("m"));
    assert_eq!(fs::read_to_string(mount.join("last")).unwrap(), layers[126].diff.to_string());
}

#[tokio::test]
async fn by_layer_digest() {
    let repository = Repository::new();
    let [a, b, completed, nameless, odd] =
        ["a", "b", "completed", "nameless", "odd"].map(|name| repository.add(name));
    repository.write_metadata(&completed, LayerMetadata::Parent, "{\"parent\":\"sha256:x\"}");
    fs::remove_file(repository.at(&path::layer_metadata(&nameless.digest, LayerMetadata::Layers)))
        .unwrap();
    repository.write_metadata(&odd, LayerMetadata::Layers, "[]");
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    let suffixed = format!("{STARGZ_LAYER_DIGEST}.abc");
    let none = layer("none");
    let digest = |layer: &Layer| layer.digest.to_string();
    // On nothing: the chain is the DiffID.
    for (number, (key, value, wanted, expected)) in [
        (THIN_LAYER_DIGEST, digest(&a), &a, true),
        (CRI_LAYER_DIGEST, digest(&b), &b, true),
        (STARGZ_LAYER_DIGEST, digest(&layer("none")), &none, false),
        // Another layer than the chain says: an image's author can write any digest.
        (THIN_LAYER_DIGEST, digest(&a), &layer("another"), false),
        (CRI_LAYER_DIGEST, digest(&b), &layer("other"), false),
        // Only right above one chain.
        (CRI_LAYER_DIGEST, digest(&completed), &completed, false),
        // Cannot be checked.
        (CRI_LAYER_DIGEST, digest(&nameless), &nameless, false),
        (CRI_LAYER_DIGEST, digest(&odd), &odd, false),
    ]
    .into_iter()
    .enumerate()
    {
        let image = [(ChainId::base(wanted.diff), vec![(key, value.clone())])];
        let pulled = pull_with(client, &number.to_string(), &image).await;
        assert_eq!(remotes(&pulled), [expected], "{key} {value}");
    }
    // On a parent whose chain is known, and on one where it is not.
    let two = chains(&[a, b]);
    let pulled = pull_with(
        client,
        "ns",
        &[
            (two[0], vec![]),
            (two[1], vec![(suffixed.as_str(), digest(&b)), (CRI_LAYER_DIGEST, digest(&none))]),
        ],
    )
    .await;
    assert_eq!(remotes(&pulled), [true, true]);
    assert_eq!(daemon.logged(&["\"outcome\":\"hit\"", "\"by\":\"digest\""]), 3);
    client.prepare("unlabelled-p", "", &[]).await.unwrap();
    client.commit("unlabelled", "unlabelled-p", &[]).await.unwrap();
    let (target, blob) = (two[1].to_string(), digest(&b));
    let labels = [(TARGET, target.as_str()), (CRI_LAYER_DIGEST, blob.as_str())];
    assert!(!pull_layer(client, "x", 1, &target, "unlabelled", &labels).await.remote);
}

#[tokio::test]
async fn several_repositories() {
    let (one, two) = (Repository::new(), Repository::new());
    let (layers, both) = one.image(&["a", "b"]);
    two.image(&["a", "b"]);
    let (_, only_two) = two.image(&["c"]);
    let daemon = Daemon::with(&[("one.org", one.path()), ("two.org", two.path())]).await;
    let client = &daemon.client;
    let link_of =
        |before: &[String]| fs::read_link(daemon.new_directory(before).join("fs")).unwrap();
    // In order; a thin image can choose, but only among the configured ones.
    for (number, (repository, expected)) in [
        ("", one.path()),
        ("two.org", two.path()),
        ("nosuch.org", one.path()),
        ("../two.org", one.path()),
        ("/tmp", one.path()),
    ]
    .into_iter()
    .enumerate()
    {
        let before = daemon.directories();
        let image = [(both[0], vec![(THIN_REPOSITORY, repository.to_owned())])];
        let pulled = pull_with(client, "ns", &image).await;
        assert_eq!(remotes(&pulled), [true], "{number}");
        assert!(link_of(&before).starts_with(expected), "{repository}");
        client.remove(&pulled[0].name).await.unwrap();
        client.cleanup().await.unwrap();
    }
    assert_eq!(remotes(&pull(client, "ns", &only_two).await), [true]);
    // One image from two repositories.
    fs::remove_dir_all(one.at(&path::chain(&both[1]))).unwrap();
    let pulled = pull(client, "ns", &both).await;
    client.prepare("container", top(&pulled), &[]).await.unwrap();
    assert_eq!(
        targets(&daemon, "container").await,
        [two.layerfs(&layers[1]), one.layerfs(&layers[0])]
    );
    assert_eq!(names(&daemon, "container").await, ["a", "b"]);
}

/// Every chain is a different trap; each must end in an ordinary `Prepare`.
#[tokio::test]
async fn what_leads_out_of_a_repository_is_not_served() {
    let repository = Repository::new();
    let outside = Repository::new();
    let good = repository.add("good");
    let secret = outside.add("secret");
    let up = |path: &Path| Path::new("../../../..").join(path.strip_prefix("/").unwrap());
    let deep_up = |path: &Path| {
        Path::new("../../../../../../../../../..").join(path.strip_prefix("/").unwrap())
    };
    fs::write(repository.path().join("file"), "x").unwrap();
    symlink(outside.path(), repository.path().join("door")).unwrap();
    let good_path = repository.layerfs(&good);
    let traps = [
        ("absolute", outside.layerfs(&secret)),
        ("absolute, but inside", good_path),
        ("relative", deep_up(&outside.layerfs(&secret))),
        ("half way out", up(&outside.layerfs(&secret))),
        ("through another link", Path::new("../../../door/.layers").to_owned()),
        ("to the system", Path::new("/etc").to_owned()),
        ("nowhere", Path::new("../../../nosuch").to_owned()),
        ("in a circle", Path::new("layer").to_owned()),
        ("to a file", Path::new("../../../file").to_owned()),
        ("to the whole repository", Path::new("../../..").to_owned()),
        ("to a process", Path::new("/proc/self/root/etc").to_owned()),
    ];
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    for (name, target) in traps {
        let chain = ChainId::from(Digest::of(name.as_bytes()));
        repository.link(&chain, &target);
        let pulled = pull(&daemon.client, "ns", &[chain]).await;
        assert_eq!(remotes(&pulled), [false], "{name}");
    }
    // The same for a layer by its digest, its metadata, and a merged root.
    let bad = layer("bad");
    fs::create_dir_all(repository.at(&path::layer(&bad.digest))).unwrap();
    symlink(outside.layerfs(&secret), repository.layerfs(&bad)).unwrap();
    let image = |layer: &Layer| {
        [(ChainId::base(layer.diff), vec![(CRI_LAYER_DIGEST, layer.digest.to_string())])]
    };
    assert_eq!(remotes(&pull_with(&daemon.client, "ns", &image(&bad)).await), [false]);
    let stolen = repository.add("stolen");
    let file = repository.at(&path::layer_metadata(&stolen.digest, LayerMetadata::Layers));
    fs::rename(&file, outside.path().join("layers.json")).unwrap();
    symlink(outside.path().join("layers.json"), &file).unwrap();
    assert_eq!(remotes(&pull_with(&daemon.client, "ns", &image(&stolen)).await), [false]);
    let merged = repository.publish(&[good]);
    symlink(outside.path(), repository.at(&path::chain_rootfs(&merged[0]))).unwrap();
    let pulled = pull(&daemon.client, "ns", &merged).await;
    assert_eq!(remotes(&pulled), [true]);
    daemon.client.prepare("container", top(&pulled), &[]).await.unwrap();
    assert_eq!(names(&daemon, "container").await, ["good"]);
}

#[tokio::test]
async fn hostile_labels_mean_an_ordinary_prepare() {
    let repository = Repository::new();
    let (_, chains) = repository.image(&["a"]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    let long = "x".repeat(4000);
    for (number, target) in [
        "sha256:../../../../etc/passwd",
        "../../etc",
        "sha512:00",
        "some name",
        "sha256:\u{0}",
        long.as_str(),
        &chains[0].to_string().to_uppercase(),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("target {number}");
        client.prepare(&key, "", &[(TARGET, target)]).await.unwrap();
        assert_eq!(client.stat(&key).await.unwrap().kind(), Kind::Active);
    }
    let unknown = ChainId::from(Digest::of(b"unknown")).to_string();
    for (number, (key, value)) in [
        (CRI_LAYER_DIGEST, "sha256:../../x"),
        (CRI_LAYER_DIGEST, "no-colon"),
        (THIN_LAYER_DIGEST, ""),
        (THIN_REPOSITORY, "../../../etc"),
        (STARGZ_LAYER_DIGEST, long.as_str()),
        (UID_MAPPING, "nonsense"),
        (GID_MAPPING, "0:0:1"),
        ("containerd.io/snapshot/\n\u{0}", "\u{1}"),
    ]
    .into_iter()
    .enumerate()
    {
        let labels = [(TARGET, unknown.as_str()), (key, value)];
        client.prepare(&format!("label {number}"), "", &labels).await.unwrap();
    }
    // An empty target is none.
    client.prepare("empty", "", &[(TARGET, "")]).await.unwrap();
}

#[tokio::test]
async fn errors_of_prepare_come_before_the_layer() {
    let repository = Repository::new();
    let (_, chains) = repository.image(&["a"]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    let target = chains[0].to_string();
    let labels = [(TARGET, target.as_str())];
    client.prepare("active", "", &[]).await.unwrap();
    assert_eq!(code(client.prepare("k", "nosuch", &labels).await), Code::NotFound);
    assert_eq!(code(client.prepare("k", "active", &labels).await), Code::InvalidArgument);
    assert_eq!(client.names(&[]).await.unwrap(), ["active"]);
    // The name that a remote snapshot would get is taken by something else: unpack as usual.
    let pulled = pull(client, "ns", &chains).await;
    client.remove(top(&pulled)).await.unwrap();
    client.prepare(top(&pulled), "", &[]).await.unwrap();
    assert_eq!(
        pull(client, "ns", &chains).await,
        [Pulled { name: format!("ns/0/{target}"), remote: false }]
    );
}

#[tokio::test]
async fn id_mapping_of_remote_layers_is_refused() {
    let repository = Repository::new();
    let (_, chains) = repository.image(&["a"]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let pulled = pull(&daemon.client, "ns", &chains).await;
    let before = (daemon.client.list(&[]).await.unwrap(), daemon.directories());
    let labels = [(UID_MAPPING, "0:1000:10"), (GID_MAPPING, "0:1000:10")];
    let refused = daemon.client.prepare("container", top(&pulled), &labels).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for part in ["r.org", "hostUsers", "remap-ids"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    daemon.client.cleanup().await.unwrap();
    assert_eq!((daemon.client.list(&[]).await.unwrap(), daemon.directories()), before);
}
