//! Both forms of a thin image, against what their readers expect.

use std::io::Read;

use super::*;

fn manifest(media_type: &str) -> Vec<u8> {
    let layer = |text: &str| {
        json!({"mediaType": "x", "size": 9, "digest": Digest::of(text.as_bytes()),
        "annotations": {"containerd.io/snapshot/stargz/toc.digest": "would mislead"}})
    };
    let config = json!({"mediaType": "c", "size": CONFIG.len(), "digest": Digest::of(CONFIG)});
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": media_type, "config": config,
        "layers": [layer("a"), layer("b"), layer("a")], "annotations": {"k": "v"}}))
    .unwrap()
}

const CONFIG: &[u8] = br#"{"os":"linux","config":{"Env":["A=b"],"Entrypoint":["/x"]},
    "rootfs":{"type":"layers","diff_ids":[]},"history":[{}]}"#;

fn original<'a>(manifest: &'a [u8], media_type: &'a str) -> Original<'a> {
    Original {
        origin: "https://r.io/a:1",
        manifest,
        media_type,
        config: CONFIG,
        repository: "unpacked.example.org",
    }
}

/// The `thin.json` in a placeholder, and the digest of the uncompressed tar.
fn unpack(blob: &Blob) -> (ThinJson, DiffId) {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(blob.bytes.as_slice()).read_to_end(&mut bytes).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut entries = archive.entries().unwrap();
    let entry = entries.next().unwrap().unwrap();
    assert_eq!(entry.path().unwrap().to_str(), Some("thin.json"));
    assert_eq!(entry.header().mode().unwrap(), 0o644);
    let thin = serde_json::from_reader(entry).unwrap();
    assert!(entries.next().is_none());
    (thin, Digest::of(&bytes).into())
}

#[test]
fn snapshotter_form_keeps_the_configuration_and_names_each_layer() {
    for types in [&OCI, &DOCKER] {
        let full = manifest(types.manifest);
        let thin = snapshotter_image(&original(&full, types.manifest)).unwrap();
        assert_eq!(thin.media_type, types.manifest);
        assert_eq!(thin, snapshotter_image(&original(&full, types.manifest)).unwrap());

        let value: Value = serde_json::from_slice(&thin.manifest.bytes).unwrap();
        assert_eq!(value["config"]["digest"], json!(Digest::of(CONFIG)));
        assert_eq!(value["subject"]["digest"], json!(Digest::of(&full)));
        assert_eq!(value["subject"]["size"], json!(full.len()));
        assert_eq!(value["annotations"]["k"], "v");

        // The configuration and two placeholders: the repeated layer has one blob.
        assert_eq!(thin.blobs.len(), 3);
        assert_eq!(thin.blobs[0].bytes, CONFIG);
        let layers = value["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 3);
        for (descriptor, text) in layers.iter().zip(["a", "b", "a"]) {
            let layer = LayerDigest::from(Digest::of(text.as_bytes()));
            assert_eq!(descriptor["mediaType"], types.gzip_layer);
            assert_eq!(
                descriptor["annotations"],
                json!({
                    (label::THIN_LAYER_DIGEST): layer,
                    (label::THIN_REPOSITORY): "unpacked.example.org",
                })
            );
            let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
            let blob = thin.blobs.iter().find(|blob| blob.digest == digest).unwrap();
            assert_eq!(descriptor["size"], json!(blob.bytes.len()));
            let (thin_json, _) = unpack(blob);
            assert_eq!(thin_json.layers[0].digest, layer.hex());
        }
    }
}

#[test]
fn graphdriver_form_is_ducc_s() {
    let full = manifest(DOCKER.manifest);
    let thin = graphdriver_image(&original(&full, DOCKER.manifest)).unwrap();
    let [config, layer] = &thin.blobs[..] else { panic!("{} blobs", thin.blobs.len()) };
    let (thin_json, diff_id) = unpack(layer);
    assert_eq!(thin_json.version, "1.0");
    assert_eq!(thin_json.origin, "https://r.io/a:1");
    let hex = Digest::of(b"b").hex();
    let url = format!("cvmfs://unpacked.example.org/.layers/{}/{hex}/layerfs", &hex[..2]);
    assert_eq!(thin_json.layers[1], ThinLayer { digest: hex, url });

    let config: Value = serde_json::from_slice(&config.bytes).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"], json!([diff_id]));
    assert_eq!(config["config"]["Env"], json!(["CVMFS_IMAGE=true", "A=b"]));
    assert_eq!(config["config"]["Entrypoint"], json!(["/x"]));
}

#[test]
fn refuses_what_is_no_image_manifest() {
    let index = "application/vnd.oci.image.index.v1+json";
    for (bytes, media_type) in [
        (manifest(index), index),
        (b"[]".to_vec(), OCI.manifest),
        (b"{\"layers\":[{}]}".to_vec(), OCI.manifest),
        (b"{}".to_vec(), OCI.manifest),
    ] {
        assert!(snapshotter_image(&original(&bytes, media_type)).is_err());
    }
}
