//! The images of an index.

use layer_layout::{Digest, Platform};
use serde_json::{Value, json};

use super::fixture::{Fixture, descriptor, open, options, served, text};
use super::server::Server;
use crate::source::{Error, Images, KnownManifest, Platforms, Remark, Result, media_type};

/// An index with all that is found in the wild, and the images that it leads to.
struct Multi {
    server: Server,
    /// The manifests of amd64, arm64/v8, arm64 again, windows, one that does not say (s390x).
    manifests: Vec<Vec<u8>>,
}

fn config(architecture: &str, os: &str) -> Vec<u8> {
    json!({"architecture": architecture, "os": os, "rootfs": {"type": "layers", "diff_ids": []}})
        .to_string()
        .into_bytes()
}

fn manifest(config: &[u8], config_type: &str) -> Vec<u8> {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(config_type, config),
        "layers": [],
    })
    .to_string()
    .into_bytes()
}

impl Multi {
    async fn start() -> Self {
        let configs = [
            config("amd64", "linux"),
            config("arm64", "linux"),
            config("arm64", "linux/2"),
            config("amd64", "windows"),
            config("s390x", "linux"),
        ];
        let image = |config: &Vec<u8>| manifest(config, media_type::OCI_CONFIG);
        let manifests: Vec<Vec<u8>> = configs.iter().map(image).collect();
        let helm = b"{}".to_vec();
        let chart = manifest(&helm, "application/vnd.cncf.helm.config.v1+json");
        let entry = |manifest: &[u8], more: Value| {
            let mut entry = descriptor(media_type::OCI_MANIFEST, manifest);
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            entry
        };
        let platform = |os: &str, architecture: &str, variant: Option<&str>| {
            let mut platform = json!({"os": os, "architecture": architecture});
            if let Some(variant) = variant {
                platform["variant"] = json!(variant);
            }
            json!({"platform": platform})
        };
        let mut attestation = platform("unknown", "unknown", None);
        attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        let nothing = |number: u8| vec![number; 10];
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": [
                entry(&manifests[0], platform("linux", "amd64", None)),
                entry(&nothing(1), attestation),
                entry(&nothing(2), platform("unknown", "unknown", None)),
                entry(&manifests[1], platform("linux", "arm64", Some("v8"))),
                entry(&manifests[2], platform("linux", "arm64", None)),
                entry(&manifests[3], platform("windows", "amd64", None)),
                entry(&nothing(3), json!({"artifactType": "application/vnd.example.sbom"})),
                entry(&chart, json!({})),
                entry(&manifests[4], json!({})),
            ],
        });
        let index = index.to_string().into_bytes();
        let documents = manifests.clone();
        let server = Server::start(move |request, _| {
            let path = request.path();
            let named = |bytes: &&Vec<u8>| path.ends_with(&Digest::of(bytes).to_string());
            if path.ends_with("/manifests/index") {
                return served(&index, media_type::OCI_INDEX);
            }
            if path.ends_with("/manifests/windows") {
                return served(&documents[3], media_type::OCI_MANIFEST);
            }
            if path.ends_with("/manifests/1") {
                return served(&documents[4], media_type::OCI_MANIFEST);
            }
            if let Some(document) = documents.iter().chain([&chart]).find(named) {
                return served(document, media_type::OCI_MANIFEST);
            }
            match configs.iter().find(named) {
                Some(config) => super::server::Answer::new(200, config.as_slice()),
                None => super::server::Answer::new(404, ""),
            }
        })
        .await;
        Self { server, manifests }
    }

    async fn all(&self, tag: &str, wanted: &Platforms, known: &[KnownManifest]) -> Result<Images> {
        open(&self.server, tag, &options()).await.resolve_all(wanted, known).await
    }
}

fn listed(names: &[&str]) -> Platforms {
    Platforms::Listed(names.iter().map(|name| name.parse().unwrap()).collect())
}

fn shown(images: &Images) -> Vec<String> {
    let show = |platform: &Option<Platform>| platform.as_ref().unwrap().to_string();
    images.images.iter().map(|image| show(&image.platform)).collect()
}

