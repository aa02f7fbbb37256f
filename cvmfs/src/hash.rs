//! Content hashes and the names of objects.
//!
//! An object is named by the hash of its **stored** bytes (compressed, if it is compressed). A repository can
//! mix algorithms, so every reference carries its own.

use std::fmt;
use std::str::FromStr;

use sha1::Digest as _;
use shake::{ExtendableOutput, Update, XofReader};

/// Length of every content hash in bytes.
pub const LENGTH: usize = 20;

/// A hash algorithm of the format. All give 160 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Algorithm {
    /// SHA-1, the default.
    #[default]
    Sha1,
    /// RIPEMD-160.
    Rmd160,
    /// SHAKE-128 with 160 bits of output.
    Shake128,
}

impl Algorithm {
    /// What follows the hex digits in text forms.
    fn id(self) -> &'static str {
        match self {
            Self::Sha1 => "",
            Self::Rmd160 => "-rmd160",
            Self::Shake128 => "-shake128",
        }
    }

    /// The name that CernVM-FS tools take: `sha1`, `rmd160`, `shake128`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Rmd160 => "rmd160",
            Self::Shake128 => "shake128",
        }
    }

    /// The value in a catalog's flags.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The algorithm of a value in a catalog's flags; `None` if there is no such algorithm.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Sha1, Self::Rmd160, Self::Shake128].into_iter().find(|known| known.code() == code)
    }

    /// The hash of `bytes`.
    pub fn hash(self, bytes: &[u8]) -> ContentHash {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Begins a hash of bytes that come in pieces.
    pub fn hasher(self) -> Hasher {
        Hasher(match self {
            Self::Sha1 => State::Sha1(sha1::Sha1::new()),
            Self::Rmd160 => State::Rmd160(ripemd::Ripemd160::new()),
            Self::Shake128 => State::Shake128(shake::Shake128::default()),
        })
    }
}

impl FromStr for Algorithm {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        [Self::Sha1, Self::Rmd160, Self::Shake128]
            .into_iter()
            .find(|known| known.name() == text)
            .ok_or_else(|| HashError(text.to_owned()))
    }
}

/// A hash in the making.
pub struct Hasher(State);

enum State {
    Sha1(sha1::Sha1),
    Rmd160(ripemd::Ripemd160),
    Shake128(shake::Shake128),
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(state) => sha1::Digest::update(state, bytes),
            State::Rmd160(state) => ripemd::Digest::update(state, bytes),
            State::Shake128(state) => Update::update(state, bytes),
        }
    }

    /// The hash of all bytes.
    pub fn finish(self) -> ContentHash {
        let mut digest = [0; LENGTH];
        let algorithm = match self.0 {
            State::Sha1(state) => {
                digest.copy_from_slice(&state.finalize());
                Algorithm::Sha1
            }
            State::Rmd160(state) => {
                digest.copy_from_slice(&ripemd::Digest::finalize(state));
                Algorithm::Rmd160
            }
            State::Shake128(state) => {
                state.finalize_xof().read(&mut digest);
                Algorithm::Shake128
            }
        };
        ContentHash { algorithm, digest }
    }
}

/// The hash of an object's stored bytes. As text: 40 lower-case hex digits and, unless it is SHA-1, the
/// algorithm (`-rmd160`, `-shake128`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash {
    /// How it was computed.
    pub algorithm: Algorithm,
    /// The raw digest.
    pub digest: [u8; LENGTH],
}

impl ContentHash {
    /// The object of this name that has the given use.
    pub fn object(self, kind: ObjectKind) -> ObjectId {
        ObjectId { hash: self, kind }
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", hex::encode(self.digest), self.algorithm.id())
    }
}

impl FromStr for ContentHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let wrong = || HashError(text.to_owned());
        let (digits, id) = text.split_at_checked(2 * LENGTH).ok_or_else(wrong)?;
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(wrong());
        }
        let mut digest = [0; LENGTH];
        hex::decode_to_slice(digits, &mut digest).map_err(|_| wrong())?;
        let algorithm = [Algorithm::Sha1, Algorithm::Rmd160, Algorithm::Shake128]
            .into_iter()
            .find(|known| known.id() == id)
            .ok_or_else(wrong)?;
        Ok(Self { algorithm, digest })
    }
}

