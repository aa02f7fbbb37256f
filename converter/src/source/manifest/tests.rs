use bytes::Bytes;
use layer_layout::Platform;
use serde_json::{Value, json};

use super::{CONFIG_LIMIT, IndexEntry, Manifest, Parsed, choose, document, entries, parse};
use crate::source::error::{Error, Result};
use crate::source::media_type::{
    DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
};

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn bytes(value: &Value) -> Bytes {
    serde_json::to_vec(value).unwrap().into()
}

fn image_manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "config": {"mediaType": OCI_CONFIG, "digest": A, "size": 10},
        "layers": [{"mediaType": LAYER, "digest": B, "size": 20}],
    })
}

/// `value` with `member` (a JSON pointer) set to `to`; null removes nothing but says null.
fn with(mut value: Value, member: &str, to: Value) -> Value {
    let (parent, name) = member.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = to,
        parent => parent[name] = to,
    }
    value
}

#[test]
fn what_a_document_is() {
    let manifest = image_manifest();
    let index = json!({"schemaVersion": 2, "manifests": []});
    let typed = |value: &Value, own: &str| with(value.clone(), "/mediaType", json!(own));
    let old = json!({"schemaVersion": 1, "name": "a", "fsLayers": [], "signatures": []});
    for (declared, value, expected) in [
        (Some(OCI_MANIFEST), manifest.clone(), Ok(OCI_MANIFEST)),
        (Some(DOCKER_MANIFEST), typed(&manifest, DOCKER_MANIFEST), Ok(DOCKER_MANIFEST)),
        (Some(OCI_INDEX), index.clone(), Ok(OCI_INDEX)),
        (Some(DOCKER_LIST), typed(&index, DOCKER_LIST), Ok(DOCKER_LIST)),
        // The generic type from a simple file server is not a contradiction.
        (None, typed(&manifest, DOCKER_MANIFEST), Ok(DOCKER_MANIFEST)),
        (Some("application/json"), typed(&manifest, OCI_MANIFEST), Ok(OCI_MANIFEST)),
        (Some("text/plain; charset=utf-8"), manifest.clone(), Ok(OCI_MANIFEST)),
        (
            Some("Application/vnd.oci.image.index.v1+JSON; charset=utf-8"),
            index.clone(),
            Ok(OCI_INDEX),
        ),
        (None, manifest.clone(), Ok(OCI_MANIFEST)),
        (None, index.clone(), Ok(OCI_INDEX)),
        // Contradictions.
        (Some(OCI_INDEX), typed(&manifest, OCI_MANIFEST), Err("but calls itself")),
        (Some(OCI_INDEX), manifest.clone(), Err("lists no manifests")),
        (Some(OCI_MANIFEST), index.clone(), Err("names no configuration")),
        (
            None,
            with(manifest.clone(), "/manifests", json!([])),
            Err("both an index and a manifest"),
        ),
        // Something else.
        (None, old.clone(), Err("schema 1")),
        (Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), old, Err("schema 1")),
        (None, typed(&manifest, "application/vnd.oci.artifact.manifest.v1+json"), Err("artifact")),
        (None, json!({"errors": []}), Err("neither manifests nor layers")),
        (None, json!([]), Err("not a manifest")),
    ] {
        let result = document("image", declared, bytes(&value));
        match (result, expected) {
            (Ok(document), Ok(expected)) => assert_eq!(document.media_type, expected, "{value}"),
            (Err(Error::Document { reason, .. }), Err(expected)) => {
                assert!(reason.to_string().contains(expected), "{value}: {reason}");
            }
            (result, _) => panic!("{declared:?} {value}: {result:?}"),
        }
    }
}

