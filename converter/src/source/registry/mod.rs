//! Images in registries (OCI distribution-spec, "Pull").
//!
//! Why not `oci-client`: version 0.18 asks `/v2/` before each image, fetches a token per run and does not
//! renew it when a download outlives it, drops the headers of error answers (`Retry-After`), has no time
//! limit for a peer that stalls, maps `docker.io` by rules that differ from DUCC's, and its streams neither
//! resume nor tell whether the server honoured a `Range`. Its tasks would all have to be done around it.
//! So requests are made with `reqwest` itself; documents are parsed with `oci-spec`, challenges with
//! `http-auth`.
//!
//! | module | what it is for |
//! |---|---|
//! | [`session`] | requests to one repository: authentication, time limits, repetition |
//! | [`auth`], [`challenge`] | Basic and Bearer |
//! | [`http`] | TLS trust, proxies, redirects |
//! | [`retry`] | how often and after which pause something is tried again |
//! | [`download`], [`content_range`] | a blob as a stream that survives broken connections |
//! | [`push`] | the way back |

mod auth;
mod challenge;
mod content_range;
mod download;
mod http;
mod push;
mod retry;
mod session;

use std::sync::Arc;

use ::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};
use layer_layout::{Digest, Platform, RegistryReference};
use tokio::sync::Semaphore;

pub use push::{Pushed, push_thin};

use self::session::{PULL, Request, Session};
use super::blob::{BlobReader, Expected, OnBytes};
use super::error::{Error, Part, Result};
use super::failure::Failure;
use super::image::{Descriptor, Document, Image, KnownManifest, LayerDescriptor};
use super::manifest::{self, CONFIG_LIMIT, MANIFEST_LIMIT, Parsed};
use super::media_type;
use super::options::Options;

/// Header with which a registry tells the digest of a manifest.
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A repository of a registry, and which of its images is wanted.
#[derive(Debug)]
pub(super) struct Registry {
    reference: RegistryReference,
    image: Arc<str>,
    platform: Platform,
    session: Arc<Session>,
    downloads: Arc<Semaphore>,
}

impl Registry {
    pub(super) fn open(reference: &RegistryReference, options: &Options) -> Result<Self> {
        if reference.is_wildcard() {
            return Err(Error::Reference {
                image: reference.to_string(),
                reason: "a wildcard stands for many images; name one".to_owned(),
            });
        }
        let permits = match options.max_concurrent_downloads {
            0 => Semaphore::MAX_PERMITS,
            limit => limit.min(Semaphore::MAX_PERMITS),
        };
        Ok(Self {
            reference: reference.clone(),
            image: reference.to_string().into(),
            platform: options.platform.clone(),
            session: Arc::new(Session::open(reference, PULL, options)?),
            downloads: Arc::new(Semaphore::new(permits)),
        })
    }

    pub(super) async fn resolve(&self, known: Option<&KnownManifest>) -> Result<Image> {
        let digest = self.reference.digest().copied();
        let first = self.document(&self.reference.fetch_reference(), digest).await?;
        let (index, platform, manifest) = match manifest::parse(&self.image, &first)? {
            Parsed::Manifest(manifest) => (None, None, (first, manifest)),
            Parsed::Index(entries) => {
                let entry = manifest::choose(&self.image, &entries, &self.platform)?;
                let document = match known.filter(|known| known.digest == entry.digest) {
                    Some(known) => {
                        let bytes = known.bytes.clone();
                        manifest::document(&self.image, Some(&entry.media_type), bytes)?
                    }
                    None => self.document(&entry.digest.to_string(), Some(entry.digest)).await?,
                };
                self.expected(Part::Manifest, entry.digest, entry.size).check(&document.bytes)?;
                let Parsed::Manifest(manifest) = manifest::parse(&self.image, &document)? else {
                    let reason =
                        "the index leads to another index instead of a manifest".to_owned();
                    let image = self.image.to_string();
                    return Err(Error::Document { image, part: Part::Manifest, reason });
                };
                (Some(first), entry.platform.clone(), (document, manifest))
            }
        };
        let (document, manifest) = manifest;
        Ok(Image {
            reference: self.image.to_string(),
            index,
            platform,
            manifest: document,
            config: manifest.config,
            layers: manifest.layers,
            name: self.reference.public_name(),
        })
    }

    pub(super) async fn config(&self, config: &Descriptor) -> Result<Bytes> {
        let target = format!("blobs/{}", config.digest);
        let request = Request::new(Method::GET, &target);
        let (_, bytes) = self.fetch(Part::Config, &request, CONFIG_LIMIT).await?;
        self.expected(Part::Config, *config.digest.digest(), config.size).check(&bytes)?;
        Ok(bytes)
    }

    pub(super) async fn layer(
        &self,
        layer: &LayerDescriptor,
        on_bytes: OnBytes,
    ) -> Result<BlobReader> {
        let expected = self.expected(Part::Layer(layer.digest), *layer.digest.digest(), layer.size);
        let Ok(permit) = Arc::clone(&self.downloads).acquire_owned().await else {
            // Nobody closes the semaphore.
            let image = self.image.to_string();
            return Err(Error::Interrupted { image, part: expected.part });
        };
        Ok(download::start(Arc::clone(&self.session), expected, on_bytes, permit))
    }

    /// An index or manifest by tag or digest.
    async fn document(&self, reference: &str, expected: Option<Digest>) -> Result<Document> {
        let target = format!("manifests/{reference}");
        let accept = HeaderValue::from_static(media_type::ACCEPT);
        let request = Request::new(Method::GET, &target).header(ACCEPT, accept);
        let (headers, bytes) = self.fetch(Part::Manifest, &request, MANIFEST_LIMIT).await?;
        let got = Digest::of(&bytes);
        let expected = expected.or_else(|| content_digest(&headers)).unwrap_or(got);
        if got != expected {
            let size = bytes.len() as u64;
            return Err(self.expected(Part::Manifest, expected, size).digest_mismatch(got));
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        manifest::document(&self.image, content_type, bytes)
    }

    /// Something small, as a whole.
    async fn fetch(
        &self,
        part: Part,
        request: &Request<'_>,
        limit: u64,
    ) -> Result<(HeaderMap, Bytes)> {
        let image = || self.image.to_string();
        let fetched = self.session.repeat(|| fetch_once(&self.session, request, limit)).await;
        match fetched {
            Ok(Some(fetched)) => Ok(fetched),
            Ok(None) => Err(Error::TooLarge { image: image(), part, limit }),
            Err(cause) => Err(Error::Fetch { image: image(), part, cause: Box::new(cause) }),
        }
    }

    fn expected(&self, part: Part, digest: Digest, size: u64) -> Expected {
        Expected { image: Arc::clone(&self.image), part, digest, size }
    }
}

/// An answer as a whole; `None` if it is longer than `limit` bytes.
async fn fetch_once(
    session: &Session,
    request: &Request<'_>,
    limit: u64,
) -> Result<Option<(HeaderMap, Bytes)>, Failure> {
    let mut response = session.send(request).await?;
    if response.status() != StatusCode::OK {
        let reason = format!("unexpected answer {}", response.status());
        return Err(Failure::protocol(response.url(), reason));
    }
    if response.content_length().is_some_and(|length| length > limit) {
        return Ok(None);
    }
    let headers = response.headers().clone();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = session.chunk(&mut response).await? {
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some((headers, bytes.freeze())))
}

/// What the registry says a manifest's digest is. A digest of an algorithm that is not SHA-256 says nothing.
fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DOCKER_CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}
