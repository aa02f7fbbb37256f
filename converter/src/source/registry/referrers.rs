//! How a thin image is found from the full one (OCI distribution-spec, "Pushing Manifests with Subject").
//!
//! A registry with the referrers API says so by `OCI-Subject` in its answer and keeps the list itself. For any
//! other the list is an index under the tag `sha256-<hex>` of the subject ("Referrers Tag Schema"), which every
//! client that adds to it reads, extends and writes again. Two that do so at the same time may lose one entry;
//! conditional requests prevent that where the registry honours them, and reading again mends it elsewhere.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
};
use http::{Method, StatusCode};
use layer_layout::Digest;
use layer_layout::thin::ThinImage;
use serde_json::{Map, Value, json};

use super::client::{RegistryClient, Request};
use super::document::fetch_once;
use crate::source::failure::Failure;
use crate::source::manifest::MANIFEST_LIMIT;
use crate::source::media_type::OCI_INDEX;

/// The header by which a registry says that it lists referrers itself.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// How often the list is written before we give up on those who overwrite it.
const ROUNDS: u64 = 10;

/// A manifest that refers to another one, and how a list of referrers describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Referrer {
    subject: Digest,
    digest: Digest,
    descriptor: Value,
}

/// The tag of the list of what refers to `subject`.
pub(super) fn tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// Whether the registry that gave this answer lists referrers itself.
pub(super) fn are_listed_by_registry(headers: &HeaderMap) -> bool {
    headers.contains_key(OCI_SUBJECT)
}

impl Referrer {
    /// The referrer that an image is; `None` if its manifest has no subject.
    pub(super) fn of(image: &ThinImage) -> Option<Self> {
        let manifest: Value = serde_json::from_slice(&image.manifest.bytes).ok()?;
        let subject = manifest.pointer("/subject/digest")?.as_str()?.parse().ok()?;
        let kind = manifest.get("artifactType").or_else(|| manifest.pointer("/config/mediaType"));
        let digest = image.manifest.digest;
        let mut descriptor = json!({
            "mediaType": image.media_type,
            "digest": digest,
            "size": image.manifest.bytes.len(),
        });
        for (member, value) in
            [("artifactType", kind), ("annotations", manifest.get("annotations"))]
        {
            if let Some(value) = value {
                descriptor[member] = value.clone();
            }
        }
        Some(Self { subject, digest, descriptor })
    }

    /// Adds this to the list under its subject's tag, unless it is there.
    pub(super) async fn list(&self, client: &RegistryClient) -> Result<(), Failure> {
        let target = format!("manifests/{}", tag(&self.subject));
        let url = client.url(&target)?;
        let mut round = 0;
        loop {
            let (mut index, etag) = read(client, &target).await?;
            let entries = entries(&mut index).ok_or_else(|| {
                Failure::protocol(&url, "the tag for referrers does not lead to an index of them")
            })?;
            let digest = self.digest.to_string();
            if entries.iter().any(|entry| entry.get("digest").is_some_and(|it| *it == digest)) {
                return Ok(());
            }
            if round == ROUNDS {
                let reason = "the list of referrers is overwritten by others again and again";
                return Err(Failure::protocol(&url, reason));
            }
            round += 1;
            entries.push(self.descriptor.clone());
            self.write(client, &target, &index, etag).await?;
            // Whoever read before we wrote writes about now, and only after that is it certain who is in the list.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(10..50) * round)).await;
        }
    }

    /// Writes the list, unless somebody was faster and the registry says so.
    async fn write(
        &self,
        client: &RegistryClient,
        target: &str,
        index: &Value,
        etag: Option<HeaderValue>,
    ) -> Result<(), Failure> {
        let (condition, value) = match etag {
            Some(etag) => (IF_MATCH, etag),
            None => (IF_NONE_MATCH, HeaderValue::from_static("*")),
        };
        let put = Request::new(Method::PUT, target)
            .header(CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX))
            .header(condition, value)
            .body(Bytes::from(index.to_string()));
        match client.send(&put).await {
            Err(failure)
                if !failure.is_status(StatusCode::PRECONDITION_FAILED)
                    && !failure.is_status(StatusCode::CONFLICT) =>
            {
                Err(failure)
            }
            _ => Ok(()),
        }
    }
}

/// The list as it is, empty if there is none; and what names its version, if the registry gives that.
async fn read(
    client: &RegistryClient,
    target: &str,
) -> Result<(Value, Option<HeaderValue>), Failure> {
    let get = Request::new(Method::GET, target).header(ACCEPT, HeaderValue::from_static(OCI_INDEX));
    let answer = match fetch_once(client, &get, MANIFEST_LIMIT).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let reason = "the list of referrers is longer than a manifest may be";
            return Err(Failure::protocol(&client.url(target)?, reason));
        }
        Err(failure) if failure.is_status(StatusCode::NOT_FOUND) => {
            let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
            return Ok((index, None));
        }
        Err(failure) => return Err(failure),
    };
    let etag = answer.headers.get(ETAG).cloned();
    Ok((serde_json::from_slice(&answer.text()).unwrap_or_default(), etag))
}

/// The entries of an index; `None` if it is something else.
fn entries(index: &mut Value) -> Option<&mut Vec<Value>> {
    let index: &mut Map<String, Value> = index.as_object_mut()?;
    let is_index = index.get("mediaType").is_none_or(|media_type| media_type == OCI_INDEX);
    let entries = index.get_mut("manifests").filter(|_| is_index)?;
    if entries.is_null() {
        *entries = json!([]);
    }
    entries.as_array_mut()
}
