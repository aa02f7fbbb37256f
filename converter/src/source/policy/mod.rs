//! Whose signatures an image needs before it is published.
//!
//! A policy is a set of cosign's public keys (`cosign generate-key-pair`, or any PEM key). An image is accepted if
//! its manifest or the index that it was found in carries a signature by one of them. Everything is checked with
//! the keys alone: no certificate authority, no transparency log, no network but the image's own registry.
//!
//! Two forms are understood, both as cosign writes them:
//! - [`simple_signing`]: a JSON payload with the signature in an annotation, under the tag `sha256-<hex>.sig` or
//!   among the referrers;
//! - [`bundle`]: a Sigstore bundle (version 0.3 with a DSSE envelope) among the referrers, cosign's form since 3.0.
//!
//! Why not the `sigstore` crate: version 0.15 with nothing but its feature `cosign` is 277 crates, some 80 of them new
//! here, among them a client for registries, one for OpenID Connect, generated Protobuf and a second set of
//! elliptic curves. What is needed of all that is a signature over documented bytes, which `ring` checks; it is here for
//! TLS anyway.

mod bundle;
mod error;
mod key;
mod simple_signing;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use layer_layout::Digest;

pub use error::{Error, Refusal};

use self::key::Key;
pub(super) use bundle::{BUNDLE, Bundle};
pub(super) use simple_signing::{ARTIFACT as SIMPLE_SIGNING_ARTIFACT, signature_layers};

/// The keys of which one must have signed an image. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Policy(Arc<Vec<Key>>);

/// What a signature turned out to be worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is by one of the keys and for the wanted digest.
    Accepted,
    /// It is not by one of the keys, or it is damaged.
    Untrusted,
    /// It is by one of the keys, but says something about another image.
    OtherDigest(String),
}

impl Policy {
    /// The keys in files, each with one or more PEM blocks `PUBLIC KEY`.
    ///
    /// # Errors
    /// If there is no file, one cannot be read, or has something other than public keys of a usable kind.
    pub fn from_files<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let pem = std::fs::read(path)
                .map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
            keys.extend(key::parse(&path.display().to_string(), &pem)?);
        }
        if keys.is_empty() {
            return Err(Error::NoKeys);
        }
        Ok(Self(Arc::new(keys)))
    }

    /// Judges a signature over `message` that speaks of the digests `signed`; `wanted` is what has to be signed.
    fn judge(
        &self,
        message: &[u8],
        signatures: &[Vec<u8>],
        signed: impl FnOnce() -> Vec<String>,
        wanted: &Digest,
    ) -> Verdict {
        let by_one_of_us = signatures
            .iter()
            .any(|signature| self.0.iter().any(|key| key.signed(message, signature)));
        // What is not signed by us is not even looked at.
        if !by_one_of_us {
            return Verdict::Untrusted;
        }
        let signed = signed();
        let wanted = wanted.to_string();
        if signed.contains(&wanted) {
            return Verdict::Accepted;
        }
        let other = signed.into_iter().next();
        Verdict::OtherDigest(other.unwrap_or_else(|| "something that is not an image".to_owned()))
    }

    /// What tells this policy from others: the same keys, in whatever files and order, are the same policy.
    pub fn fingerprint(&self) -> Digest {
        let keys: BTreeSet<String> = self.0.iter().map(|key| key.digest.to_string()).collect();
        Digest::of(keys.into_iter().collect::<Vec<_>>().join(" ").as_bytes())
    }

    /// The names of the keys, for messages.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.iter().map(|key| key.name.clone()).collect();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests;
