//! Small answers of a registry, read as a whole: indexes, manifests, configurations.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use layer_layout::Digest;

use super::client::{RegistryClient, Request};
use crate::source::failure::Failure;

/// The header in which a registry gives the digest of a manifest.
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// An answer as a whole; `None` if it is longer than `limit` bytes.
pub(super) async fn fetch_once(
    client: &RegistryClient,
    request: &Request<'_>,
    limit: u64,
) -> Result<Option<(HeaderMap, Bytes)>, Failure> {
    let mut response = client.send(request).await?;
    if response.status() != StatusCode::OK {
        let reason = format!("unexpected answer {}", response.status());
        return Err(Failure::protocol(response.url(), reason));
    }
    if response.content_length().is_some_and(|length| length > limit) {
        return Ok(None);
    }
    let headers = response.headers().clone();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = client.chunk(&mut response).await? {
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some((headers, bytes.freeze())))
}

/// A manifest's digest according to the registry; `None` if it is not a SHA-256.
pub(super) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DOCKER_CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}
