//! An image out of a registry (OCI distribution-spec, "Pull").

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use layer_layout::{ConfigDigest, Digest, Platform, RegistryReference};
use tokio::sync::Semaphore;

use super::client::{RegistryClient, Request};
use super::document::{Answer, content_digest, fetch_once};
use super::download;
use super::endpoints::Endpoints;
use crate::source::blob::{BlobReader, Expected, OnBytes};
use crate::source::error::{DocumentError, Error, Part, ReferenceError, Result};
use crate::source::failure::Failure;
use crate::source::image::{Descriptor, Document, Image, KnownManifest, LayerDescriptor};
use crate::source::manifest::{self, CONFIG_LIMIT, IndexEntry, MANIFEST_LIMIT, Manifest, Parsed};
use crate::source::media_type;
use crate::source::options::Options;
use crate::source::policy::Policy;

/// How registries answer a kind of request that they do not know: HEAD for manifests, or the referrers API.
const UNKNOWN: [StatusCode; 4] = [
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_IMPLEMENTED,
];

/// A repository of a registry, with the reference and the platform of the wanted image.
#[derive(Debug)]
pub(in crate::source) struct Registry {
    reference: RegistryReference,
    pub(super) image: Arc<str>,
    pub(super) platform: Platform,
    endpoints: Endpoints,
    downloads: Arc<Semaphore>,
    policy: Option<Policy>,
    /// Configurations that had to be read to find out what an image is for.
    configs: Mutex<HashMap<ConfigDigest, Bytes>>,
}

impl Registry {
    pub(in crate::source) fn open(
        reference: &RegistryReference,
        options: &Options,
    ) -> Result<Self> {
        if reference.is_wildcard() {
            return Err(Error::Reference {
                image: reference.to_string(),
                reason: ReferenceError::Wildcard,
            });
        }
        Ok(Self {
            reference: reference.clone(),
            image: reference.to_string().into(),
            platform: options.platform.clone(),
            endpoints: Endpoints::open(reference, options)?,
            downloads: options.registries.download_slots(options.max_concurrent_downloads),
            policy: options.policy.clone(),
            configs: Mutex::default(),
        })
    }

    pub(in crate::source) async fn resolve(&self, known: Option<&KnownManifest>) -> Result<Image> {
        let (first, parsed) = self.first().await?;
        let image = match parsed {
            Parsed::Manifest(manifest) => self.of_manifest(None, None, first, manifest),
            Parsed::Index(entries) => {
                let entry = manifest::choose(&self.image, &entries, &self.platform)?;
                let (document, manifest) =
                    self.of_entry(entry, known.map_or(&[], std::slice::from_ref)).await?;
                self.of_manifest(Some(first), entry.platform.clone(), document, manifest)
            }
        };
        self.check_policy(std::slice::from_ref(&image)).await?;
        Ok(image)
    }

