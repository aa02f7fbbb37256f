//! A public key, and what it has signed.
//!
//! As cosign uses them: ECDSA over SHA-256 with an ASN.1 signature, RSA with PKCS #1 v1.5 padding over SHA-256,
//! plain Ed25519.

use layer_layout::Digest;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::error::Error;

/// What a PEM block with a public key is called (RFC 7468, section 13).
const PEM_TAG: &str = "PUBLIC KEY";

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EDWARDS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A public key.
#[derive(Debug)]
pub(super) struct Key {
    /// The file that it comes from.
    pub(super) name: String,
    algorithm: &'static dyn VerificationAlgorithm,
    key: Vec<u8>,
    /// What tells it from other keys: of its whole description, which is the same in every file that has it.
    pub(super) digest: Digest,
}

impl Key {
    /// Whether a signature over a message is by this key.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.key).verify(message, signature).is_ok()
    }
}

/// The public keys in a PEM text; `name` is for messages. At least one.
pub(super) fn parse(name: &str, text: &[u8]) -> Result<Vec<Key>, Error> {
    let wrong = |reason: String| Error::NotAKey { name: name.to_owned(), reason };
    let blocks = pem::parse_many(text).map_err(|error| wrong(error.to_string()))?;
    if blocks.is_empty() {
        return Err(wrong("it is not in PEM form".to_owned()));
    }
    let key = |block: &pem::Pem| {
        if block.tag() != PEM_TAG {
            return Err(wrong(format!("it is a {}", block.tag())));
        }
        let info = SubjectPublicKeyInfoRef::try_from(block.contents())
            .map_err(|error| wrong(error.to_string()))?;
        let kind = info.algorithm.oid;
        let curve = info.algorithm.parameters_oid().ok();
        let algorithm: &'static dyn VerificationAlgorithm = match (kind, curve) {
            (EC, Some(P256)) => &ECDSA_P256_SHA256_ASN1,
            (EC, Some(P384)) => &ECDSA_P384_SHA256_ASN1,
            (EDWARDS, _) => &ED25519,
            (RSA, _) => &RSA_PKCS1_2048_8192_SHA256,
            (kind, curve) => {
                let curve = curve.map(|curve| format!(", {curve}")).unwrap_or_default();
                return Err(Error::Kind { name: name.to_owned(), kind: format!("{kind}{curve}") });
            }
        };
        let key = info
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| wrong("its bits are not whole bytes".to_owned()))?
            .to_vec();
        Ok(Key { name: name.to_owned(), algorithm, key, digest: Digest::of(block.contents()) })
    };
    blocks.iter().map(key).collect()
}
