//! Cosign's signatures as layers (its `specs/SIGNATURE_SPEC.md`): each is a JSON payload, "simple signing" of
//! `containers/image`, as a blob, and the signature over it in an annotation. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layer_layout::Digest;
use oci_spec::image::ImageManifest;
use serde::Deserialize;

use super::{Policy, Verdict};

/// The media type of a payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The artifact type of such signatures among the referrers.
pub(in crate::source) const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// The annotation with the signature, in Base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// What a payload about an image calls itself.
const KIND: &str = "cosign container image signature";

/// A signature, and where its payload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct SignatureLayer {
    /// The payload.
    pub(in crate::source) digest: Digest,
    /// The payload's size in bytes.
    pub(in crate::source) size: u64,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SignedImage {
    docker_manifest_digest: String,
}

/// The signatures in a manifest. Layers that are something else are ignored; what is not a manifest has none.
pub(in crate::source) fn signature_layers(manifest: &[u8]) -> Vec<SignatureLayer> {
    let Ok(manifest) = serde_json::from_slice::<ImageManifest>(manifest) else {
        return Vec::new();
    };
    let layers = manifest.layers().iter().filter(|layer| layer.media_type().as_ref() == PAYLOAD);
    let layer = |layer: &oci_spec::image::Descriptor| {
        let signature = layer.annotations().as_ref()?.get(SIGNATURE)?;
        Some(SignatureLayer {
            digest: layer.digest().to_string().parse().ok()?,
            size: layer.size(),
            signature: STANDARD.decode(signature.trim()).ok()?,
        })
    };
    layers.filter_map(layer).collect()
}

impl SignatureLayer {
    /// What this signature is worth for an image with the digest `wanted`.
    pub(in crate::source) fn judge(
        &self,
        payload: &[u8],
        policy: &Policy,
        wanted: &Digest,
    ) -> Verdict {
        policy.judge(payload, std::slice::from_ref(&self.signature), || digests(payload), wanted)
    }
}

/// What a payload says was signed.
fn digests(payload: &[u8]) -> Vec<String> {
    match serde_json::from_slice::<Payload>(payload) {
        Ok(Payload { critical }) if critical.kind == KIND => {
            vec![critical.image.docker_manifest_digest]
        }
        _ => Vec::new(),
    }
}
