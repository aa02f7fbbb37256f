//! Layers that are not downloaded.

use std::fs;
use std::os::unix::fs::lchown;

use cvmfs_snapshotter::proto::snapshots::Kind;
use layer_layout::label::{GID_MAPPING, TARGET, UID_MAPPING};
use layer_layout::overlay::{OPAQUE_VALUE, TRUSTED_OPAQUE, USER_OPAQUE};
use tonic::Code;

use crate::client::code;
use crate::daemon::Daemon;
use crate::mount::{lower_paths, mounted};
use crate::repository::{Repository, chains, layer, pull, pull_layer, remotes, top};

/// Names in the root of a mounted snapshot.
pub async fn names(daemon: &Daemon, key: &str) -> Vec<String> {
    let mounts = daemon.client.mounts(key).await.unwrap();
    let mount = mounted(&mounts, &daemon.work("names"));
    let mut names: Vec<_> = fs::read_dir(mount.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // Every name can be looked up, not only listed.
    for name in &names {
        fs::metadata(mount.join(name)).unwrap();
    }
    names
}

/// Where the lower directories of a snapshot lead.
pub async fn targets(daemon: &Daemon, key: &str) -> Vec<std::path::PathBuf> {
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
    // Nothing else is left behind, and every record is as containerd needs it.
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
    // One log line for each decision.
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

/// An image may have more layers than a label has room for: containerd then lists those that fit.
#[tokio::test]
async fn a_list_of_layers_that_containerd_has_cut() {
    const LAYERS: &str = "containerd.io/snapshot/cri.image-layers";
    let repository = Repository::new();
    let (_, chains) = repository.image(&["a", "b"]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let digest = format!("sha256:{},", "0".repeat(64));
    let room = (4096 - LAYERS.len()) / digest.len();
    let mut parent = String::new();
    for (number, (chain, layers)) in chains.iter().zip([room, 500]).enumerate() {
        let (target, listed) = (chain.to_string(), digest.repeat(layers.min(room)));
        let labels = [(TARGET, target.as_str()), (LAYERS, &listed)];
        let pulled = pull_layer(&daemon.client, "k8s.io", number, &target, &parent, &labels).await;
        assert!(pulled.remote, "{number}");
        let found = daemon.client.stat(&pulled.name).await.unwrap();
        assert_eq!(found.labels[LAYERS], listed);
        parent = pulled.name;
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
    // Both at the same time.
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
    // Even if only one distinct layer remains, the view is an overlay, so that its whiteouts do not show.
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
    // Nothing is published yet, and this client (`ctr` 1.6) passes no labels.
    client.prepare("old/1/extract", "", &[]).await.unwrap();
    client.commit("old/1/base", "old/1/extract", &[]).await.unwrap();
    repository.image(&["a", "b"]);
    let remote = pull(client, "new", &chains).await;
    assert_eq!(remotes(&remote), [true; 2]);
    // The upper layer on the local parent gets a snapshot of its own, which containerd finds through that parent.
    let target = chains[1].to_string();
    let mixed =
        pull_layer(client, "old", 2, &target, "old/1/base", &[(TARGET, target.as_str())]).await;
    assert!(mixed.remote);
    assert_ne!(mixed.name, remote[1].name);
    // Again, in the other order: a layer that was unpacked with labels is shared as it is.
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
    // One local directory is enough for the name limit, so there is no empty one on top.
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
    // All layers are in a repository, so an empty local directory is the topmost lower.
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
    // The same for a layer that was unpacked here. A `user.*` mark, however, may have been set by the image's author.
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
