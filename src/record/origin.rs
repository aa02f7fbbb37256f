//! `origin.json`: which images use a layer.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::json::{compact, parse};
use crate::{ConfigDigest, Result};

/// The content of a layer's `origin.json`.
///
/// Compact JSON: `{"origin":["sha256:<config digest>",…]}`, the images in the order in which they were published.
/// Rule: DUCC, which appends an image's config digest at every conversion, even if it is there already. Nothing
/// takes an image out, so a name in the list does not mean that the image is still published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OriginRecord {
    /// As text: what another version wrote in another form must survive.
    #[serde(default)]
    origin: Vec<String>,
}

impl OriginRecord {
    /// Reads an `origin.json`.
    ///
    /// # Errors
    /// If it is not JSON, or `origin` is not a list of strings.
    pub fn parse(json: &[u8]) -> Result<Self> {
        parse("origin record", json)
    }

    /// Adds those of the images that are not there, in their order.
    pub fn add(&mut self, images: impl IntoIterator<Item = ConfigDigest>) {
        let mut known: HashSet<String> = self.origin.iter().cloned().collect();
        let images = images.into_iter().map(|image| image.to_string());
        self.origin.extend(images.filter(|image| known.insert(image.clone())));
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        compact(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    #[test]
    fn images_are_added_once() {
        let [a, b] = [b"a", b"b"].map(|text| ConfigDigest::from(Digest::of(text)));
        let mut record = OriginRecord::default();
        record.add([a, a]);
        let first = "{\"origin\":[\
            \"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"]}";
        assert_eq!(String::from_utf8(record.to_json()).unwrap(), first);
        assert_eq!(OriginRecord::parse(first.as_bytes()), Ok(record.clone()));
        record.add([a, b, a]);
        let both = "{\"origin\":[\
            \"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\",\
            \"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"]}";
        assert_eq!(String::from_utf8(record.to_json()).unwrap(), both);
    }

    #[test]
    fn what_others_wrote_is_kept() {
        for json in ["{\"origin\":[]}", "{\"origin\":[\"r.io/a:1\",\"r.io/a:1\"]}"] {
            let record = OriginRecord::parse(json.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(record.to_json()).unwrap(), json);
        }
        assert_eq!(OriginRecord::parse(b"{}"), Ok(OriginRecord::default()));
        for json in ["", "null", "{\"origin\":[1]}"] {
            assert!(OriginRecord::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