#[tokio::test]
async fn all_images_of_an_index() {
    let multi = Multi::start().await;
    let found = multi.all(":index", &Platforms::All, &[]).await.unwrap();
    assert_eq!(shown(&found), ["linux/amd64", "linux/arm64/v8", "linux/s390x"]);
    let digest = |number: usize| Digest::of(&multi.manifests[number]);
    for (image, number) in found.images.iter().zip([0, 1, 4]) {
        assert_eq!(image.manifest.digest, digest(number));
        assert_eq!(image.index, found.images[0].index);
        assert!(image.index.is_some());
        assert_eq!(image.name.as_ref().unwrap().to_string().rsplit(':').next(), Some("index"));
    }
    assert!(found.remarks.iter().any(|remark| matches!(remark,
        Remark::Duplicate { taken, left_out, .. } if *taken == digest(1) && *left_out == digest(2))));
    assert!(matches!(found.remarks[1], Remark::NotAnImage(_)), "{:?}", found.remarks);
    assert_eq!(found.remarks.len(), 2);
    // The index, three images, the chart, and the configuration of the image that does not say what it is for.
    assert_eq!(multi.server.log().len(), 1 + 3 + 1 + 1);

    // What is known is not fetched.
    let before = multi.server.log().len();
    let known: Vec<_> = multi.manifests.iter().cloned().map(KnownManifest::new).collect();
    let again = multi.all(":index", &Platforms::All, &known).await.unwrap();
    assert_eq!(again, found);
    assert_eq!(multi.server.log().len() - before, 1 + 1 + 1);
}

#[tokio::test]
async fn listed_images_of_an_index() {
    let multi = Multi::start().await;
    for (wanted, expected, missing, requests) in [
        (&["linux/arm64", "linux/amd64"][..], &["linux/arm64/v8", "linux/amd64"][..], 0, 3),
        // What does not say what it is for is asked: two manifests, and the configuration of the one that is an image.
        (&["linux/amd64", "linux/ppc64le"], &["linux/amd64"], 2, 5),
        (&["linux/s390x"], &["linux/s390x"], 1, 4),
        (&["windows/amd64"], &["windows/amd64"], 0, 2),
    ] {
        let before = multi.server.log().len();
        let found = multi.all(":index", &listed(wanted), &[]).await.unwrap();
        assert_eq!(shown(&found), expected);
        assert_eq!(found.remarks.len(), missing, "{:?}", found.remarks);
        assert_eq!(multi.server.log().len() - before, requests);
    }
    let error = multi.all(":index", &listed(&["linux/ppc64le"]), &[]).await.unwrap_err();
    let message = text(&error);
    assert!(matches!(error, Error::Platform { .. }), "{message}");
    assert!(message.contains("linux/ppc64le; it has linux/amd64"), "{message}");
}

#[tokio::test]
async fn an_image_without_an_index() {
    let multi = Multi::start().await;
    for wanted in [Platforms::All, listed(&["linux/amd64", "linux/s390x"])] {
        let before = multi.server.log().len();
        let source = open(&multi.server, ":1", &options()).await;
        let found = source.resolve_all(&wanted, &[]).await.unwrap();
        assert_eq!(shown(&found), ["linux/s390x"]);
        assert_eq!(found.images[0].index, None);
        // The configuration has been read for this, and need not be read again.
        let config = source.config(&found.images[0]).await.unwrap();
        assert_eq!(*found.images[0].config.digest.digest(), Digest::of(&config));
        assert_eq!(multi.server.log().len() - before, 2);
    }
    let message = text(&multi.all(":1", &listed(&["linux/amd64"]), &[]).await.unwrap_err());
    assert!(message.contains("no image for linux/amd64; it has linux/s390x"), "{message}");
    let message = text(&multi.all(":windows", &Platforms::All, &[]).await.unwrap_err());
    assert!(message.contains("Windows"), "{message}");
}

/// The ordinary look at one platform is not confused by what else is there.
#[tokio::test]
async fn one_platform() {
    let multi = Multi::start().await;
    let image = open(&multi.server, ":index", &options()).await.resolve(None).await.unwrap();
    assert_eq!(image.manifest.bytes, multi.manifests[0]);
    assert_eq!(multi.server.log().len(), 2);
}

#[tokio::test]
async fn a_layout() {
    let fixture = Fixture::new();
    let directory = tempfile::tempdir().unwrap();
    let blobs = directory.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    for blob in fixture.layers.iter().chain([&fixture.config, &fixture.manifest]) {
        std::fs::write(blobs.join(Digest::of(blob).hex()), blob).unwrap();
    }
    let entry = descriptor(media_type::OCI_MANIFEST, &fixture.manifest);
    for (name, text) in [
        ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned()),
        ("index.json", format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#)),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let reference = format!("oci:{}", directory.path().display()).parse().unwrap();
    let source = crate::source::Source::open(&reference, &options()).await.unwrap();
    let found = source.resolve_all(&Platforms::All, &[]).await.unwrap();
    assert_eq!(shown(&found), ["linux/amd64"]);
    assert!(source.resolve_all(&listed(&["arm64"]), &[]).await.is_err());
}
