//! The manifest, `.cvmfspublished`: the one file that says which revision of a repository is the current one.
//!
//! Lines of one letter and a value, in any order, and a signature (`signed_file.rs`) made with the key of
//! the certificate that the manifest names: RSA PKCS#1 v1.5 over the SHA-1 of the printed hash, whatever the
//! repository's own hash algorithm is.

use crate::fqrn::Fqrn;
use crate::hash::ContentHash;
use crate::keys::{Certificate, SigningKey};
use crate::signed_file::SignedFile;
use crate::{Distrust, Error, Result};

/// The manifest's name in a repository's storage.
pub const NAME: &str = ".cvmfspublished";

/// Seconds after which clients check for a new revision, if a repository says nothing else.
pub const DEFAULT_TTL: u64 = 240;

/// MD5 of the path of the repository's root, the empty text. Every manifest has it, and clients refuse all others.
const ROOT_PATH: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The root catalog (`C`). Its algorithm is that of the manifest's own hash.
    pub root: ContentHash,
    /// Size of the root catalog's database in bytes, not compressed (`B`).
    pub root_size: Option<u64>,
    /// Seconds after which clients check for a new revision (`D`). They use the root catalog's property instead.
    pub ttl: u64,
    /// Number of the revision (`S`), the same as in the root catalog. Clients only take higher ones.
    pub revision: u64,
    /// Whether unreferenced objects may be deleted (`G`).
    pub garbage_collectable: bool,
    /// Whether certificate and root catalog can also be found under names of their own (`A`).
    pub alternative_paths: bool,
    /// The repository (`N`).
    pub name: Fqrn,
    /// The certificate of the signer (`X`).
    pub certificate: Option<ContentHash>,
    /// The tag database (`H`).
    pub history: Option<ContentHash>,
    /// When it was signed, in seconds since 1970 (`T`). Clients refuse earlier times than they have seen.
    pub timestamp: Option<u64>,
    /// The description of the repository (`M`).
    pub metainfo: Option<ContentHash>,
    /// Hash of the file `.cvmfsreflog` (`Y`).
    pub reflog: Option<ContentHash>,
}

/// A manifest as it was found. Its signature has not been verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedManifest {
    manifest: Manifest,
    file: SignedFile,
}

impl SignedManifest {
    /// What it says; anybody may have written it. For finding the certificate that [`Self::verify`] needs.
    pub fn unverified(&self) -> &Manifest {
        &self.manifest
    }

    /// What it says, if it is the manifest of repository `name` and signed with the certificate's key. That the
    /// certificate is the right one must be known from elsewhere
    /// ([`Whitelist::lists`](crate::whitelist::Whitelist::lists)).
    ///
    /// # Errors
    /// [`Error::Corrupt`] if its hash is wrong, [`Error::Untrusted`] if it is another repository's or not signed
    /// with this key.
    pub fn verify(&self, name: &Fqrn, certificate: &Certificate) -> Result<&Manifest> {
        let untrusted = |reason| Error::Untrusted { what: what(), reason };
        if self.manifest.name != *name {
            let (found, expected) = (self.manifest.name.clone(), name.clone());
            return Err(untrusted(Distrust::OtherRepository { found, expected }));
        }
        self.file.check_hash(&what())?;
        let (message, signature) = self.file.message_and_signature();
        if !certificate.verify(message, signature) {
            return Err(untrusted(Distrust::OtherKey));
        }
        Ok(&self.manifest)
    }
}

impl Manifest {
    /// Reads a manifest. Letters that are not known are skipped.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the number of the line if a value is not of its form, twice there or missing.
    pub fn parse(file: &[u8]) -> Result<SignedManifest> {
        let file = SignedFile::parse(file, &what())?;
        let manifest = Fields::collect(&file)?.manifest()?;
        Ok(SignedManifest { manifest, file })
    }

    /// The file, signed. The key must be that of [`Self::certificate`].
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>> {
        SignedFile::seal(self.text().into_bytes(), self.root.algorithm, |message| key.sign(message))
    }

