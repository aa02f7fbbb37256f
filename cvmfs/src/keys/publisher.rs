//! Who publishes: a key, and the certificate that the whitelist names.

use std::time::{Duration, SystemTime};

use super::certificate::Certificate;
use super::rsa_key::{SigningKey, cannot_generate, generate_pair};
use crate::Result;
use crate::fqrn::Fqrn;

/// How long a new certificate says that it is valid.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many bytes of a repository's name a certificate's subject holds; X.509 allows 64 for all of it.
const NAME_IN_SUBJECT: usize = 30;

/// What signs manifests.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// The private key.
    pub key: SigningKey,
    /// The certificate with the public half of it.
    pub certificate: Certificate,
}

impl Publisher {
    /// Makes a new key and its certificate.
    pub(super) fn generate(fqrn: &Fqrn) -> Result<Self> {
        let pair = generate_pair()?;
        let now = SystemTime::now();
        let mut form = rcgen::CertificateParams::default();
        form.not_before = now.into();
        form.not_after = (now + VALIDITY).into();
        form.distinguished_name = rcgen::DistinguishedName::new();
        form.distinguished_name.push(rcgen::DnType::CommonName, subject(fqrn));
        let certificate = form.self_signed(&pair).map_err(cannot_generate)?;
        Ok(Self {
            key: SigningKey::from_pem(pair.serialize_pem().as_bytes()).map_err(cannot_generate)?,
            certificate: Certificate::from_pem(certificate.pem().as_bytes())
                .map_err(cannot_generate)?,
        })
    }
}

fn subject(fqrn: &Fqrn) -> String {
    let name = match fqrn.as_str().get(..NAME_IN_SUBJECT) {
        Some(start) if fqrn.as_str().len() > NAME_IN_SUBJECT => format!("{start}[...]"),
        _ => fqrn.to_string(),
    };
    format!("{name} CernVM-FS Release Managers")
}
