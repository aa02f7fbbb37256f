//! Sigstore bundles (`sigstore_bundle.proto`, version 0.3) with a DSSE envelope (`secure-systems-lab/dsse`,
//! "Protocol") around an in-toto statement, whose subjects are what was signed. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layer_layout::Digest;
use serde::Deserialize;

use super::{Policy, Verdict};

/// The media type of a bundle, which is also the artifact type of the manifest that holds it.
pub(in crate::source) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The type of an envelope's payload.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// What a statement claims if it is a signature, and not, for instance, a list of vulnerabilities.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

/// A bundle, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Bundle {
    /// What was signed: the payload with its type.
    message: Vec<u8>,
    payload: Vec<u8>,
    signatures: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: SubjectDigest,
}

#[derive(Deserialize)]
struct SubjectDigest {
    sha256: Option<String>,
}

impl Bundle {
    /// Reads a bundle; `None` if it is not one, or not one with a statement.
    pub(in crate::source) fn parse(bytes: &[u8]) -> Option<Self> {
        let File { dsse_envelope: envelope } = serde_json::from_slice(bytes).ok()?;
        if envelope.payload_type != STATEMENT {
            return None;
        }
        let payload = STANDARD.decode(&envelope.payload).ok()?;
        let (kind, size) = (&envelope.payload_type, payload.len());
        let mut message = format!("DSSEv1 {} {kind} {size} ", kind.len()).into_bytes();
        message.extend_from_slice(&payload);
        let signatures = envelope.signatures.iter();
        let signatures = signatures.filter_map(|signature| STANDARD.decode(&signature.sig).ok());
        Some(Self { message, payload, signatures: signatures.collect() })
    }

    /// What this signature is worth for an image with the digest `wanted`.
    pub(in crate::source) fn judge(&self, policy: &Policy, wanted: &Digest) -> Verdict {
        policy.judge(&self.message, &self.signatures, || digests(&self.payload), wanted)
    }
}

/// What a statement says was signed.
fn digests(payload: &[u8]) -> Vec<String> {
    match serde_json::from_slice::<Statement>(payload) {
        Ok(statement) if statement.predicate_type == SIGNED => {
            let digests = statement.subject.into_iter().filter_map(|subject| subject.digest.sha256);
            digests.map(|hex| format!("sha256:{hex}")).collect()
        }
        _ => Vec::new(),
    }
}
