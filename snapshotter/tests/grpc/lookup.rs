//! Where a layer is looked for, and what is not trusted.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use cvmfs_snapshotter::proto::snapshots::Kind;
use layer_layout::label::{
    CRI_LAYER_DIGEST, GID_MAPPING, STARGZ_LAYER_DIGEST, TARGET, THIN_LAYER_DIGEST, THIN_REPOSITORY,
    UID_MAPPING,
};
use layer_layout::path::{self, LayerMetadata};
use layer_layout::{ChainId, Digest};
use rustix::fs::FileType;
use tonic::Code;

use crate::client::code;
use crate::daemon::Daemon;
use crate::remote::{names, targets};
use crate::repository::{
    Layer, Pulled, Repository, chains, layer, pull, pull_layer, pull_with, remotes, top,
};

#[tokio::test]
async fn by_layer_digest() {
    let repository = Repository::new();
    let [a, b, completed, nameless, odd, ducc] =
        ["a", "b", "completed", "nameless", "odd", "ducc"].map(|name| repository.add(name));
    repository.write_metadata(&completed, LayerMetadata::Parent, "{\"parent\":\"sha256:x\"}");
    fs::remove_file(repository.at(&path::layer_metadata(&nameless.digest, LayerMetadata::Layers)))
        .unwrap();
    repository.write_metadata(&odd, LayerMetadata::Layers, "[]");
    let in_another_form = format!(r#"[{{"diff-digest":"{}"}}]"#, ducc.diff);
    repository.write_metadata(&ducc, LayerMetadata::Layers, &in_another_form);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    let suffixed = format!("{STARGZ_LAYER_DIGEST}.abc");
    let none = layer("none");
    let digest = |layer: &Layer| layer.digest.to_string();
    // Without a parent: the ChainID is the DiffID.
    for (number, (key, value, wanted, expected)) in [
        (THIN_LAYER_DIGEST, digest(&a), &a, true),
        (CRI_LAYER_DIGEST, digest(&b), &b, true),
        (STARGZ_LAYER_DIGEST, digest(&layer("none")), &none, false),
        // Not the layer that the ChainID demands: an image's author can write any digest.
        (THIN_LAYER_DIGEST, digest(&a), &layer("another"), false),
        (CRI_LAYER_DIGEST, digest(&b), &layer("other"), false),
        // Only correct above one particular chain.
        (CRI_LAYER_DIGEST, digest(&completed), &completed, false),
        // Cannot be checked.
        (CRI_LAYER_DIGEST, digest(&nameless), &nameless, false),
        (CRI_LAYER_DIGEST, digest(&odd), &odd, false),
        // Unpacked by DUCC, with whiteouts as files.
        (CRI_LAYER_DIGEST, digest(&ducc), &ducc, false),
    ]
    .into_iter()
    .enumerate()
    {
        let image = [(ChainId::base(wanted.diff), vec![(key, value.clone())])];
        let pulled = pull_with(client, &number.to_string(), &image).await;
        assert_eq!(remotes(&pulled), [expected], "{key} {value}");
    }
    // On a parent whose ChainID is known, and on one whose ChainID is not.
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
    // In the configured order; a thin image can choose another one, but only among those configured.
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
    // One image whose layers come from two repositories.
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
    // An empty target is no target.
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
    // The name that a remote snapshot would get is already taken: the layer is unpacked as usual.
    let pulled = pull(client, "ns", &chains).await;
    client.remove(top(&pulled)).await.unwrap();
    client.prepare(top(&pulled), "", &[]).await.unwrap();
    assert_eq!(
        pull(client, "ns", &chains).await,
        [Pulled { name: format!("ns/0/{target}"), remote: false }]
    );
}

/// What stands in a repository in place of a layer's record is nobody's but that layer's problem.
#[tokio::test]
async fn one_bad_record_is_a_miss_for_its_layer() {
    let repository = Repository::new();
    let good = repository.add("good");
    let record =
        |layer: &Layer| repository.at(&path::layer_metadata(&layer.digest, LayerMetadata::Layers));
    let node = |file: &Path, kind: FileType, device: (u32, u32)| {
        let device = rustix::fs::makedev(device.0, device.1);
        rustix::fs::mknodat(rustix::fs::CWD, file, kind, 0o644.into(), device).unwrap();
    };
    let bad: Vec<_> = [
        "a FIFO",
        "a socket",
        "a terminal",
        "an empty device",
        "a directory",
        "a directory above",
        "too large",
        "not JSON",
        "empty",
        "unreadable text",
    ]
    .map(|name| (name, repository.add(name)))
    .into();
    for (name, layer) in &bad {
        let file = record(layer);
        fs::remove_file(&file).unwrap();
        match *name {
            "a FIFO" => node(&file, FileType::Fifo, (0, 0)),
            "a socket" => node(&file, FileType::Socket, (0, 0)),
            "a terminal" => node(&file, FileType::CharacterDevice, (5, 0)),
            "an empty device" => node(&file, FileType::CharacterDevice, (250, 250)),
            "a directory" => fs::create_dir(&file).unwrap(),
            "a directory above" => {
                fs::remove_dir(file.parent().unwrap()).unwrap();
                node(file.parent().unwrap(), FileType::Fifo, (0, 0));
            }
            "too large" => {
                let text = fs::read(record(&good)).unwrap();
                fs::write(&file, [text, vec![b' '; 10 << 20]].concat()).unwrap();
            }
            "not JSON" => fs::write(&file, "{\"\u{1b}[2J\n".repeat(1000)).unwrap(),
            "empty" => fs::write(&file, "").unwrap(),
            _ => fs::write(&file, [0xff; 5000]).unwrap(),
        }
    }
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let started = Instant::now();
    let by_digest = |layer: &Layer| (CRI_LAYER_DIGEST, layer.digest.to_string());
    for (name, layer) in &bad {
        let image = [(ChainId::base(layer.diff), vec![by_digest(layer)])];
        assert_eq!(remotes(&pull_with(&daemon.client, name, &image).await), [false], "{name}");
        // Whoever also names a good one is served.
        let labels = vec![by_digest(&good), (THIN_LAYER_DIGEST, layer.digest.to_string())];
        let image = [(ChainId::base(good.diff), labels)];
        let pulled = pull_with(&daemon.client, name, &image).await;
        assert_eq!(remotes(&pulled), [true], "{name}");
        daemon.client.remove(top(&pulled)).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(daemon.logged(&["\"outcome\":\"miss\"", "no usable DiffID"]), bad.len());
    assert_eq!(daemon.logged(&["\"outcome\":\"hit\""]), bad.len());
    for silence in ["\"outcome\":\"unavailable\"", "does not answer"] {
        assert_eq!(daemon.logged(&[silence]), 0, "{silence}");
    }
    assert!(daemon.log().lines().all(|line| line.len() < 4000));
}

/// Each digest costs the repository some questions; an image's author must not keep it busy with hundreds of them.
#[tokio::test]
async fn only_a_few_digests_are_looked_for() {
    let repository = Repository::new();
    let good = repository.add("good");
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let unknown = |number: usize| {
        let digest = Digest::of(format!("unknown {number}").as_bytes()).to_string();
        (format!("{STARGZ_LAYER_DIGEST}.{number:03}"), digest)
    };
    for (others, expected) in [(3, true), (300, false)] {
        let mut labels: Vec<_> = (0..others).map(unknown).collect();
        labels.push((format!("{STARGZ_LAYER_DIGEST}.z"), good.digest.to_string()));
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let pulled =
            pull_with(&daemon.client, &others.to_string(), &[(ChainId::base(good.diff), labels)])
                .await;
        assert_eq!(remotes(&pulled), [expected], "{others}");
        daemon.client.remove(top(&pulled)).await.unwrap();
    }
}
