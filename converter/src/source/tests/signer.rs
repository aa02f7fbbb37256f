//! Somebody who signs images as cosign does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layer_layout::Digest;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SigningKey as _};
use serde_json::{Value, json};

use super::fixture::descriptor;
use crate::source::{Policy, media_type};

/// A key pair.
pub(in crate::source) struct Signer(KeyPair);

/// A manifest, and the blob that it leads to.
#[derive(Debug, Clone)]
pub(in crate::source) struct Signature {
    pub(in crate::source) manifest: Vec<u8>,
    pub(in crate::source) blob: Vec<u8>,
}

impl Signer {
    /// cosign's own kind of key.
    pub(in crate::source) fn ecdsa() -> Self {
        Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    pub(in crate::source) fn ed25519() -> Self {
        Self(KeyPair::generate_for(&PKCS_ED25519).unwrap())
    }

    pub(in crate::source) fn public_pem(&self) -> String {
        self.0.public_key_pem()
    }

    pub(in crate::source) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).unwrap()
    }

    /// The payload for an image.
    pub(in crate::source) fn payload(digest: &Digest) -> Vec<u8> {
        json!({
            "critical": {
                "identity": {"docker-reference": "registry.example/a/b"},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string()
        .into_bytes()
    }

    /// A signature in the form of a layer.
    pub(in crate::source) fn layer(&self, payload: &[u8]) -> Value {
        let mut layer = descriptor("application/vnd.dev.cosign.simplesigning.v1+json", payload);
        let signature = STANDARD.encode(self.sign(payload));
        layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
        layer
    }

    /// What `cosign sign --key` puts under `sha256-<hex>.sig`.
    pub(in crate::source) fn simple(&self, digest: &Digest) -> Signature {
        let blob = Self::payload(digest);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, b"{}"),
            "layers": [self.layer(&blob)],
        });
        Signature { manifest: manifest.to_string().into_bytes(), blob }
    }

    /// What cosign 3 puts among the referrers.
    pub(in crate::source) fn bundle(&self, digest: &Digest) -> Signature {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": digest.hex()}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        });
        self.bundle_of(&statement.to_string())
    }

    pub(in crate::source) fn bundle_of(&self, statement: &str) -> Signature {
        const KIND: &str = "application/vnd.in-toto+json";
        const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let size = statement.len();
        let signature = self.sign(format!("DSSEv1 28 {KIND} {size} {statement}").as_bytes());
        let blob = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": STANDARD.encode(statement),
                "payloadType": KIND,
                "signatures": [{"sig": STANDARD.encode(signature), "keyid": ""}],
            },
        });
        let blob = blob.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": BUNDLE,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [descriptor(BUNDLE, &blob)],
        });
        Signature { manifest: manifest.to_string().into_bytes(), blob }
    }
}

/// A policy with the keys of these.
pub(in crate::source) fn policy(signers: &[&Signer]) -> Policy {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cosign.pub");
    let pem: String = signers.iter().map(|signer| signer.public_pem()).collect();
    std::fs::write(&file, pem).unwrap();
    Policy::from_files([file]).unwrap()
}
