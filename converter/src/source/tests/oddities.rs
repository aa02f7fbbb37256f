//! Images of registries that other tools take, although something about them is odd.

use layer_layout::Digest;
use serde_json::{Value, json};

use super::fixture::{Fixture, descriptor, open, options, served, text};
use super::server::{Answer, Server};
use crate::source::{Error, Platforms, Remark, media_type};

/// A registry with these documents and blobs, all by their digests; the first one is tagged `1`. Documents come without a
/// media type.
async fn registry(documents: Vec<Vec<u8>>, blobs: Vec<Vec<u8>>) -> Server {
    Server::start(move |request, _| {
        let path = request.path();
        let named = |bytes: &&Vec<u8>| path.ends_with(&Digest::of(bytes).to_string());
        if path.ends_with("/manifests/1") {
            return served(&documents[0], "application/json");
        }
        let document = documents.iter().find(|it| path.contains("/manifests/") && named(it));
        match document.or(blobs.iter().find(|it| path.contains("/blobs/") && named(it))) {
            Some(bytes) => Answer::new(200, bytes.as_slice()),
            None => Answer::new(404, ""),
        }
    })
    .await
}

fn config(architecture: &str, layers: usize) -> Vec<u8> {
    let diff_ids = vec![Digest::of(b"layer"); layers];
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    json!({"os": "linux", "architecture": architecture, "rootfs": rootfs}).to_string().into_bytes()
}

/// A manifest with one layer.
fn manifest(config: &[u8], config_type: Value) -> Vec<u8> {
    let mut config = descriptor("", config);
    config["mediaType"] = config_type;
    let layer = descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", b"layer");
    json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string().into_bytes()
}

fn index(entries: &[Value]) -> Vec<u8> {
    json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes()
}

fn on(mut entry: Value, platform: Value) -> Value {
    entry["platform"] = platform;
    entry
}

