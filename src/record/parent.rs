//! `parent.json`: what a published layer took from the layers below it.

use serde::{Deserialize, Serialize};

use super::json::{compact, parse};
use crate::{ChainId, Digest, LayerPath, Result};

/// The content of a layer's `parent.json`. A layer that stands for itself has none.
///
/// Compact JSON: `{"parent":"sha256:<ChainID>","openEnds":{…},"completion":"sha256:<hex>"}`. Rule: this project's
/// own, see the head of [`crate::path`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRecord {
    /// The chain of the layers below; `null` if the layer was the base of its image.
    pub parent: Option<ChainId>,
    /// What the layer itself leaves open.
    pub open_ends: OpenEnds,
    /// What it was completed with.
    pub completion: Completion,
}

impl ParentRecord {
    /// Reads a `parent.json`.
    ///
    /// # Errors
    /// If a member is missing or is not what it has to be.
    pub fn parse(json: &[u8]) -> Result<Self> {
        parse("parent record", json)
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        compact(self)
    }
}

/// Directories and links of a layer whose meaning depends on the layers below. Together with the [`Completion`] they
/// are kept with a published layer, so that one can find out without the layer's tar whether it would be the same
/// above other layers.
///
/// As JSON: `{"impliedDirectories":[PATH,…],"lowerLinks":[[NAME,TARGET],…]}`, where PATH, NAME and TARGET are paths
/// as [`LayerPath`] has them in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenEnds {
    /// Directories that hold entries of the layer but have no entry themselves, parents before children. Unless they
    /// are completed they have mode 0755, owner 0:0 and time 0; completing the layer gives them the attributes of the
    /// lower directory. The layer's root is never among them: without an entry it stays as it is. Neither are
    /// directories in which nothing of the lower layers is seen.
    pub implied_directories: Vec<LayerPath>,
    /// Hard links whose target the layer does not have: name and target, sorted by name.
    pub lower_links: Vec<(LayerPath, LayerPath)>,
}

impl OpenEnds {
    /// Whether the layer stands for itself.
    pub fn is_empty(&self) -> bool {
        self.implied_directories.is_empty() && self.lower_links.is_empty()
    }
}

/// A fingerprint of everything that a layer takes from the layers below it: attributes of directories, where
/// symlinks lead, and which files its hard links mean. Equal fingerprints of one layer mean equal results.
///
/// As JSON: `sha256:` and 64 lower-case hex digits. Only the converter knows what is hashed; everybody else can
/// compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Completion(Digest);

impl From<Digest> for Completion {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(bytes: &[u8]) -> LayerPath {
        LayerPath::clean(bytes).unwrap()
    }

    #[test]
    fn bytes_are_those_of_published_repositories() {
        let record = ParentRecord {
            parent: Some(Digest::of(b"c").into()),
            open_ends: OpenEnds {
                implied_directories: vec![path(b"usr"), path(b"usr/\xff")],
                lower_links: vec![(path(b"a"), path("b/ü".as_bytes()))],
            },
            completion: Digest::of(b"d").into(),
        };
        let json = "{\"parent\":\
            \"sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6\",\
            \"openEnds\":{\"impliedDirectories\":[\"usr\",{\"base64\":\"dXNyL/8=\"}],\
            \"lowerLinks\":[[\"a\",\"b/ü\"]]},\"completion\":\
            \"sha256:18ac3e7343f016890c510e93f935261169d9e3f565436429830faf0934f4f8e4\"}";
        assert_eq!(String::from_utf8(record.to_json()).unwrap(), json);
        assert_eq!(ParentRecord::parse(json.as_bytes()), Ok(record.clone()));
        let base = ParentRecord { parent: None, ..record };
        assert!(base.to_json().starts_with(b"{\"parent\":null,"));
        assert_eq!(ParentRecord::parse(&base.to_json()), Ok(base));
    }

    #[test]
    fn every_member_has_to_be_there() {
        for json in ["", "{}", "{\"parent\":null}", "{\"parent\":\"sha256:x\"}"] {
            assert!(ParentRecord::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn paths_from_a_repository_are_checked() {
        for path in ["../up", "/absolute", "a//b", "a/./b", "nul\\u0000"] {
            let json = format!(r#"{{"impliedDirectories":["{path}"],"lowerLinks":[]}}"#);
            assert!(serde_json::from_str::<OpenEnds>(&json).is_err(), "{path}");
        }
    }
}
