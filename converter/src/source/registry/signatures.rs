//! The signatures of an image, and whether one of them is enough.
//!
//! They are looked for where cosign puts them: under the tag `sha256-<hex>.sig`, and among the image's referrers,
//! by the registry's API or under the tag of the OCI distribution-spec's fallback.

use bytes::Bytes;
use layer_layout::Digest;
use oci_spec::image::{Descriptor, ImageManifest};
use serde::Deserialize as _;
use serde_json::Value;

use super::pull::Registry;
use super::referrers;
use crate::source::error::{Error, Part, Result};
use crate::source::image::Image;
use crate::source::manifest::MANIFEST_LIMIT;
use crate::source::policy::{
    BUNDLE, Bundle, Policy, Refusal, SIMPLE_SIGNING_ARTIFACT, Verdict, signature_layers,
};

/// The largest payload or bundle that is read, in bytes. They have a few kilobytes.
const PAYLOAD_LIMIT: u64 = 1 << 20;

/// How many signatures of one image are looked at. Each costs a request or two, and anybody who may push may
/// add some.
const MOST: usize = 50;

/// The configuration of an artifact that needs none (OCI image-spec, `manifest.md`).
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// What has been found out about the signatures of one digest.
struct Finding {
    digest: Digest,
    /// How many were looked at.
    looked_at: usize,
    /// A digest other than this one that one of the keys has signed.
    other: Option<String>,
}

impl Registry {
    /// Fails if one of the images is signed by none of the policy's keys. The signature may be that of the index
    /// that all images were found in.
    pub(super) async fn check_signatures(&self, policy: &Policy, images: &[Image]) -> Result<()> {
        let index = images.iter().find_map(|image| image.index.as_ref());
        let mut of_index = None;
        if let Some(index) = index {
            match self.signatures_of(policy, index.digest).await? {
                None => return Ok(()),
                Some(finding) => of_index = Some(finding),
            }
        }
        for image in images {
            if let Some(finding) = self.signatures_of(policy, image.manifest.digest).await? {
                // What is wrong with a signature says more than that there is none.
                let finding = of_index.take().filter(|it| it.looked_at > 0).unwrap_or(finding);
                let (image, reason) = (self.image.to_string(), finding.refusal(policy).into());
                return Err(Error::Unsigned { image, reason });
            }
        }
        Ok(())
    }

    /// Looks for a signature by one of the keys; if there is none, gives what there is instead.
    async fn signatures_of(&self, policy: &Policy, digest: Digest) -> Result<Option<Finding>> {
        let mut finding = Finding { digest, looked_at: 0, other: None };
        let tag = format!("manifests/{}.sig", referrers::tag(&digest));
        if let Some(manifest) = self.optional(Part::Referrers, &tag, MANIFEST_LIMIT).await?
            && self.any_layer(policy, &manifest, &mut finding).await?
        {
            return Ok(None);
        }
        for entry in self.referrers_of(&digest).await? {
            let Ok(entry) = entry.digest().to_string().parse::<Digest>() else { continue };
            let target = format!("manifests/{entry}");
            let manifest = self.optional(Part::Referrers, &target, MANIFEST_LIMIT).await?;
            let Some(manifest) = manifest.filter(|bytes| Digest::of(bytes) == entry) else {
                continue;
            };
            if self.any_layer(policy, &manifest, &mut finding).await?
                || self.any_bundle(policy, &manifest, &mut finding).await?
            {
                return Ok(None);
            }
        }
        Ok(Some(finding))
    }

    /// The referrers of a digest that may be signatures.
    async fn referrers_of(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let api = format!("referrers/{digest}");
        let fallback = format!("manifests/{}", referrers::tag(digest));
        let mut index = None;
        for target in [api, fallback] {
            // Registries without the API answer 404, or with something else.
            index = self.optional(Part::Referrers, &target, MANIFEST_LIMIT).await?;
            if index.is_some() {
                break;
            }
        }
        let index = index.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let entries = index.as_ref().and_then(|index| index.get("manifests")?.as_array());
        // One that is odd is no reason to overlook the others.
        let entries =
            entries.into_iter().flatten().filter_map(|it| Descriptor::deserialize(it).ok());
        // Some clients that write the fallback's list give the configuration's type, or none.
        let kinds = [SIMPLE_SIGNING_ARTIFACT, BUNDLE, EMPTY];
        let is_signature = |entry: &Descriptor| {
            let kind = entry.artifact_type().as_ref();
            kind.is_none_or(|kind| kinds.contains(&kind.as_ref()))
        };
        Ok(entries.filter(is_signature).take(MOST).collect())
    }

    async fn any_layer(
        &self,
        policy: &Policy,
        manifest: &Bytes,
        finding: &mut Finding,
    ) -> Result<bool> {
        for layer in signature_layers(manifest) {
            if finding.looked_at >= MOST {
                return Ok(false);
            }
            let part = Part::Blob(layer.digest);
            let payload = self.blob(part, layer.digest, layer.size, PAYLOAD_LIMIT).await?;
            if finding.add(layer.judge(&payload, policy, &finding.digest)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn any_bundle(
        &self,
        policy: &Policy,
        manifest: &Bytes,
        finding: &mut Finding,
    ) -> Result<bool> {
        let Ok(manifest) = serde_json::from_slice::<ImageManifest>(manifest) else {
            return Ok(false);
        };
        for layer in manifest.layers() {
            let Ok(digest) = layer.digest().to_string().parse::<Digest>() else { continue };
            if layer.media_type().as_ref() != BUNDLE || finding.looked_at >= MOST {
                continue;
            }
            let bytes = self.blob(Part::Blob(digest), digest, layer.size(), PAYLOAD_LIMIT).await?;
            let Some(bundle) = Bundle::parse(&bytes) else { continue };
            if finding.add(bundle.judge(policy, &finding.digest)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Finding {
    /// Whether a verdict ends the search.
    fn add(&mut self, verdict: Verdict) -> bool {
        self.looked_at += 1;
        match verdict {
            Verdict::Accepted => return true,
            Verdict::Untrusted => {}
            Verdict::OtherDigest(other) => self.other = Some(other),
        }
        false
    }

    fn refusal(self, policy: &Policy) -> Refusal {
        let Self { digest, looked_at, other } = self;
        match (other, looked_at) {
            (Some(signed), _) => Refusal::OtherDigest { digest, signed },
            (None, 0) => Refusal::NoSignature { digest },
            (None, signatures) => Refusal::WrongKey { digest, signatures, keys: policy.names() },
        }
    }
}
