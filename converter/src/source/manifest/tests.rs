use bytes::Bytes;
use layer_layout::Platform;
use serde_json::{Value, json};

use super::{
    CONFIG_LIMIT, Choice, DocumentError, Index, IndexEntry, Manifest, Nest, Parsed, Unfit, choose,
    document, index, parse,
};
use crate::source::error::{Error, Part};
use crate::source::media_type::{
    DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
};

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

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
        // Nor is a type that nobody knows, or the other of two for the same thing; containerd goes by what was served.
        (Some(DOCKER_MANIFEST), typed(&manifest, OCI_MANIFEST), Ok(DOCKER_MANIFEST)),
        (Some("application/octet-stream"), typed(&manifest, "image"), Ok(OCI_MANIFEST)),
        (Some(SCHEMA_1), typed(&manifest, DOCKER_MANIFEST), Ok(DOCKER_MANIFEST)),
        (None, typed(&manifest, ""), Ok(OCI_MANIFEST)),
        (None, with(manifest.clone(), "/schemaVersion", json!(1)), Ok(OCI_MANIFEST)),
        (None, with(manifest.clone(), "/schemaVersion", Value::Null), Ok(OCI_MANIFEST)),
        // Null is absence.
        (None, with(manifest.clone(), "/manifests", Value::Null), Ok(OCI_MANIFEST)),
        (None, with(manifest.clone(), "/layers", Value::Null), Ok(OCI_MANIFEST)),
        (None, with(manifest.clone(), "/mediaType", Value::Null), Ok(OCI_MANIFEST)),
        (Some(OCI_INDEX), with(index.clone(), "/layers", Value::Null), Ok(OCI_INDEX)),
        (Some(OCI_INDEX), with(index.clone(), "/manifests", Value::Null), Ok(OCI_INDEX)),
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
        (Some(SCHEMA_1), old, Err("schema 1")),
        (Some(SCHEMA_1), json!({}), Err("schema 1")),
        (
            None,
            json!({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"}),
            Err("artifact"),
        ),
        (None, json!({"errors": []}), Err("neither manifests nor layers")),
        (None, json!([]), Err("not a manifest")),
    ] {
        let result = document(declared, bytes(&value));
        match (result, expected) {
            (Ok(document), Ok(expected)) => assert_eq!(document.media_type, expected, "{value}"),
            (Err(reason), Err(expected)) => {
                assert!(reason.to_string().contains(expected), "{value}: {reason}");
            }
            (result, _) => panic!("{declared:?} {value}: {result:?}"),
        }
    }
}

fn parsed(value: &Value) -> Result<Manifest, Error> {
    let unfit = |unfit| Error::unfit("image", Part::Manifest, unfit);
    let document = document(Some(OCI_MANIFEST), bytes(value));
    match parse(&document.map_err(Unfit::from).map_err(unfit)?).map_err(unfit)? {
        Parsed::Manifest(manifest) => Ok(manifest),
        Parsed::Index(_) => panic!("{value}"),
    }
}

#[test]
fn manifests() {
    let manifest = parsed(&image_manifest()).unwrap();
    assert_eq!(manifest.config.digest.to_string(), A);
    assert_eq!(manifest.config.size, 10);
    assert_eq!(manifest.layers[0].digest.to_string(), B);
    assert_eq!(manifest.layers[0].size, 20);
    assert_eq!(manifest.layers[0].media_type, LAYER);
    assert_eq!(manifest.doubt, None);
    let docker = with(image_manifest(), "/config/mediaType", json!(DOCKER_CONFIG));
    assert!(parsed(&docker).is_ok());
    for none in [json!([]), Value::Null] {
        assert_eq!(parsed(&with(image_manifest(), "/layers", none)).unwrap().layers, []);
    }
    let nulls = with(image_manifest(), "/annotations", Value::Null);
    let nulls = with(nulls, "/layers/0/annotations", Value::Null);
    let nulls = with(nulls, "/config/platform", Value::Null);
    assert_eq!(parsed(&nulls).unwrap(), manifest);

    for (member, value, part) in [
        ("/config/mediaType", json!("application/vnd.oci.empty.v1+json"), "not a container image"),
        ("/config/size", json!(-1), "invalid value"),
        ("/config/size", json!(CONFIG_LIMIT + 1), "larger than"),
        ("/config/digest", json!("sha256:abc"), "digest"),
        (
            "/config/digest",
            json!(format!("sha512:{}", "a".repeat(128))),
            "by its sha512 digest, and only SHA-256",
        ),
        ("/layers/0/size", json!(-1), "invalid value"),
        ("/layers/0/size", json!("20"), "invalid type"),
        ("/layers/0/size", Value::Null, "does not tell the size of sha256:bbb"),
        ("/config/size", Value::Null, "does not tell the size of the configuration"),
        ("/config", json!({}), "does not tell the size of the configuration"),
        ("/config", json!({"size": 1, "mediaType": OCI_CONFIG}), "digest"),
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
        (
            "/layers/0/mediaType",
            json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
            "encrypted; push a copy",
        ),
        ("/layers/0", json!({"size": 1, "mediaType": LAYER}), "digest"),
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
        "Application/vnd.oci.image.layer.v1.tar+GZIP; x=y",
        "application/octet-stream",
        "",
    ] {
        let value = with(image_manifest(), "/layers/0/mediaType", json!(media_type));
        assert_eq!(parsed(&value).unwrap().layers[0].media_type, media_type);
    }
}

