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

    /// The DiffID that a `layers.json` records. It is all that a reader relies on, so nothing else has to be there.
    ///
    /// # Errors
    /// If the file is not an array of one object with a DiffID.
    pub fn recorded_diff_id(json: &[u8]) -> Result<DiffId> {
        #[derive(Deserialize)]
        struct Recorded {
            #[serde(rename = "diff-digest")]
            diff_id: DiffId,
        }
        let [record]: [Recorded; 1] = parse(WHAT, json)?;
        Ok(record.diff_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    #[test]
    fn bytes_are_ducc_s() {
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
  "diff-size": 7
 }
]"#;
        assert_eq!(String::from_utf8(record.to_json()).unwrap(), json);
        assert_eq!(serde_json::from_str::<[LayerRecord; 1]>(json).unwrap(), [record]);
        assert_eq!(LayerRecord::recorded_diff_id(json.as_bytes()), Ok(Digest::of(b"d").into()));
    }

    #[test]
    fn only_one_layer_with_a_diff_id_counts() {
        let diff_id = DiffId::from(Digest::of(b"d"));
        let object = format!(r#"{{"diff-digest":"{diff_id}","of another version":1}}"#);
        let read = |json: String| LayerRecord::recorded_diff_id(json.as_bytes());
        assert_eq!(read(format!("[{object}]")), Ok(diff_id));
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
