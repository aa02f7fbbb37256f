//! Certificates of those who publish, and how the whitelist names them.
//!
//! A certificate is no more than a public key that can be named by a fingerprint: its dates, names and issuer matter
//! neither to clients nor to us.

use std::fmt;

use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{Decode, Encode};

use super::rsa_key::{SigningKey, verify_manifest};
use crate::hash::{Algorithm, ContentHash, LENGTH};
use crate::{Error, Result};

/// An X.509 certificate with an RSA key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pem: Vec<u8>,
    der: Vec<u8>,
    key: RsaPublicKey,
}

impl Certificate {
    /// Reads the content of the object that a manifest names: PEM. Of several certificates, the first counts.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is none, or its key is not RSA.
    pub fn parse(pem: &[u8]) -> Result<Self> {
        Self::from_pem(pem)
            .map_err(|reason| Error::Corrupt { what: "the certificate".to_owned(), reason })
    }

    /// Reads a file `….crt` like [`Self::parse`]; the error is the mere reason.
    pub(super) fn from_pem(pem: &[u8]) -> std::result::Result<Self, String> {
        let block = pem::parse(pem).map_err(|error| format!("it is no PEM file: {error}"))?;
        if block.tag() != "CERTIFICATE" {
            return Err(format!("it holds a {:?} and no certificate", block.tag()));
        }
        let der = block.into_contents();
        let certificate = CertificateInner::<Raw>::from_der(&der)
            .map_err(|error| format!("it holds no X.509 certificate: {error}"))?;
        let key = certificate
            .tbs_certificate()
            .subject_public_key_info()
            .to_der()
            .map_err(|error| format!("it holds no public key: {error}"))?;
        let key = RsaPublicKey::from_public_key_der(&key)
            .map_err(|error| format!("it holds no RSA key: {error}"))?;
        Ok(Self { pem: pem.to_vec(), der, key })
    }

    /// The file as it was read or made, which is also the content of the repository's object.
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// What a whitelist names it by.
    pub fn fingerprint(&self, algorithm: Algorithm) -> Fingerprint {
        Fingerprint(algorithm.hash(&self.der))
    }

    /// Whether its key signed the text of a manifest's hash.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        verify_manifest(&self.key, message, signature)
    }

    /// Whether it holds the public half of `key`.
    pub fn belongs_to(&self, key: &SigningKey) -> bool {
        self.key == key.public()
    }
}

/// The hash of a certificate's DER form. As text: pairs of upper-case hex digits with colons between, and unless
/// it is SHA-1 the algorithm (`-RMD160`, `-SHAKE128`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(ContentHash);

impl Fingerprint {
    /// Which algorithm it was made with.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// Reads a line of a whitelist: case and colons do not matter, and a blank, tab or `#` begins a comment.
    /// `None` if it is no fingerprint; clients skip such lines.
    pub(crate) fn from_line(line: &[u8]) -> Option<Self> {
        let end = line.iter().position(|byte| b" \t#".contains(byte)).unwrap_or(line.len());
        let text = std::str::from_utf8(&line[..end]).ok()?;
        text.replace(':', "").to_ascii_lowercase().parse().ok().map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string().to_uppercase();
        let (digits, algorithm) = text.split_at(2 * LENGTH);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && index % 2 == 0 {
                f.write_str(":")?;
            }
            write!(f, "{digit}")?;
        }
        f.write_str(algorithm)
    }
}
