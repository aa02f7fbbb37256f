//! What a layer leaves to the layers below it.

use layer_layout::Digest;
use serde::{Deserialize, Serialize};

use crate::layer::LayerPath;

/// Directories and links of a layer that only the layers below can tell. Together with the [`Completion`]
/// they are kept with a published layer, so that one can find out without the layer's tar whether it would
/// be the same above other layers.
///
/// As JSON: `{"impliedDirectories":[PATH,…],"lowerLinks":[[NAME,TARGET],…]}`, where a path is a string, or
/// `{"base64":"…"}` if it is no UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenEnds {
    /// Directories that hold entries of the layer but have none themselves, parents before children. They
    /// have mode 0755, owner 0:0 and time 0; [`complete_layer`](super::Transaction::complete_layer) gives
    /// them the attributes of the lower directory. The layer's root is never among them: without an entry it stays so. Nor are directories
    /// in which nothing of the lower layers is seen.
    #[serde(with = "paths")]
    pub implied_directories: Vec<LayerPath>,
    /// Hard links whose target the layer does not have: name and target, sorted by name.
    #[serde(with = "pairs")]
    pub lower_links: Vec<(LayerPath, LayerPath)>,
}

impl OpenEnds {
    /// Whether the layer stands for itself.
    pub fn is_empty(&self) -> bool {
        self.implied_directories.is_empty() && self.lower_links.is_empty()
    }
}

/// A fingerprint of all that a layer takes from the layers below it: attributes of directories, where
/// symlinks lead, and which files its hard links mean. Equal fingerprints of one layer mean equal results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Completion(pub(super) Digest);

impl TryFrom<String> for Completion {
    type Error = layer_layout::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<Completion> for String {
    fn from(completion: Completion) -> Self {
        completion.0.to_string()
    }
}

/// A layer path in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Encoded { base64: String },
}

impl From<&LayerPath> for Text {
    fn from(path: &LayerPath) -> Self {
        use base64::Engine;
        match std::str::from_utf8(path.as_bytes()) {
            Ok(text) => Self::Plain(text.to_owned()),
            Err(_) => Self::Encoded {
                base64: base64::engine::general_purpose::STANDARD.encode(path.as_bytes()),
            },
        }
    }
}

impl TryFrom<Text> for LayerPath {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        use base64::Engine;
        let bytes = match text {
            Text::Plain(text) => text.into_bytes(),
            Text::Encoded { base64 } => base64::engine::general_purpose::STANDARD
                .decode(base64)
                .map_err(|error| error.to_string())?,
        };
        let path = Self::clean(&bytes).map_err(|error| error.to_string())?;
        if path.as_bytes() == bytes {
            Ok(path)
        } else {
            Err(format!("{path} is not written as a clean path"))
        }
    }
}

mod paths {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{LayerPath, Text};

    pub(super) fn serialize<S: Serializer>(paths: &[LayerPath], to: S) -> Result<S::Ok, S::Error> {
        paths.iter().map(Text::from).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<LayerPath>, D::Error> {
        let texts = Vec::<Text>::deserialize(from)?;
        texts.into_iter().map(|text| text.try_into().map_err(D::Error::custom)).collect()
    }
}

mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{LayerPath, Text};

    pub(super) fn serialize<S: Serializer>(
        pairs: &[(LayerPath, LayerPath)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let texts = pairs.iter().map(|(a, b)| (Text::from(a), Text::from(b)));
        texts.collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(LayerPath, LayerPath)>, D::Error> {
        let path = |text: Text| LayerPath::try_from(text).map_err(D::Error::custom);
        let texts = Vec::<(Text, Text)>::deserialize(from)?;
        texts.into_iter().map(|(a, b)| Ok((path(a)?, path(b)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_readable_and_complete() {
        let path = |bytes: &[u8]| LayerPath::clean(bytes).unwrap();
        let ends = OpenEnds {
            implied_directories: vec![path(b"usr"), path(b"usr/\xff")],
            lower_links: vec![(path(b"a"), path("b/ü".as_bytes()))],
        };
        let json = serde_json::to_string(&ends).unwrap();
        assert_eq!(
            json,
            r#"{"impliedDirectories":["usr",{"base64":"dXNyL/8="}],"lowerLinks":[["a","b/ü"]]}"#
        );
        assert_eq!(serde_json::from_str::<OpenEnds>(&json).unwrap(), ends);
    }

    #[test]
    fn paths_from_a_repository_are_checked() {
        for path in ["../up", "/absolute", "a//b", "a/./b", "nul\\u0000"] {
            let json = format!(r#"{{"impliedDirectories":["{path}"],"lowerLinks":[]}}"#);
            assert!(serde_json::from_str::<OpenEnds>(&json).is_err(), "{path}");
        }
    }
}