    /// What the tag leads to now, an index or a manifest.
    pub(in crate::source) async fn current_digest(&self) -> Result<Digest> {
        if let Some(digest) = self.reference.digest() {
            return Ok(*digest);
        }
        let target = format!("manifests/{}", self.reference.fetch_reference());
        let request = manifest_request(Method::HEAD, &target);
        let mut at = self.endpoints.first();
        loop {
            let client = self.endpoints.client(at);
            let answer = match client.repeat(|| client.send(&request)).await {
                Ok(response) => Ok(content_digest(response.headers())),
                Err(failure) if is_unknown(&failure) => Ok(None),
                Err(failure) => Err(self.fetch_error(Part::Manifest, failure)),
            };
            let answer = match answer {
                Ok(Some(digest)) => Ok(digest),
                // No digest, or not one of ours.
                Ok(None) => {
                    let reference = self.reference.fetch_reference();
                    self.document_from(client, &reference, None).await.map(|it| it.digest)
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok(digest) => return Ok(digest),
                Err(error) => at = self.endpoints.after(at, error)?,
            }
        }
    }

    pub(in crate::source) async fn config(&self, config: &Descriptor) -> Result<Bytes> {
        if let Some(known) = self.kept_configs().remove(&config.digest) {
            return Ok(known);
        }
        let part = Part::Config;
        self.blob(part, *config.digest.digest(), config.size, CONFIG_LIMIT).await
    }

    pub(in crate::source) async fn layer(
        &self,
        layer: &LayerDescriptor,
        on_bytes: OnBytes,
    ) -> Result<BlobReader> {
        let expected = self.expected(Part::Layer(layer.digest), *layer.digest.digest(), layer.size);
        let Ok(permit) = Arc::clone(&self.downloads).acquire_owned().await else {
            // Cannot happen: nobody closes the semaphore.
            let image = self.image.to_string();
            return Err(Error::Interrupted { image, part: expected.part });
        };
        let is_plain = media_type::is_plain(&layer.media_type);
        Ok(download::start(self.endpoints.clone(), expected, is_plain, on_bytes, permit))
    }

    /// What the reference leads to.
    pub(super) async fn first(&self) -> Result<(Document, Parsed)> {
        let digest = self.reference.digest().copied();
        let first = self.document(&self.reference.fetch_reference(), digest).await?;
        let parsed = manifest::parse(&self.image, &first)?;
        Ok((first, parsed))
    }

    /// The manifest that an index's entry leads to.
    pub(super) async fn of_entry(
        &self,
        entry: &IndexEntry,
        known: &[KnownManifest],
    ) -> Result<(Document, Manifest)> {
        let document = match known.iter().find(|known| known.digest == entry.digest) {
            Some(known) => {
                let bytes = known.bytes.clone();
                manifest::document(&self.image, Some(&entry.media_type), bytes)?
            }
            None => self.document(&entry.digest.to_string(), Some(entry.digest)).await?,
        };
        self.expected(Part::Manifest, entry.digest, entry.size).check(&document.bytes)?;
        match manifest::parse(&self.image, &document)? {
            Parsed::Manifest(manifest) => Ok((document, manifest)),
            Parsed::Index(_) => {
                let (image, reason) = (self.image.to_string(), DocumentError::NestedIndex.into());
                Err(Error::Document { image, part: Part::Manifest, reason })
            }
        }
    }

    pub(super) fn of_manifest(
        &self,
        index: Option<Document>,
        platform: Option<Platform>,
        document: Document,
        manifest: Manifest,
    ) -> Image {
        Image {
            reference: self.image.to_string(),
            index,
            platform,
            manifest: document,
            config: manifest.config,
            layers: manifest.layers,
            name: self.reference.public_name(),
        }
    }

    /// Fails if an image lacks a signature that is needed.
    pub(super) async fn check_policy(&self, images: &[Image]) -> Result<()> {
        match &self.policy {
            Some(policy) => self.check_signatures(policy, images).await,
            None => Ok(()),
        }
    }

    /// Keeps a configuration until [`Self::config`] is asked for it.
    pub(super) fn keep_config(&self, digest: ConfigDigest, bytes: Bytes) {
        self.kept_configs().insert(digest, bytes);
    }

    fn kept_configs(&self) -> std::sync::MutexGuard<'_, HashMap<ConfigDigest, Bytes>> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An index or manifest by tag or digest.
    async fn document(&self, reference: &str, expected: Option<Digest>) -> Result<Document> {
        let mut at = self.endpoints.first();
        loop {
            match self.document_from(self.endpoints.client(at), reference, expected).await {
                Ok(document) => return Ok(document),
                Err(error) => at = self.endpoints.after(at, error)?,
            }
        }
    }

    async fn document_from(
        &self,
        client: &RegistryClient,
        reference: &str,
        expected: Option<Digest>,
    ) -> Result<Document> {
        let target = format!("manifests/{reference}");
        let request = manifest_request(Method::GET, &target);
        let answer = self.fetch(client, Part::Manifest, &request, MANIFEST_LIMIT).await?;
        let content_type = answer.headers.get(CONTENT_TYPE).cloned();
        let bytes = match expected.or_else(|| content_digest(&answer.headers)) {
            None => answer.text(),
            Some(expected) => {
                let bytes = answer.with_digest(&expected);
                let bytes = bytes.map_err(|cause| self.fetch_error(Part::Manifest, cause))?;
                let (got, size) = (Digest::of(&bytes), bytes.len() as u64);
                if got != expected {
                    return Err(self.expected(Part::Manifest, expected, size).digest_mismatch(got));
                }
                bytes
            }
        };
        let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
        manifest::document(&self.image, content_type, bytes)
    }

    /// Something small below the repository, as it is; `None` if nobody has it. `limit` is in bytes.
    pub(super) async fn optional(
        &self,
        part: Part,
        target: &str,
        limit: u64,
    ) -> Result<Option<Bytes>> {
        let request = manifest_request(Method::GET, target);
        let mut at = self.endpoints.first();
        loop {
            let error = match self.fetch(self.endpoints.client(at), part, &request, limit).await {
                Ok(answer) => return Ok(Some(answer.text())),
                Err(error) => error,
            };
            match self.endpoints.after(at, error) {
                Ok(next) => at = next,
                Err(Error::Fetch { cause, .. }) if is_unknown(&cause) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// A blob as a whole. `limit` is in bytes, whatever its descriptor says.
    pub(super) async fn blob(
        &self,
        part: Part,
        digest: Digest,
        size: u64,
        limit: u64,
    ) -> Result<Bytes> {
        let target = format!("blobs/{digest}");
        let request = Request::new(Method::GET, &target);
        let expected = self.expected(part, digest, size);
        let mut at = self.endpoints.first();
        loop {
            let client = self.endpoints.client(at);
            let fetched = self.fetch(client, part, &request, limit).await;
            let checked = fetched.and_then(|answer| {
                let bytes = answer.with_digest(&digest);
                let bytes = bytes.map_err(|cause| self.fetch_error(part, cause))?;
                expected.check(&bytes).map(|()| bytes)
            });
            match checked {
                Ok(bytes) => return Ok(bytes),
                Err(error) => at = self.endpoints.after(at, error)?,
            }
        }
    }

    /// Something small from one place, as a whole.
    async fn fetch(
        &self,
        client: &RegistryClient,
        part: Part,
        request: &Request<'_>,
        limit: u64,
    ) -> Result<Answer> {
        match client.repeat(|| fetch_once(client, request, limit)).await {
            Ok(Some(fetched)) => Ok(fetched),
            Ok(None) => Err(Error::TooLarge { image: self.image.to_string(), part, limit }),
            Err(cause) => Err(self.fetch_error(part, cause)),
        }
    }

    fn fetch_error(&self, part: Part, cause: Failure) -> Error {
        Error::Fetch { image: self.image.to_string(), part, cause: Box::new(cause) }
    }

    fn expected(&self, part: Part, digest: Digest, size: u64) -> Expected {
        Expected { image: Arc::clone(&self.image), part, digest, size }
    }
}

fn is_unknown(failure: &Failure) -> bool {
    UNKNOWN.iter().any(|&status| failure.is_status(status))
}

fn manifest_request(method: Method, target: &str) -> Request<'_> {
    Request::new(method, target).header(ACCEPT, HeaderValue::from_static(media_type::ACCEPT))
}
