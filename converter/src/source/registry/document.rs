//! Small answers of a registry, read as a whole: indexes, manifests, configurations.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use layer_layout::Digest;
use url::Url;

use super::client::{RegistryClient, Request};
use crate::source::coding::Coding;
use crate::source::failure::Failure;

/// The header in which a registry gives the digest of a manifest.
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A small answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    url: Url,
    sent: Bytes,
    coding: Coding,
    limit: u64,
}

impl Answer {
    /// The content, which should have this digest. It need not: that is for the caller to check.
    ///
    /// # Errors
    /// If it has not, and is coded in an unknown way, which explains it.
    pub(super) fn with_digest(self, digest: &Digest) -> Result<Bytes, Failure> {
        let content = self.coding.with_digest(self.sent, digest, self.limit);
        match self.coding {
            Coding::Other(coding) if Digest::of(&content) != *digest => {
                Err(unknown_coding(&self.url, &coding))
            }
            _ => Ok(content),
        }
    }

    /// The content if its digest is not known. It is text.
    pub(super) fn text(self) -> Bytes {
        self.coding.text(self.sent, self.limit)
    }
}

/// The failure of an answer whose coding nobody asked for, and which cannot be decoded.
pub(super) fn unknown_coding(url: &Url, coding: &str) -> Failure {
    let reason = format!("unrequested content coding {coding:?}, perhaps by a proxy in between");
    Failure::protocol(url, reason)
}

/// An answer as a whole; `None` if it is longer than `limit` bytes.
pub(super) async fn fetch_once(
    client: &RegistryClient,
    request: &Request<'_>,
    limit: u64,
) -> Result<Option<Answer>, Failure> {
    let mut response = client.send(request).await?;
    if response.status() != StatusCode::OK {
        let reason = format!("unexpected answer {}", response.status());
        return Err(Failure::protocol(response.url(), reason));
    }
    if response.content_length().is_some_and(|length| length > limit) {
        return Ok(None);
    }
    let (headers, url) = (response.headers().clone(), response.url().clone());
    let mut sent = BytesMut::new();
    while let Some(chunk) = client.chunk(&mut response).await? {
        if sent.len() as u64 + chunk.len() as u64 > limit {
            return Ok(None);
        }
        sent.extend_from_slice(&chunk);
    }
    let coding = Coding::of(&headers);
    Ok(Some(Answer { headers, url, sent: sent.freeze(), coding, limit }))
}

/// A manifest's digest according to the registry; `None` if it is not a SHA-256.
pub(super) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DOCKER_CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}
