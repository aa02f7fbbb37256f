//! A few images that share layers.

use std::collections::BTreeSet;

use layer_layout::path::Unit;
use layer_layout::{ChainId, DiffId, Digest, LayerDigest, Platform};
use serde_json::{Value, json};

/// How many images there are.
pub(crate) const NUMBER: usize = LAYERS.len();

/// The layers of each, base first.
const LAYERS: [&[&str]; 5] = [&["a", "b"], &["a", "c"], &["b"], &["a", "b", "d"], &["d"]];

/// An image as a registry has it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(content), "size": content.len()})
}

/// A tar with a directory, a file of the layer's own and one that all layers have.
fn layer(name: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    tar.append_data(&mut header, "d", &b""[..]).unwrap();
    for path in [format!("d/{name}"), "d/all".to_owned()] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(name.len() as u64);
        tar.append_data(&mut header, path, name.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

impl Image {
    pub(crate) fn new(number: usize) -> Self {
        let layers: Vec<_> = LAYERS[number].iter().map(|name| layer(name)).collect();
        let platform = Platform::host().to_string();
        let mut platform = platform.split('/');
        let config = json!({
            "os": platform.next(),
            "architecture": platform.next(),
            "variant": platform.next(),
            "config": {"Env": [format!("NUMBER={number}")]},
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|layer| Digest::of(layer)).collect::<Vec<_>>(),
            },
        });
        let config = config.to_string().into_bytes();
        let layer_type = "application/vnd.oci.image.layer.v1.tar";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": layers.iter().map(|layer| descriptor(layer_type, layer)).collect::<Vec<_>>(),
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layers }
    }

    /// Its flat root.
    pub(crate) fn flat(&self) -> Unit {
        Unit::Flat(Digest::of(&self.config).into())
    }

    /// All that it needs.
    pub(crate) fn units(&self) -> BTreeSet<Unit> {
        let digests: Vec<Digest> = self.layers.iter().map(|layer| Digest::of(layer)).collect();
        let diff_ids: Vec<DiffId> = digests.iter().map(|&digest| digest.into()).collect();
        let chains = ChainId::of_layers(&diff_ids).into_iter().map(Unit::Chain);
        let layers = digests.into_iter().map(|digest| Unit::Layer(LayerDigest::from(digest)));
        layers.chain(chains).chain([self.flat()]).collect()
    }
}