/// What a manifest says about its configuration does not decide, what the configuration says does.
#[test]
fn configurations_of_unusual_types() {
    let image = br#"{"rootfs":{"type":"layers","diff_ids":["sha256:0"]}}"#;
    for (config_type, layer_type, config, expected) in [
        (json!("application/octet-stream"), LAYER, &image[..], Ok(true)),
        (json!("application/json"), LAYER, image, Ok(true)),
        (json!("text/html; charset=utf-8"), LAYER, image, Ok(true)),
        (json!(""), LAYER, image, Ok(true)),
        (Value::Null, LAYER, image, Ok(true)),
        (json!("application/vnd.example.config+json"), "", image, Ok(true)),
        (json!("application/vnd.cncf.helm.config.v1+json"), LAYER, br#"{"name":"x"}"#, Ok(false)),
        (json!("application/octet-stream"), LAYER, br#"{"rootfs":{"diff_ids":[]}}"#, Ok(false)),
        (json!("application/octet-stream"), LAYER, b"text", Ok(false)),
        (json!(OCI_CONFIG), LAYER, b"text", Ok(true)),
        (json!("application/vnd.oci.empty.v1+json"), LAYER, image, Err("oci.empty")),
        (
            json!("application/vnd.cncf.helm.config.v1+json"),
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            image,
            Err("it describes application/vnd.cncf.helm.config.v1+json, not a container image"),
        ),
        (Value::Null, "application/wasm", image, Err("something without a media type")),
    ] {
        let value = with(image_manifest(), "/config/mediaType", config_type.clone());
        let value = with(value, "/layers/0/mediaType", json!(layer_type));
        match (parsed(&value), expected) {
            (Ok(manifest), Ok(expected)) => {
                assert_eq!(manifest.is_image(config), expected, "{config_type}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, _) => panic!("{config_type}: {result:?}"),
        }
    }
    let empty = with(image_manifest(), "/layers", json!([]));
    for (config_type, is_possible) in
        [("application/octet-stream", true), ("application/vnd.cncf.helm.config.v1+json", false)]
    {
        let value = with(empty.clone(), "/config/mediaType", json!(config_type));
        assert_eq!(parsed(&value).is_ok(), is_possible, "{config_type}");
    }
    let artifact = with(image_manifest(), "/artifactType", json!("application/vnd.example+type"));
    let artifact = with(artifact, "/config/mediaType", json!("application/vnd.oci.empty.v1+json"));
    let message = parsed(&artifact).unwrap_err().to_string();
    assert!(message.contains("it describes application/vnd.example+type"), "{message}");
}

#[test]
fn a_manifest_of_500_layers() {
    let mut value = image_manifest();
    value["layers"] = vec![value["layers"][0].clone(); 500].into();
    assert_eq!(parsed(&value).unwrap().layers.len(), 500);
}

/// An index with an entry for each platform, whose sizes count up.
fn entries(platforms: &[&str]) -> Vec<IndexEntry> {
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
    self::index(&bytes(&index)).unwrap().entries
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
        (&many[..], "linux/amd64", Ok(6)),
        (&many, "windows/amd64", Ok(5)),
        (&many, "linux/386", Ok(0)),
        (&many, "linux/arm64", Ok(4)),
        (&many, "linux/arm64/v8", Ok(4)),
        // The base variant before others.
        (&many, "linux/arm", Ok(3)),
        (&many, "linux/arm/v6", Ok(2)),
        (&many, "linux/amd64/v3", Ok(8)),
        (&["linux/amd64/v3", "linux/amd64/v2"], "linux/amd64", Ok(0)),
        (&many, "linux/s390x", Err(0)),
        (&["unknown/unknown"], "linux/amd64", Err(0)),
        (&[], "linux/amd64", Err(0)),
        // An entry without a platform, or with half of one, is asked if no other is for this one.
        (&[""], "linux/amd64", Err(1)),
        (&["", "unknown/unknown"], "linux/amd64", Err(1)),
        (&["", "linux/arm64", "linux/", "/amd64"], "linux/amd64", Err(3)),
        (&["", "linux/", "linux/amd64"], "linux/amd64", Ok(2)),
    ] {
        let (entries, wanted) = (entries(platforms), wanted.parse::<Platform>().unwrap());
        let chosen = match choose(&entries, &wanted) {
            Choice::Entry(entry) => Ok(entry.size),
            Choice::OneOf(entries) => Err(entries.len()),
        };
        assert_eq!(chosen, expected, "{wanted} of {platforms:?}");
    }
}

#[test]
fn entries_that_are_no_images() {
    let platform = json!({"os": "linux", "architecture": "amd64"});
    let document = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": A, "size": 1, "platform": platform,
         "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        {"mediaType": "application/vnd.example+json", "digest": A, "size": 2, "platform": platform},
        {"mediaType": OCI_MANIFEST, "digest": A, "size": 3, "platform": platform,
         "annotations": {"org.opencontainers.image.ref.name": "tag"}},
    ]});
    let index = index(&bytes(&document)).unwrap();
    assert_eq!((index.entries.len(), index.unusable.len()), (1, 0));
    let entry = &index.entries[0];
    assert_eq!((entry.size, entry.ref_name.as_deref()), (3, Some("tag")));
}

