//! Small images in OCI layouts, and how to convert them.

use std::fs;
use std::path::Path;

use ducc::convert::{Again, BatchSettings, Request};
use ducc::layer::Limits;
use ducc::notification::Notifications;
use ducc::progress::{Progress, Style};
use ducc::source::Options;
use layer_layout::{Digest, Platform};
use serde_json::json;

/// A directory of a layer's tar.
pub(crate) fn directory(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(mode);
    header.set_size(0);
    tar.append_data(&mut header, path, &b""[..]).unwrap();
}

/// A file of a layer's tar.
pub(crate) fn file(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &str) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content.as_bytes()).unwrap();
}

/// A link of a layer's tar, of one kind or the other.
pub(crate) fn link(
    tar: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    path: &str,
    target: &str,
) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_size(0);
    tar.append_link(&mut header, path, target).unwrap();
}

/// A layer's tar.
pub(crate) fn layer(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    fill(&mut tar);
    tar.into_inner().unwrap()
}

/// Writes an image of these layers (base first) for this machine, and gives what asks for its conversion.
pub(crate) fn request(layout: &Path, name: &str, layers: &[&[u8]]) -> Request {
    request_with(layout, name, layers, |_| {})
}

/// As [`request`], with a configuration that `change` changes.
pub(crate) fn request_with(
    layout: &Path,
    name: &str,
    layers: &[&[u8]],
    change: impl FnOnce(&mut serde_json::Value),
) -> Request {
    let blob = |media_type: &str, content: &[u8]| {
        let digest = Digest::of(content);
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(digest.hex()), content).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    };
    let platform = Platform::host().to_string();
    let mut platform = platform.split('/');
    let mut config = json!({
        "os": platform.next(),
        "architecture": platform.next(),
        "variant": platform.next(),
        "rootfs": {
            "type": "layers",
            "diff_ids": layers.iter().map(|layer| Digest::of(layer)).collect::<Vec<_>>(),
        },
    });
    change(&mut config);
    let manifest = json!({
        "schemaVersion": 2,
        "config": blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
        "layers": layers
            .iter()
            .map(|layer| blob("application/vnd.oci.image.layer.v1.tar", layer))
            .collect::<Vec<_>>(),
    });
    let manifest =
        blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    Request {
        reference: format!("oci:{}", layout.display()).parse().unwrap(),
        name: Some(name.parse().unwrap()),
        platforms: None,
        at: None,
        flat: true,
        thin: None,
        again: Again::default(),
        source: Options::default(),
    }
}

/// Without limits of its own, and without anybody who watches.
pub(crate) fn settings() -> BatchSettings {
    BatchSettings::new(Limits::default(), Progress::new(Style::Quiet), Notifications::default())
}