/// A text that is neither a content hash nor the name of an algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no content hash (40 hex digits, for rmd160 and shake128 with the name behind a dash)"
)]
pub struct HashError(String);

/// What an object is, as the letter at the end of its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// Content of a whole file: no letter.
    File,
    /// A piece of a chunked file: `P`.
    Chunk,
    /// A file catalog: `C`.
    Catalog,
    /// A tag database: `H`.
    History,
    /// The certificate of those who publish: `X`.
    Certificate,
    /// A description of the repository: `M`.
    Metainfo,
}

impl ObjectKind {
    /// A number for files of our own.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The kind of such a number.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    const ALL: [Self; 6] =
        [Self::File, Self::Chunk, Self::Catalog, Self::History, Self::Certificate, Self::Metainfo];

    fn letter(self) -> &'static str {
        match self {
            Self::File => "",
            Self::Chunk => "P",
            Self::Catalog => "C",
            Self::History => "H",
            Self::Certificate => "X",
            Self::Metainfo => "M",
        }
    }
}

/// The name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// The hash of its stored bytes.
    pub hash: ContentHash,
    /// Its use.
    pub kind: ObjectKind,
}

impl ObjectId {
    /// Where it lies below the repository's storage: `data/ab/cdef…C`.
    pub fn path(&self) -> String {
        let mut path = format!("data/{self}");
        path.insert("data/ab".len(), '/');
        path
    }

    /// The object that lies at a path; `None` if the path is no object's.
    pub fn from_path(path: &str) -> Option<Self> {
        let (shard, rest) = path.strip_prefix("data/")?.split_once('/')?;
        let kind = ObjectKind::ALL
            .into_iter()
            .find(|kind| !kind.letter().is_empty() && rest.ends_with(kind.letter()))
            .unwrap_or(ObjectKind::File);
        let digits = rest.strip_suffix(kind.letter())?;
        let id = Self { hash: format!("{shard}{digits}").parse().ok()?, kind };
        (id.path() == path).then_some(id)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.hash, self.kind.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_format() {
        let empty = hex::decode("789c030000000001").unwrap();
        for (algorithm, bytes, expected) in [
            (Algorithm::Sha1, empty.as_slice(), "e8ec3d88b62ebf526e4e5a4ff6162a3aa48a6b78"),
            (Algorithm::Sha1, b"hello\n", "f572d396fae9206628714fb2ce00f72e94f2258f"),
            (Algorithm::Shake128, &empty, "28d94b83b7229b331fc601362b8e272e02665122-shake128"),
            (Algorithm::Rmd160, b"", "9c1185a5c5e9fc54612808977ee8f548b2258d31-rmd160"),
        ] {
            let hash = algorithm.hash(bytes);
            assert_eq!(hash.to_string(), expected);
            assert_eq!(expected.parse::<ContentHash>().unwrap(), hash);
        }
    }

    #[test]
    fn objects_lie_where_their_names_say() {
        let hash: ContentHash =
            "28d94b83b7229b331fc601362b8e272e02665122-shake128".parse().unwrap();
        for (kind, letter) in [(ObjectKind::File, ""), (ObjectKind::Catalog, "C")] {
            let path = format!("data/28/d94b83b7229b331fc601362b8e272e02665122-shake128{letter}");
            assert_eq!(hash.object(kind).path(), path);
            assert_eq!(ObjectId::from_path(&path), Some(hash.object(kind)));
        }
        for path in ["data/28", "data/2/8d94", "x/28/d94b83b7229b331fc601362b8e272e02665122"] {
            assert_eq!(ObjectId::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn other_texts_are_no_hashes() {
        let digits = "e8ec3d88b62ebf526e4e5a4ff6162a3aa48a6b78";
        for text in [
            String::new(),
            digits[1..].to_owned(),
            digits.to_uppercase(),
            format!("{digits}-md5"),
            format!("{digits}C"),
            "ü".repeat(20),
        ] {
            assert!(text.parse::<ContentHash>().is_err(), "{text:?}");
        }
    }
}