/// A good entry stands beside each of these.
#[test]
fn an_odd_entry_spoils_no_other() {
    let amd64 = json!({"os": "linux", "architecture": "amd64"});
    let sha512 = format!("sha512:{}", "a".repeat(128));
    let null = Value::Null;
    for (odd, is_entry, obstacle) in [
        (
            json!({"digest": A, "size": 2, "mediaType": OCI_MANIFEST, "platform": {"architecture": "amd64"}}),
            true,
            "",
        ),
        (
            json!({"digest": A, "size": 2, "mediaType": OCI_MANIFEST, "platform": {"os": "linux"}}),
            true,
            "",
        ),
        (
            json!({"digest": A, "size": 2, "mediaType": OCI_MANIFEST, "platform": {"os": null, "architecture": "amd64"}}),
            true,
            "",
        ),
        (json!({"digest": A, "size": 2, "mediaType": OCI_MANIFEST, "platform": {}}), true, ""),
        (
            json!({"digest": A, "size": 2, "mediaType": OCI_MANIFEST, "platform": null, "annotations": null}),
            true,
            "",
        ),
        (json!({"digest": A, "size": 2, "annotations": {"a": null, "b": 7}}), true, ""),
        (
            json!({"digest": A, "size": 2, "mediaType": OCI_MANIFEST, "platform": {"os": "linux", "architecture": "amd64", "variant": null}}),
            true,
            "",
        ),
        (
            json!({"digest": sha512, "size": 2, "mediaType": OCI_MANIFEST, "platform": amd64}),
            false,
            "linux/amd64 cannot be used: it names content by its sha512",
        ),
        (
            json!({"digest": null, "size": 2, "mediaType": OCI_MANIFEST}),
            false,
            "an untold platform cannot",
        ),
        (json!({"digest": A, "mediaType": OCI_MANIFEST}), false, "does not tell the size"),
        (json!({"digest": A, "size": -1, "mediaType": OCI_MANIFEST}), false, "invalid value"),
        (json!({"digest": A, "size": 2, "platform": "linux/amd64"}), false, "invalid type"),
        (null, false, "invalid type"),
    ] {
        let good = json!({"digest": B, "size": 1, "mediaType": OCI_MANIFEST, "platform": amd64});
        for manifests in [json!([odd, good]), json!([good, odd])] {
            let index = index(&bytes(&json!({"manifests": manifests}))).unwrap();
            assert_eq!(index.entries.len(), 1 + usize::from(is_entry), "{odd}");
            let wanted = "linux/amd64".parse::<Platform>().unwrap();
            let obstacles: Vec<_> = index.obstacles(|it| wanted.accepts(it)).collect();
            match obstacles.first() {
                None => assert!(is_entry, "{odd}"),
                Some(error) => assert!(error.to_string().contains(obstacle), "{error}"),
            }
            let arm = "linux/arm64".parse::<Platform>().unwrap();
            let of_arm = index.obstacles(|it| arm.accepts(it)).count();
            assert_eq!(of_arm == 1, !is_entry && index.unusable[0].platform.is_none(), "{odd}");
        }
    }
}

