//! `layers.json`: which layer a directory below `.layers` holds.

use serde::{Deserialize, Serialize};

use super::json::parse;
use crate::{DiffId, LayerDigest, Result};

const WHAT: &str = "layer record";

/// The content of a layer's `layers.json`.
///
/// JSON, indented by one space: an array of exactly one object, the shape of an entry in the `layers.json` of
/// containers/storage. Rule: DUCC, which copies these entries into its store for Podman.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LayerRecord {
    id: String,
    created: String,
    compressed_diff_digest: LayerDigest,
    diff_digest: DiffId,
    diff_size: u64,
    layerfs: Form,
}

/// The member `layerfs`, this project's own: in which form the layer is unpacked. DUCC writes none and ignores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Overlayfs,
}

/// What a reader relies on in a `layers.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedLayer {
    /// SHA-256 of the uncompressed tar.
    pub diff_id: DiffId,
    /// Whether the layer is in overlayfs form, with the owners, modes and extended attributes of its tar. DUCC's layers
    /// are not: they hold whiteouts as files (`.wh.*`) and belong to the repository's owner.
    pub is_overlayfs: bool,
}

impl RecordedLayer {
    /// Reads a `layers.json`.
    ///
    /// # Errors
    /// If the file is not an array of one object with a DiffID.
    pub fn parse(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Recorded {
            #[serde(rename = "diff-digest")]
            diff_id: DiffId,
            layerfs: Option<String>,
        }
        let [record]: [Recorded; 1] = parse(WHAT, json)?;
        let is_overlayfs = record.layerfs.as_deref() == Some("overlayfs");
        Ok(Self { diff_id: record.diff_id, is_overlayfs })
    }
}

impl LayerRecord {
    /// The record of the layer whose blob is `layer` and whose uncompressed tar is `diff_id`, `size` bytes long.
    /// `created` says when the layer was unpacked: RFC 3339 with up to nine digits of a second's fraction.
    pub fn new(layer: LayerDigest, diff_id: DiffId, size: u64, created: String) -> Self {
        Self {
            id: diff_id.hex(),
            created,
            compressed_diff_digest: layer,
            diff_digest: diff_id,
            diff_size: size,
            layerfs: Form::Overlayfs,
        }
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        let indented = serde_json::ser::PrettyFormatter::with_indent(b" ");
        [self]
            .serialize(&mut serde_json::Serializer::with_formatter(&mut json, indented))
            .expect("strings and numbers have a JSON form");
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    #[test]
    fn bytes_are_ducc_s_with_the_form() {
        let record = LayerRecord::new(
            Digest::of(b"l").into(),
            Digest::of(b"d").into(),
            7,
            "2026-01-02T03:04:05.123456789Z".to_owned(),
        );
        let json = r#"[
 {
  "id": "18ac3e7343f016890c510e93f935261169d9e3f565436429830faf0934f4f8e4",
  "created": "2026-01-02T03:04:05.123456789Z",
  "compressed-diff-digest": "sha256:acac86c0e609ca906f632b0e2dacccb2b77d22b0621f20ebece1a4835b93f6f0",
  "diff-digest": "sha256:18ac3e7343f016890c510e93f935261169d9e3f565436429830faf0934f4f8e4",
  "diff-size": 7,
  "layerfs": "overlayfs"
 }
]"#;
        assert_eq!(String::from_utf8(record.to_json()).unwrap(), json);
        assert_eq!(serde_json::from_str::<[LayerRecord; 1]>(json).unwrap(), [record]);
        let recorded = RecordedLayer { diff_id: Digest::of(b"d").into(), is_overlayfs: true };
        assert_eq!(RecordedLayer::parse(json.as_bytes()), Ok(recorded));
    }

    #[test]
    fn only_one_layer_with_a_diff_id_counts() {
        let diff_id = DiffId::from(Digest::of(b"d"));
        let object = format!(r#"{{"diff-digest":"{diff_id}","of another version":1}}"#);
        let read = |json: String| RecordedLayer::parse(json.as_bytes());
        assert_eq!(read(format!("[{object}]")), Ok(RecordedLayer { diff_id, is_overlayfs: false }));
        for json in [
            String::new(),
            "[]".to_owned(),
            "[{}]".to_owned(),
            object.clone(),
            format!("[{object},{object}]"),
            format!(r#"[{{"diff-digest":"{}"}}]"#, diff_id.hex()),
        ] {
            assert!(read(json.clone()).is_err(), "{json}");
        }
    }
}
