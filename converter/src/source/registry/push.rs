//! A thin image into a registry (OCI distribution-spec, "Push").
//!
//! All of it is a few kilobytes, so each blob is sent in one piece (`POST`, then `PUT`), and after a failure
//! it is sent again from the start. What the registry already has is not sent. In the end the manifest is
//! read back: what counts is what the registry serves.
//!
//! An image that refers to another one is first pushed by its digest, and listed among the referrers of the
//! other. The tag comes last: where it is, nothing is missing, even if we were interrupted.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use layer_layout::thin::{Blob, ThinImage};
use layer_layout::{Digest, RegistryReference};
use url::Url;

use super::client::{PUSH, RegistryClient, Request};
use super::document::{content_digest, fetch_once};
use super::endpoint;
use super::referrers::{self, Referrer};
use crate::source::error::{Error, Part, ReferenceError, Result};
use crate::source::failure::Failure;
use crate::source::manifest::MANIFEST_LIMIT;
use crate::source::media_type;
use crate::source::options::Options;

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's digest, by which the image can be pulled from now on.
    pub digest: Digest,
    /// Whether anything had to be sent; `false` if the registry already had the image under this tag.
    pub pushed: bool,
    /// Blobs that were sent; the registry already had the others.
    pub blobs: usize,
    /// Bytes that were sent, the manifest's included.
    pub bytes: u64,
}

/// Pushes a thin image. Of `options`, the credentials, attempts and time limits count.
///
/// # Errors
/// If the registry does not accept it, or `reference` does not name a single image or names a digest other
/// than this image's.
pub async fn push_thin(
    reference: &RegistryReference,
    image: &ThinImage,
    options: &Options,
) -> Result<Pushed> {
    let wrong =
        |reason: ReferenceError| Err(Error::Reference { image: reference.to_string(), reason });
    if reference.is_wildcard() {
        return wrong(ReferenceError::PushToWildcard);
    }
    let digest = image.manifest.digest;
    if let Some(named) = reference.digest().filter(|named| **named != digest) {
        return wrong(ReferenceError::PushToDigest { own: digest, named: *named });
    }
    let endpoint = endpoint::for_push(reference, options)?;
    let client = RegistryClient::open(&reference.to_string(), &endpoint, PUSH, options)?;
    let failed = |part: Part| {
        move |cause: Failure| Error::Push {
            image: reference.to_string(),
            part,
            cause: Box::new(cause),
        }
    };
    // By its tag if there is one; the digest follows from the content anyway.
    let target = match reference.tag() {
        Some(tag) => format!("manifests/{tag}"),
        None => format!("manifests/{digest}"),
    };
    let mut pushed = Pushed { digest, pushed: false, blobs: 0, bytes: 0 };
    let there = client.repeat(|| current(&client, &target)).await;
    if there.map_err(failed(Part::Manifest))? == Some(digest) {
        return Ok(pushed);
    }
    for blob in &image.blobs {
        let sent = client.repeat(|| push_blob(&client, blob)).await;
        if sent.map_err(failed(Part::Blob(blob.digest)))? {
            pushed.blobs += 1;
            pushed.bytes += blob.bytes.len() as u64;
        }
    }
    if let Some(referrer) = Referrer::of(image) {
        let by_digest = format!("manifests/{digest}");
        let put = client.repeat(|| put_manifest(&client, &by_digest, image)).await;
        if !referrers::are_listed_by_registry(&put.map_err(failed(Part::Manifest))?) {
            let listed = client.repeat(|| referrer.list(&client)).await;
            listed.map_err(failed(Part::Referrers))?;
        }
    }
    let put = client.repeat(|| push_manifest(&client, &target, image)).await;
    put.map_err(failed(Part::Manifest))?;
    pushed.pushed = true;
    pushed.bytes += image.manifest.bytes.len() as u64;
    Ok(pushed)
}

/// The digest of the manifest that the registry has now.
async fn current(client: &RegistryClient, target: &str) -> Result<Option<Digest>, Failure> {
    let request = Request::new(Method::HEAD, target).header(ACCEPT, accept());
    match client.send(&request).await {
        Ok(response) => Ok(content_digest(response.headers())),
        Err(failure) if tells_nothing(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Whether the failure of a question leaves open what the registry has: some do not know HEAD, some answer it with an
/// error of their own, and object stores deny what they do not have. If sending is no use either, that will tell.
fn tells_nothing(failure: &Failure) -> bool {
    let waits = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    match failure {
        Failure::Status { status, .. } => !waits.contains(status),
        Failure::Denied { .. } => true,
        _ => false,
    }
}

/// Sends a blob if the registry does not have it; returns whether it was sent.
async fn push_blob(client: &RegistryClient, blob: &Blob) -> Result<bool, Failure> {
    let target = format!("blobs/{}", blob.digest);
    match client.send(&Request::new(Method::HEAD, &target)).await {
        Ok(_) => return Ok(false),
        Err(failure) if tells_nothing(&failure) => {}
        Err(failure) => return Err(failure),
    }
    let begin = Request::new(Method::POST, "blobs/uploads/").body(Bytes::new());
    let response = client.send(&begin).await?;
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let bad = |reason: &str| Failure::protocol(response.url(), reason);
    let location = location.ok_or_else(|| bad("the registry gave no Location for the upload"))?;
    // It may be relative to where the answer came from, and may have a query of its own, which has to stay.
    let mut location = response
        .url()
        .join(location)
        .map_err(|_| bad("the Location for the upload is not a URL"))?;
    location.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
    let upload = Request::new(Method::PUT, location.as_str())
        .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
        .body(Bytes::copy_from_slice(&blob.bytes));
    client.send(&upload).await?;
    Ok(true)
}

/// Sends the manifest; returns the headers of the answer.
async fn put_manifest(
    client: &RegistryClient,
    target: &str,
    image: &ThinImage,
) -> Result<HeaderMap, Failure> {
    let put = Request::new(Method::PUT, target)
        .header(CONTENT_TYPE, HeaderValue::from_static(image.media_type))
        .body(Bytes::copy_from_slice(&image.manifest.bytes));
    let response = client.send(&put).await?;
    let expected = image.manifest.digest;
    match content_digest(response.headers()).filter(|got| *got != expected) {
        Some(got) => Err(lies(response.url(), got, expected)),
        None => Ok(response.headers().clone()),
    }
}

fn lies(url: &Url, got: Digest, expected: Digest) -> Failure {
    Failure::protocol(url, format!("the registry stored manifest {got} instead of {expected}"))
}

/// Sends the manifest, and checks that the registry serves the same.
async fn push_manifest(
    client: &RegistryClient,
    target: &str,
    image: &ThinImage,
) -> Result<(), Failure> {
    let expected = image.manifest.digest;
    put_manifest(client, target, image).await?;
    let get = Request::new(Method::GET, target).header(ACCEPT, accept());
    let got = match fetch_once(client, &get, MANIFEST_LIMIT).await? {
        Some(answer) => Digest::of(&answer.with_digest(&expected)?),
        None => Digest::of(b""),
    };
    if got == expected { Ok(()) } else { Err(lies(&client.url(target)?, got, expected)) }
}

fn accept() -> HeaderValue {
    HeaderValue::from_static(media_type::ACCEPT)
}