/// Nested indexes by their digests, which begin with these numbers.
fn nested(
    first: Index,
    others: &[(u8, Index)],
    wanted: &str,
) -> Result<Vec<String>, DocumentError> {
    let wanted: Platform = wanted.parse().unwrap();
    let mut nest = Nest::new(first);
    let mut read = 0;
    while let Some(entry) = nest.next(|it| wanted.accepts(it))? {
        read += 1;
        let number = entry.digest.as_bytes()[0];
        let (_, index) = others.iter().find(|(other, _)| *other == number).unwrap();
        let entries = index.entries.clone();
        nest.put(Parsed::Index(Index { entries, unusable: Vec::new() }), OCI_INDEX);
    }
    let shown = |entry: &IndexEntry| {
        let platform = entry.platform.as_ref().map_or("-".to_owned(), Platform::to_string);
        format!("{} {platform}", entry.digest.as_bytes()[0])
    };
    let mut shown: Vec<String> = nest.finish().entries.iter().map(shown).collect();
    shown.push(format!("{read} read"));
    Ok(shown)
}

/// Entries by number and platform; those from 100 on are indexes.
fn numbered(entries: &[(u8, &str)]) -> Index {
    let entry = |&(number, platform): &(u8, &str)| IndexEntry {
        digest: layer_layout::Digest::from_bytes([number; 32]),
        size: 1,
        media_type: if number >= 100 { OCI_INDEX } else { OCI_MANIFEST }.to_owned(),
        platform: (!platform.is_empty()).then(|| platform.parse().unwrap()),
        ref_name: None,
    };
    Index { entries: entries.iter().map(entry).collect(), unusable: Vec::new() }
}

#[test]
fn indexes_in_indexes() {
    let amd64 = "linux/amd64";
    let arm64 = "linux/arm64";
    for (name, first, others, expected) in [
        ("none", numbered(&[(1, amd64)]), vec![], &["1 linux/amd64", "0 read"][..]),
        // As of buildx with attestations, one for each platform.
        (
            "one for each platform",
            numbered(&[(100, arm64), (101, amd64)]),
            vec![(101, numbered(&[(1, amd64)]))],
            &["100 linux/arm64", "1 linux/amd64", "1 read"],
        ),
        (
            "what has no platform inherits it",
            numbered(&[(101, amd64)]),
            vec![(101, numbered(&[(1, ""), (2, arm64)]))],
            &["1 linux/amd64", "2 linux/arm64", "1 read"],
        ),
        (
            "untold, deep",
            numbered(&[(100, ""), (1, arm64)]),
            vec![(100, numbered(&[(101, "")])), (101, numbered(&[(2, ""), (3, amd64)]))],
            &["2 -", "3 linux/amd64", "1 linux/arm64", "2 read"],
        ),
        (
            "to itself",
            numbered(&[(100, "")]),
            vec![(100, numbered(&[(100, ""), (1, amd64)]))],
            &["1 linux/amd64", "1 read"],
        ),
        (
            "in a circle",
            numbered(&[(100, amd64)]),
            vec![(100, numbered(&[(101, "")])), (101, numbered(&[(100, ""), (1, "")]))],
            &["1 linux/amd64", "2 read"],
        ),
        (
            "twice",
            numbered(&[(100, ""), (100, "")]),
            vec![(100, numbered(&[(1, amd64)]))],
            &["1 linux/amd64", "1 read"],
        ),
    ] {
        assert_eq!(nested(first, &others, amd64).unwrap(), expected, "{name}");
    }
    let chain: Vec<(u8, Index)> =
        (100..110).map(|number| (number, numbered(&[(number + 1, "")]))).collect();
    assert!(matches!(nested(numbered(&[(100, "")]), &chain, amd64), Err(DocumentError::TooDeep)));
    let wide: Vec<(u8, &str)> = (100..200).map(|number| (number, "")).collect();
    let empty: Vec<(u8, Index)> = wide.iter().map(|&(number, _)| (number, numbered(&[]))).collect();
    assert!(matches!(nested(numbered(&wide), &empty, amd64), Err(DocumentError::TooDeep)));
}
