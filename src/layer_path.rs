//! The typed path of a name inside a layer.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path inside a layer: relative, without empty, `.` and `..` components and without NUL; any other
/// bytes are allowed. The empty path is the layer's root directory.
///
/// As JSON: a string, or `{"base64":"…"}` (RFC 4648 with padding) if the path is not UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LayerPath(Vec<u8>);

/// Why bytes of a tar are no path inside a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `..` component, which could lead out of the layer.
    #[error("`..` in a path")]
    Parent,
    /// A NUL byte, which no file system can store.
    #[error("NUL in a path")]
    Nul,
    /// A component over 255 bytes, or a path over 4095 bytes (Linux NAME_MAX and PATH_MAX).
    #[error("a path or a part of it is too long for Linux")]
    TooLong,
}

/// Linux `limits.h`: the longest name and the longest path, without the closing NUL.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4095;

impl LayerPath {
    /// The root directory of the layer.
    pub const ROOT: Self = Self(Vec::new());

    /// Cleans a path of a tar. A leading `/` and `./` say nothing in a layer and are dropped, as all
    /// container engines do.
    ///
    /// # Errors
    /// If the path could leave the layer or cannot be stored.
    pub fn clean(raw: &[u8]) -> Result<Self, PathError> {
        let mut path = Vec::with_capacity(raw.len());
        for component in raw.split(|&b| b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(PathError::Parent),
                name if name.contains(&0) => return Err(PathError::Nul),
                name if name.len() > NAME_MAX => return Err(PathError::TooLong),
                name => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                }
            }
        }
        if path.len() > PATH_MAX {
            return Err(PathError::TooLong);
        }
        Ok(Self(path))
    }

    /// The bytes, components joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the top.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// The directory that holds this name, and the name; `None` for the root.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => Some((Self(self.0[..at].to_vec()), &self.0[at + 1..])),
            None => Some((Self::ROOT, &self.0)),
        }
    }

    /// The path of `name` in this directory. `name` must be a single component of a clean path.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }
}

impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Json {
    Text(String),
    Encoded { base64: String },
}

impl Serialize for LayerPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Json::Encoded { base64: BASE64.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LayerPath {
    /// Accepts what [`LayerPath::clean`] would leave as it is, and nothing else.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let bytes = match Json::deserialize(deserializer)? {
            Json::Text(text) => text.into_bytes(),
            Json::Encoded { base64 } => BASE64.decode(base64).map_err(D::Error::custom)?,
        };
        let path = Self::clean(&bytes).map_err(D::Error::custom)?;
        if path.0 == bytes {
            Ok(path)
        } else {
            Err(D::Error::custom(format!("{path} is not written as a clean path")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let name = "n".repeat(NAME_MAX);
        let longest = vec![name.as_str(); 16].join("/");
        assert_eq!(longest.len(), PATH_MAX);
        let cases: [(&str, Result<&str, PathError>); 18] = [
            ("", Ok("")),
            ("/", Ok("")),
            ("./", Ok("")),
            (".//./.", Ok("")),
            ("a", Ok("a")),
            ("/a/b", Ok("a/b")),
            ("./a//b/./c/", Ok("a/b/c")),
            ("...", Ok("...")),
            ("..a/b..", Ok("..a/b..")),
            (&longest, Ok(&longest)),
            ("..", Err(PathError::Parent)),
            ("/..", Err(PathError::Parent)),
            ("a/..", Err(PathError::Parent)),
            ("a/../b", Err(PathError::Parent)),
            ("a\0b", Err(PathError::Nul)),
            ("a/\0", Err(PathError::Nul)),
            (&format!("{name}n"), Err(PathError::TooLong)),
            (&format!("a/{longest}"), Err(PathError::TooLong)),
        ];
        for (raw, expected) in cases {
            let path = LayerPath::clean(raw.as_bytes());
            assert_eq!(
                path.as_ref().map(LayerPath::as_bytes),
                expected.as_ref().map(|p| p.as_bytes()),
                "{raw:?}"
            );
        }
    }

    #[test]
    fn parts_of_paths() {
        let path = LayerPath::clean(b"a/b/c").unwrap();
        assert_eq!(path.components().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        let (directory, name) = path.split().unwrap();
        assert_eq!((directory.as_bytes(), name), (b"a/b".as_slice(), b"c".as_slice()));
        assert_eq!(directory.join(name), path);
        let top = LayerPath::clean(b"a").unwrap();
        assert_eq!(top.split(), Some((LayerPath::ROOT, b"a".as_slice())));
        assert_eq!(LayerPath::ROOT.join(b"a"), top);
        assert!(LayerPath::ROOT.is_root() && LayerPath::ROOT.split().is_none());
        assert_eq!(LayerPath::ROOT.components().count(), 0);
    }

    #[test]
    fn json_form() {
        let cases: [(&[u8], &str); 5] = [
            (b"", r#""""#),
            (b"a/b", r#""a/b""#),
            ("b/ü".as_bytes(), r#""b/ü""#),
            (b"usr/\xff", r#"{"base64":"dXNyL/8="}"#),
            (b"a\"\n", r#""a\"\n""#),
        ];
        for (bytes, json) in cases {
            let path = LayerPath::clean(bytes).unwrap();
            assert_eq!(serde_json::to_string(&path).unwrap(), json);
            assert_eq!(serde_json::from_str::<LayerPath>(json).unwrap(), path);
        }
        for json in ["1", r#""/a""#, r#""a/../b""#, r#"{"base64":"*"}"#, r#"{"base64":"YS8="}"#] {
            assert!(serde_json::from_str::<LayerPath>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn paths_are_shown_escaped() {
        let path = LayerPath::clean(b"a\xff\n\x1b[2J/b").unwrap();
        assert_eq!(path.to_string(), "/a\\xff\\n\\x1b[2J/b");
        assert_eq!(LayerPath::ROOT.to_string(), "/");
    }
}