/// A schema 2 manifest of 2016, and worse.
#[tokio::test]
async fn configurations_of_unusual_types() {
    let image = config("amd64", 1);
    for (config_type, config, error) in [
        (json!("application/octet-stream"), &image, None),
        (Value::Null, &image, None),
        (json!("application/vnd.example+json"), &image, None),
        (
            json!("application/vnd.example+json"),
            &b"{}".to_vec(),
            Some("it describes application/vnd.example+json"),
        ),
        (
            json!("application/octet-stream"),
            &config("amd64", 2),
            Some("it describes application/octet-stream"),
        ),
    ] {
        let manifest = manifest(config, config_type.clone());
        let server = registry(vec![manifest], vec![config.clone()]).await;
        let source = open(&server, ":1", &options()).await;
        match (source.resolve(None).await, error) {
            (Ok(image), None) => {
                assert_eq!(source.config(&image).await.unwrap(), *config);
                // It is read once.
                assert_eq!(server.log().len(), 2, "{config_type}");
            }
            (Err(error), Some(part)) => assert!(text(&error).contains(part), "{}", text(&error)),
            (result, _) => panic!("{config_type}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn indexes_in_indexes() {
    let (amd, arm) = (config("amd64", 1), config("arm64", 1));
    let manifests = [&amd, &arm].map(|config| manifest(config, json!(media_type::OCI_CONFIG)));
    let [amd64, arm64] = manifests.each_ref().map(|it| descriptor(media_type::OCI_MANIFEST, it));
    let [of_amd, of_arm] = ["amd64", "arm64"].map(|it| json!({"os": "linux", "architecture": it}));
    let attestation = on(arm64.clone(), json!({"os": "unknown", "architecture": "unknown"}));
    let inner = [
        index(&[attestation.clone(), on(amd64.clone(), of_amd.clone())]),
        index(&[on(arm64.clone(), of_arm.clone()), attestation]),
    ];
    let [inner_amd, inner_arm] = inner.each_ref().map(|it| descriptor(media_type::OCI_INDEX, it));
    let middle = index(&[inner_amd.clone(), inner_arm.clone()]);
    for (first, requests) in [
        // As of two builds with attestations, put together by platform: only the right one is read.
        (index(&[on(inner_arm.clone(), of_arm.clone()), on(inner_amd.clone(), of_amd)]), 3),
        (index(&[inner_arm, inner_amd]), 4),
        (index(&[descriptor(media_type::OCI_INDEX, &middle)]), 5),
    ] {
        let documents = [vec![first.clone(), middle.clone()], inner.to_vec(), manifests.to_vec()];
        let server = registry(documents.concat(), vec![amd.clone(), arm.clone()]).await;
        let source = open(&server, ":1", &options()).await;
        let image = source.resolve(None).await.unwrap();
        assert_eq!(image.manifest.bytes, manifests[0]);
        // What the tag leads to: by this it is seen whether the image has changed.
        assert_eq!(image.index.unwrap().bytes, first);
        assert_eq!(server.log().len(), requests);
        let found = source.resolve_all(&Platforms::All, &[]).await.unwrap();
        let mut platforms: Vec<_> =
            found.images.iter().map(|it| it.platform.as_ref().unwrap().to_string()).collect();
        platforms.sort();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        assert_eq!(found.remarks, []);
    }
    let mut documents = vec![index(&[descriptor(media_type::OCI_MANIFEST, &manifests[0])])];
    for _ in 0..6 {
        documents.insert(0, index(&[descriptor(media_type::OCI_INDEX, &documents[0])]));
    }
    let server = registry(documents, vec![]).await;
    let message = text(&open(&server, ":1", &options()).await.resolve(None).await.unwrap_err());
    assert!(message.contains("nested too deep"), "{message}");
}

/// What half an entry is for is told by its configuration, and no other entry suffers.
#[tokio::test]
async fn entries_with_half_a_platform() {
    let (amd, arm) = (config("amd64", 1), config("arm64", 1));
    let manifests = [&amd, &arm].map(|config| manifest(config, json!(media_type::OCI_CONFIG)));
    let [amd64, arm64] = manifests.each_ref().map(|it| descriptor(media_type::OCI_MANIFEST, it));
    let complete =
        |entry: &Value, it: &str| on(entry.clone(), json!({"os": "linux", "architecture": it}));
    let half = |entry: &Value| on(entry.clone(), json!({"architecture": "amd64"}));
    let broken = json!({"mediaType": media_type::OCI_MANIFEST, "digest": format!("sha512:{}", "0".repeat(128)), "size": 1});
    for (entries, platform, expected, platforms) in [
        (vec![half(&arm64), complete(&amd64, "amd64")], "amd64", Ok(0), &["amd64", "arm64"][..]),
        (vec![half(&arm64), complete(&amd64, "amd64")], "arm64", Ok(1), &["amd64", "arm64"]),
        (vec![half(&arm64), half(&amd64)], "amd64", Ok(0), &["arm64", "amd64"]),
        (
            vec![half(&amd64)],
            "arm64",
            Err("no image for linux/arm64; it has linux/amd64"),
            &["amd64"],
        ),
        (vec![broken.clone(), complete(&amd64, "amd64")], "amd64", Ok(0), &["amd64"]),
        (
            vec![broken.clone(), complete(&amd64, "amd64")],
            "arm64",
            Err("only SHA-256 is supported"),
            &["amd64"],
        ),
        (vec![half(&amd64), complete(&amd64, "amd64")], "amd64", Ok(0), &["amd64"]),
    ] {
        let first = index(&entries);
        let documents = [vec![first], manifests.to_vec()].concat();
        let server = registry(documents, vec![amd.clone(), arm.clone()]).await;
        let platform = format!("linux/{platform}").parse().unwrap();
        let source = open(&server, ":1", &crate::source::Options { platform, ..options() }).await;
        match (source.resolve(None).await, expected) {
            (Ok(image), Ok(number)) => assert_eq!(image.manifest.bytes, manifests[number]),
            (Err(error), Err(part)) => assert!(text(&error).contains(part), "{}", text(&error)),
            (result, _) => panic!("{entries:?}: {result:?}"),
        }
        let found = source.resolve_all(&Platforms::All, &[]).await.unwrap();
        let shown: Vec<_> =
            found.images.iter().map(|it| it.platform.as_ref().unwrap().architecture()).collect();
        assert_eq!(shown, platforms, "{entries:?}");
        let is_unusable = |remark: &&Remark| matches!(remark, Remark::Unusable(_));
        let unusable = found.remarks.iter().filter(is_unusable).count();
        assert_eq!(unusable, usize::from(entries.contains(&broken)), "{:?}", found.remarks);
    }
}

/// An index with one entry whose configuration does not say what it is for, either: it can only be meant for all.
#[tokio::test]
async fn an_image_that_does_not_say_what_it_is_for() {
    let fixture = Fixture::new();
    let silent = json!({"rootfs": {"type": "layers", "diff_ids": [Digest::of(b"layer")]}});
    let silent = silent.to_string().into_bytes();
    let manifest = manifest(&silent, json!(media_type::OCI_CONFIG));
    let first = index(&[descriptor(media_type::OCI_MANIFEST, &manifest)]);
    let server = registry(vec![first, manifest.clone()], vec![silent, fixture.config]).await;
    let source = open(&server, ":1", &options()).await;
    assert_eq!(source.resolve(None).await.unwrap().manifest.bytes, manifest);
    let error = source.resolve_all(&Platforms::All, &[]).await.unwrap_err();
    assert!(matches!(&error, Error::Document { .. }), "{error:?}");
    assert!(text(&error).contains("ask for one platform"), "{}", text(&error));
}