    /// The lines that are signed, in the order of the stock tools.
    pub fn text(&self) -> String {
        let yes_no = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let hash = |hash: Option<ContentHash>| hash.map(|hash| hash.to_string());
        [
            (b'C', Some(self.root.to_string())),
            (b'B', number(self.root_size)),
            (b'R', Some(ROOT_PATH.to_owned())),
            (b'D', Some(self.ttl.to_string())),
            (b'S', Some(self.revision.to_string())),
            (b'G', Some(yes_no(self.garbage_collectable))),
            (b'A', Some(yes_no(self.alternative_paths))),
            (b'N', Some(self.name.to_string())),
            (b'X', hash(self.certificate)),
            (b'H', hash(self.history)),
            (b'T', number(self.timestamp)),
            (b'M', hash(self.metainfo)),
            (b'Y', hash(self.reflog)),
        ]
        .into_iter()
        .filter_map(|(letter, value)| Some(format!("{}{}\n", char::from(letter), value?)))
        .collect()
    }
}

/// Values by letter, with the numbers of their lines.
struct Fields<'a>([Option<(usize, &'a str)>; KNOWN.len()]);

/// All letters that are known.
const KNOWN: &[u8; 13] = b"CBRDSGANXHTMY";

impl<'a> Fields<'a> {
    fn collect(file: &'a SignedFile) -> Result<Self> {
        let mut fields = Self([None; KNOWN.len()]);
        for (number, line) in file.lines() {
            let Some((&key, value)) = line.split_first() else { continue };
            let Some(known) = KNOWN.iter().position(|&known| known == key) else { continue };
            let value = std::str::from_utf8(value).map_err(|_| damaged(number, "it is no text"))?;
            if let Some((first, _)) = fields.0[known].replace((number, value)) {
                let reason = format!("`{}` is in line {first} already", char::from(key));
                return Err(damaged(number, &reason));
            }
        }
        Ok(fields)
    }

    fn manifest(&self) -> Result<Manifest> {
        if self.required::<String>(b'R')? != ROOT_PATH {
            let reason = "`R` is not the hash of the root's path".to_owned();
            return Err(Error::Corrupt { what: what(), reason });
        }
        Ok(Manifest {
            root: self.required(b'C')?,
            root_size: self.parsed(b'B')?,
            ttl: self.required(b'D')?,
            revision: self.required(b'S')?,
            garbage_collectable: self.is_yes(b'G'),
            alternative_paths: self.is_yes(b'A'),
            name: self.required(b'N')?,
            certificate: self.parsed(b'X')?,
            history: self.parsed(b'H')?,
            timestamp: self.parsed(b'T')?,
            metainfo: self.parsed(b'M')?,
            reflog: self.parsed(b'Y')?,
        })
    }

    fn get(&self, letter: u8) -> Option<(usize, &'a str)> {
        KNOWN.iter().position(|&known| known == letter).and_then(|index| self.0[index])
    }

    fn parsed<T: std::str::FromStr>(&self, letter: u8) -> Result<Option<T>>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |(line, value): (usize, &str)| {
            value.parse().map_err(|error: T::Err| {
                damaged(line, &format!("`{}` holds {value:?}: {error}", char::from(letter)))
            })
        };
        self.get(letter).map(parse).transpose()
    }

    fn required<T: std::str::FromStr>(&self, letter: u8) -> Result<T>
    where
        T::Err: std::fmt::Display,
    {
        self.parsed(letter)?.ok_or_else(|| Error::Corrupt {
            what: what(),
            reason: format!("it has no line `{}`", char::from(letter)),
        })
    }

    fn is_yes(&self, letter: u8) -> bool {
        self.get(letter).is_some_and(|(_, value)| value == "yes")
    }
}

fn what() -> String {
    format!("the manifest ({NAME})")
}

fn damaged(line: usize, reason: &str) -> Error {
    Error::Corrupt { what: what(), reason: format!("line {line}: {reason}") }
}

#[cfg(test)]
mod tests;