#[test]
fn manifests() {
    let parsed = |value: &Value| -> Result<Manifest> {
        let document = document("image", Some(OCI_MANIFEST), bytes(value))?;
        match parse("image", &document)? {
            Parsed::Manifest(manifest) => Ok(manifest),
            Parsed::Index(_) => panic!("{value}"),
        }
    };
    let manifest = parsed(&image_manifest()).unwrap();
    assert_eq!(manifest.config.digest.to_string(), A);
    assert_eq!(manifest.config.size, 10);
    assert_eq!(manifest.layers[0].digest.to_string(), B);
    assert_eq!(manifest.layers[0].size, 20);
    assert_eq!(manifest.layers[0].media_type, LAYER);
    let docker = with(image_manifest(), "/config/mediaType", json!(DOCKER_CONFIG));
    assert!(parsed(&docker).is_ok());
    assert_eq!(parsed(&with(image_manifest(), "/layers", json!([]))).unwrap().layers, []);

    for (member, value, part) in [
        ("/config/mediaType", json!("application/vnd.oci.empty.v1+json"), "not a container image"),
        ("/config/mediaType", json!("application/vnd.cncf.helm.config.v1+json"), "helm"),
        ("/config/size", json!(-1), "invalid value"),
        ("/config/size", json!(CONFIG_LIMIT + 1), "larger than"),
        ("/config/digest", json!("sha256:abc"), "digest"),
        ("/config/digest", json!(format!("sha512:{}", "a".repeat(128))), "sha512"),
        ("/layers/0/size", json!(-1), "invalid value"),
        ("/layers/0/size", json!("20"), "invalid type"),
        ("/layers/0/digest", json!("../../etc/passwd"), "digest"),
        ("/layers/0/digest", json!(format!("sha256:{}", "B".repeat(64))), "digest"),
        ("/layers/0/mediaType", json!("application/vnd.in-toto+json"), "not a tar layer"),
        (
            "/layers/0/mediaType",
            json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
            "foreign",
        ),
        (
            "/layers/0/mediaType",
            json!("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"),
            "foreign",
        ),
        ("/layers/0", json!({"size": 1}), "missing field"),
    ] {
        let error = parsed(&with(image_manifest(), member, value.clone())).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(part), "{member} = {value}: {message}");
        assert!(message.contains("image"), "{message}");
    }
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    let foreign = with(image_manifest(), "/layers/0/mediaType", json!(foreign));
    let error = parsed(&foreign).unwrap_err();
    assert!(matches!(error, Error::LayerType { layer, .. } if layer.to_string() == B));

    for media_type in [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    ] {
        let value = with(image_manifest(), "/layers/0/mediaType", json!(media_type));
        assert_eq!(parsed(&value).unwrap().layers[0].media_type, media_type);
    }
}

/// An index with an entry for each platform, whose sizes count up.
fn index(platforms: &[&str]) -> Vec<IndexEntry> {
    let manifests = platforms.iter().enumerate().map(|(size, platform)| {
        let mut parts = platform.split('/');
        let mut entry = json!({"mediaType": OCI_MANIFEST, "digest": A, "size": size});
        if let (Some(os), Some(architecture)) = (parts.next(), parts.next()) {
            entry["platform"] = json!({"os": os, "architecture": architecture});
            if let Some(variant) = parts.next() {
                entry["platform"]["variant"] = json!(variant);
            }
        }
        entry
    });
    let index = json!({"schemaVersion": 2, "manifests": manifests.collect::<Vec<_>>()});
    entries("image", &bytes(&index)).unwrap()
}

#[test]
fn the_choice_of_a_platform() {
    let many = [
        "linux/386",
        "linux/arm/v5",
        "linux/arm/v6",
        "linux/arm/v7",
        "linux/arm64/v8",
        "windows/amd64",
        "linux/amd64",
        "linux/amd64",
        "linux/amd64/v3",
        "unknown/unknown",
    ];
    for (platforms, wanted, expected) in [
        // The system counts, and of equals the first.
        (&many[..], "linux/amd64", Some(6)),
        (&many, "windows/amd64", Some(5)),
        (&many, "linux/386", Some(0)),
        (&many, "linux/arm64", Some(4)),
        (&many, "linux/arm64/v8", Some(4)),
        // The base variant before others.
        (&many, "linux/arm", Some(3)),
        (&many, "linux/arm/v6", Some(2)),
        (&many, "linux/amd64/v3", Some(8)),
        (&["linux/amd64/v3", "linux/amd64/v2"], "linux/amd64", Some(0)),
        (&many, "linux/s390x", None),
        (&["unknown/unknown"], "linux/amd64", None),
        (&[], "linux/amd64", None),
        // An entry without a platform is for all, but only alone.
        (&[""], "linux/amd64", Some(0)),
        (&["", "unknown/unknown"], "linux/amd64", Some(0)),
        (&["", "linux/arm64"], "linux/amd64", None),
        (&["", "linux/amd64"], "linux/amd64", Some(1)),
    ] {
        let (entries, wanted) = (index(platforms), wanted.parse::<Platform>().unwrap());
        let chosen = choose("image", &entries, &wanted).map(|entry| entry.size);
        assert_eq!(chosen.ok(), expected, "{wanted} of {platforms:?}");
    }
    let error = choose("image", &index(&many[3..7]), &"linux/s390x".parse().unwrap()).unwrap_err();
    let listed = "image has no image for linux/s390x; it has linux/arm/v7, linux/arm64/v8, \
                  windows/amd64, linux/amd64";
    assert_eq!(error.to_string(), listed);
}

#[test]
fn entries_that_are_no_images() {
    let platform = json!({"os": "linux", "architecture": "amd64"});
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": A, "size": 1, "platform": platform,
         "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        {"mediaType": "application/vnd.example+json", "digest": A, "size": 2, "platform": platform},
        {"mediaType": OCI_MANIFEST, "digest": A, "size": 3, "platform": platform,
         "annotations": {"org.opencontainers.image.ref.name": "tag"}},
    ]});
    let entries = entries("image", &bytes(&index)).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].size, entries[0].ref_name.as_deref()), (3, Some("tag")));
}
