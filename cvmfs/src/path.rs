//! Paths inside a repository, and the hashes that are their keys in catalogs.

use std::fmt;

use md5::{Digest as _, Md5};

/// An absolute path inside a repository as bytes: empty for the root, else `/a/b`. Components are neither
/// `.` nor `..`, contain no NUL and are not empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TreePath(Vec<u8>);

impl TreePath {
    /// The root.
    pub const ROOT: Self = Self(Vec::new());

    /// Parses a path, which may have one leading and one trailing slash. `None` if a component is empty, `.`, `..`
    /// or contains a NUL.
    pub fn parse(path: &[u8]) -> Option<Self> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if path.is_empty() {
            return Some(Self::ROOT);
        }
        let mut bytes = Vec::with_capacity(path.len() + 1);
        for component in path.split(|&byte| byte == b'/') {
            if matches!(component, b"" | b"." | b"..") || component.contains(&0) {
                return None;
            }
            bytes.push(b'/');
            bytes.extend_from_slice(component);
        }
        Some(Self(bytes))
    }

    /// The bytes: empty for the root, else with a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path of a name in this directory.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// The directory that holds it, and its name there; `None` for the root.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        let at = self.0.iter().rposition(|&byte| byte == b'/')?;
        Some((Self(self.0[..at].to_vec()), &self.0[at + 1..]))
    }

    /// The names on the way from the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').skip(1)
    }

    /// Whether it is `directory` or below it.
    pub fn is_within(&self, directory: &Self) -> bool {
        self.0
            .strip_prefix(directory.as_bytes())
            .is_some_and(|rest| rest.first().is_none_or(|&byte| byte == b'/'))
    }

    /// Its key in catalogs.
    pub fn hash(&self) -> PathHash {
        PathHash(Md5::digest(&self.0).into())
    }
}

impl fmt::Display for TreePath {
    /// For people: the root is `/`, bytes that are not UTF-8 are replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_root() {
            true => f.write_str("/"),
            false => f.write_str(&String::from_utf8_lossy(&self.0)),
        }
    }
}

/// The MD5 of a path. Catalogs hold it as two integers, its halves as little-endian signed 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathHash(pub [u8; 16]);

impl PathHash {
    /// What stands for "no parent": the root's parent.
    pub const NONE: Self = Self([0; 16]);

    /// The two columns.
    pub fn columns(&self) -> (i64, i64) {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        (i64::from_le_bytes([a, b, c, d, e, f, g, h]), i64::from_le_bytes(rest))
    }

    /// From the two columns.
    pub fn from_columns(first: i64, second: i64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&first.to_le_bytes());
        bytes[8..].copy_from_slice(&second.to_le_bytes());
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn hashes_are_those_of_the_format() {
        for (text, first, second) in [
            ("", 338_333_539_836_370_388, 9_098_107_892_288_553_193),
            ("/a", -2_906_336_618_250_618_618, -744_252_105_585_281_751),
            ("/a/b", -79_414_819_578_584_146, 8_517_581_007_188_477_988),
            ("/usr/bin", -6_332_405_977_853_062_539, -3_354_531_661_490_446_888),
        ] {
            assert_eq!(path(text).hash().columns(), (first, second), "{text}");
            assert_eq!(PathHash::from_columns(first, second), path(text).hash());
        }
    }

    #[test]
    fn paths_are_clean() {
        for (text, expected) in [("", "/"), ("/", "/"), ("a/b/", "/a/b"), ("/a", "/a")] {
            assert_eq!(path(text).to_string(), expected);
        }
        for text in ["///", "a//b", "./a", "a/..", "a\0"] {
            assert_eq!(TreePath::parse(text.as_bytes()), None, "{text:?}");
        }
        assert!(path("/a/b").is_within(&path("/a")));
        assert!(!path("/ab").is_within(&path("/a")));
        assert!(path("/a").is_within(&TreePath::ROOT));
        assert_eq!(path("/a/b").split(), Some((path("/a"), b"b".as_slice())));
        assert_eq!(path("/a/b").components().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(TreePath::ROOT.components().count(), 0);
    }
}
