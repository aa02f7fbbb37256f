//! RSA keys: what signs, and what verifies.
//!
//! Manifests and whitelists are signed differently (both RSA PKCS#1 v1.5, RFC 8017 section 8.2), so the keys have
//! types of their own and cannot be confused.

use std::fmt;
use std::sync::Arc;

use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use rsa::rand_core::OsRng;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha1::{Digest, Sha1};

use crate::{Error, Result};

/// What precedes a SHA-1 digest in the padding: the ASN.1 structure `DigestInfo` up to the digest (RFC 8017
/// section 9.2, note 1).
const SHA1_DIGEST_INFO: [u8; 15] =
    [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];

/// The length of new keys, in bits.
const KEY_BITS: usize = 2048;

/// How manifests are signed: over the SHA-1 of the message.
fn manifest_scheme() -> Pkcs1v15Sign {
    let digest_length = <Sha1 as Digest>::output_size();
    Pkcs1v15Sign { hash_len: Some(digest_length), prefix: SHA1_DIGEST_INFO.into() }
}

/// How whitelists are signed: the padding holds the message itself.
fn whitelist_scheme() -> Pkcs1v15Sign {
    Pkcs1v15Sign::new_unprefixed()
}

/// The private key of a certificate: signs manifests. Cheap to clone.
#[derive(Clone)]
pub struct SigningKey(Arc<PrivateKey>);

/// The private master key: signs whitelists.
pub struct MasterKey {
    private: PrivateKey,
    public: PublicKey,
}

struct PrivateKey {
    key: RsaPrivateKey,
    pem: Vec<u8>,
}

impl SigningKey {
    /// Reads a key file: PEM, PKCS#8 or PKCS#1, without a password.
    pub(crate) fn from_pem(pem: &[u8]) -> std::result::Result<Self, String> {
        Ok(Self(Arc::new(PrivateKey::from_pem(pem)?)))
    }

    /// Signs the text of a manifest's hash.
    ///
    /// # Errors
    /// If the key is too short.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(manifest_scheme(), &Sha1::digest(message))
    }

    pub(super) fn public(&self) -> RsaPublicKey {
        self.0.key.to_public_key()
    }

    pub(crate) fn pem(&self) -> &[u8] {
        &self.0.pem
    }
}

impl MasterKey {
    /// Makes a new key.
    pub(super) fn generate() -> Result<Self> {
        let pair = generate_pair()?;
        Self::from_pem(pair.serialize_pem().as_bytes()).map_err(cannot_generate)
    }

    /// Reads a key file: PEM, PKCS#8 or PKCS#1, without a password.
    pub(crate) fn from_pem(pem: &[u8]) -> std::result::Result<Self, String> {
        let private = PrivateKey::from_pem(pem)?;
        let public = PublicKey::from_key(private.key.to_public_key())?;
        Ok(Self { private, public })
    }

    /// The half that everybody may know.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs the text of a whitelist's hash.
    ///
    /// # Errors
    /// If the key is too short.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.private.sign(whitelist_scheme(), message)
    }

    pub(crate) fn pem(&self) -> &[u8] {
        &self.private.pem
    }
}

impl PrivateKey {
    fn from_pem(pem: &[u8]) -> std::result::Result<Self, String> {
        let block = pem::parse(pem).map_err(|error| format!("it is no PEM file: {error}"))?;
        let wrong = |error: &dyn fmt::Display| format!("it holds no RSA key: {error}");
        let key = match block.tag() {
            "PRIVATE KEY" => {
                RsaPrivateKey::from_pkcs8_der(block.contents()).map_err(|error| wrong(&error))?
            }
            "RSA PRIVATE KEY" if block.headers().get("DEK-Info").is_none() => {
                RsaPrivateKey::from_pkcs1_der(block.contents()).map_err(|error| wrong(&error))?
            }
            "RSA PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
                return Err("it is locked with a password; `openssl pkey` unlocks it".to_owned());
            }
            other => return Err(format!("it holds a {other:?} and no RSA private key")),
        };
        Ok(Self { key, pem: pem.to_vec() })
    }

    /// Blinding with random numbers keeps the time that it takes from telling anything about the key.
    fn sign(&self, scheme: Pkcs1v15Sign, message: &[u8]) -> Result<Vec<u8>> {
        self.key
            .sign_with_rng(&mut OsRng, scheme, message)
            .map_err(|error| cryptography("sign with this RSA key", error))
    }
}

/// A new pair of keys, in a form that both libraries can read.
pub(super) fn generate_pair() -> Result<rcgen::KeyPair> {
    let key = RsaPrivateKey::new(&mut OsRng, KEY_BITS).map_err(cannot_generate)?;
    let der = key.to_pkcs8_der().map_err(cannot_generate)?;
    rcgen::KeyPair::try_from(der.as_bytes()).map_err(cannot_generate)
}

pub(super) fn cannot_generate(error: impl fmt::Display) -> Error {
    cryptography("make a key", error)
}

fn cryptography(action: &'static str, error: impl fmt::Display) -> Error {
    Error::Cryptography { action, reason: error.to_string() }
}

/// The public half of a master key.
#[derive(Debug, Clone)]
pub struct PublicKey {
    key: RsaPublicKey,
    pem: Vec<u8>,
}

impl PublicKey {
    /// Reads a file `….pub`: PEM of a SubjectPublicKeyInfo with an RSA key.
    ///
    /// # Errors
    /// The reason, if it is not.
    pub fn from_pem(pem: &[u8]) -> std::result::Result<Self, String> {
        let block = pem::parse(pem).map_err(|error| format!("it is no PEM file: {error}"))?;
        if block.tag() != "PUBLIC KEY" {
            return Err(format!("it holds a {:?} and no public key", block.tag()));
        }
        let key = RsaPublicKey::from_public_key_der(block.contents())
            .map_err(|error| format!("it holds no RSA key: {error}"))?;
        Ok(Self { key, pem: pem.to_vec() })
    }

    fn from_key(key: RsaPublicKey) -> std::result::Result<Self, String> {
        let der = key.to_public_key_der().map_err(|error| error.to_string())?;
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        let pem = pem::encode_config(&pem::Pem::new("PUBLIC KEY", der.as_bytes()), config);
        Ok(Self { key, pem: pem.into_bytes() })
    }

    /// The file.
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }
}

/// Compares keys, not files.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for PublicKey {}

/// The public master keys that somebody trusts; what one of them signed is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeys(Vec<PublicKey>);

impl PublicKeys {
    /// Whether one of the keys signed the text of a whitelist's hash.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.iter().any(|key| key.key.verify(whitelist_scheme(), message, signature).is_ok())
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }
}

impl From<PublicKey> for PublicKeys {
    fn from(key: PublicKey) -> Self {
        Self(vec![key])
    }
}

impl FromIterator<PublicKey> for PublicKeys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// Whether `key` made a manifest's signature.
pub(super) fn verify_manifest(key: &RsaPublicKey, message: &[u8], signature: &[u8]) -> bool {
    key.verify(manifest_scheme(), &Sha1::digest(message), signature).is_ok()
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(secret)")
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(secret)")
    }
}
