//! The JSON files that DUCC keeps beside a layer.
//!
//! `layers.json` is an array of one object, indented by one space; `origin.json` is compact. Both as DUCC's
//! tools read them.

use layer_layout::{ConfigDigest, DiffId, LayerDigest};
use serde::{Deserialize, Serialize};

/// What `layers.json` says of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LayerRecord {
    /// Hex of the DiffID.
    id: String,
    /// RFC 3339 with nanoseconds: when the layer was unpacked.
    created: String,
    compressed_diff_digest: LayerDigest,
    /// The DiffID.
    diff_digest: DiffId,
    /// Size of the uncompressed tar in bytes.
    diff_size: u64,
}

/// The content of `layers.json` for a layer unpacked now.
pub(super) fn layers_json(
    layer: LayerDigest,
    diff_id: DiffId,
    size: u64,
) -> Result<Vec<u8>, serde_json::Error> {
    let record = LayerRecord {
        id: diff_id.hex(),
        created: jiff::Timestamp::now().to_string(),
        compressed_diff_digest: layer,
        diff_digest: diff_id,
        diff_size: size,
    };
    let mut json = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    [record].serialize(&mut serde_json::Serializer::with_formatter(&mut json, formatter))?;
    Ok(json)
}

/// The DiffID that a `layers.json` records.
pub(super) fn recorded_diff_id(json: &[u8]) -> Option<DiffId> {
    let records: Vec<LayerRecord> = serde_json::from_slice(json).ok()?;
    match &records[..] {
        [record] => Some(record.diff_digest),
        _ => None,
    }
}

#[derive(Serialize, Deserialize, Default)]
struct Origin {
    #[serde(default)]
    origin: Vec<String>,
}

/// `origin.json` with `image` among the images that brought the layer; `None` if it is there already.
pub(super) fn origin_json(
    present: Option<&[u8]>,
    image: ConfigDigest,
) -> Result<Option<Vec<u8>>, serde_json::Error> {
    let mut origin: Origin = match present {
        Some(json) => serde_json::from_slice(json)?,
        None => Origin::default(),
    };
    let image = image.to_string();
    if origin.origin.contains(&image) {
        return Ok(None);
    }
    origin.origin.push(image);
    serde_json::to_vec(&origin).map(Some)
}

#[cfg(test)]
mod tests {
    use layer_layout::Digest;

    use super::*;

    #[test]
    fn layers_json_is_ducc_s() {
        let (layer, diff) = (Digest::of(b"l"), Digest::of(b"d"));
        let json = layers_json(layer.into(), diff.into(), 7).unwrap();
        let text = String::from_utf8(json.clone()).unwrap();
        assert!(text.starts_with("[\n {\n  \"id\": \""), "{text}");
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value[0]["id"], diff.hex());
        assert_eq!(value[0]["compressed-diff-digest"], layer.to_string());
        assert_eq!(value[0]["diff-digest"], diff.to_string());
        assert_eq!(value[0]["diff-size"], 7);
        assert_eq!(recorded_diff_id(&json), Some(diff.into()));
        assert_eq!(recorded_diff_id(b"[]"), None);
    }

    #[test]
    fn origins_are_added_once() {
        let [a, b] = [b"a", b"b"].map(|text| ConfigDigest::from(Digest::of(text)));
        let first = origin_json(None, a).unwrap().unwrap();
        assert_eq!(String::from_utf8(first.clone()).unwrap(), format!("{{\"origin\":[\"{a}\"]}}"));
        assert_eq!(origin_json(Some(&first), a).unwrap(), None);
        let both = origin_json(Some(&first), b).unwrap().unwrap();
        assert_eq!(String::from_utf8(both).unwrap(), format!("{{\"origin\":[\"{a}\",\"{b}\"]}}"));
    }
}
