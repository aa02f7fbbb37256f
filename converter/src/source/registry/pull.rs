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
use crate::source::manifest::{
    self, CONFIG_LIMIT, Choice, Index, IndexEntry, MANIFEST_LIMIT, Manifest, Nest, Parsed,
};
use crate::source::media_type;
use crate::source::options::Options;
use crate::source::platforms::of_config;
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
        let known = known.map_or(&[][..], std::slice::from_ref);
        let (first, parsed) = self.first().await?;
        let image = match parsed {
            Parsed::Manifest(manifest) => self.image(None, None, first, manifest).await?,
            Parsed::Index(index) => {
                let index = self.flatten(index, |it| self.platform.accepts(it)).await?;
                match manifest::choose(&index.entries, &self.platform) {
                    Choice::Entry(entry) => self.of_entry(&first, entry, known).await?,
                    Choice::OneOf(entries) => self.one_of(&first, &index, &entries, known).await?,
                }
            }
        };
        self.check_policy(std::slice::from_ref(&image)).await?;
        Ok(image)
    }

    /// The first image of these entries whose configuration names the wanted platform.
    async fn one_of(
        &self,
        first: &Document,
        index: &Index,
        entries: &[&IndexEntry],
        known: &[KnownManifest],
    ) -> Result<Image> {
        let mut available = index.platforms();
        let mut obstacle = None;
        for entry in entries {
            let mut image = match self.of_entry(first, entry, known).await {
                // It may be anything.
                Err(error @ (Error::Document { .. } | Error::LayerType { .. })) => {
                    obstacle.get_or_insert(error);
                    continue;
                }
                other => other?,
            };
            let config = self.config(&image.config).await?;
            image.platform = match of_config(&self.image, &config) {
                Ok(platform) if self.platform.accepts(&platform) => Some(platform),
                Ok(platform) => {
                    available.push(platform);
                    continue;
                }
                // There is no other that could be meant.
                Err(_) if index.entries.len() == 1 => None,
                Err(error) => {
                    obstacle.get_or_insert(error);
                    continue;
                }
            };
            self.keep_config(image.config.digest, config);
            return Ok(image);
        }
        let unusable = index.obstacles(|it| self.platform.accepts(it)).next();
        let unusable = unusable.map(|reason| Error::unfit(&self.image, Part::Index, reason));
        Err(unusable.or(obstacle.filter(|_| available.is_empty())).unwrap_or_else(|| {
            let (image, wanted) = (self.image.to_string(), self.platform.clone().into());
            Error::Platform { image, wanted, available }
        }))
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
        let parsed = self.parse(&first)?;
        Ok((first, parsed))
    }

    fn parse(&self, document: &Document) -> Result<Parsed> {
        let part = match media_type::DocumentKind::of(&document.media_type) {
            Some(media_type::DocumentKind::Index) => Part::Index,
            _ => Part::Manifest,
        };
        manifest::parse(document).map_err(|unfit| Error::unfit(&self.image, part, unfit))
    }

    /// An index with what its nested indexes list, as far as it `matters`.
    pub(super) async fn flatten(
        &self,
        index: Index,
        matters: impl Fn(&Platform) -> bool,
    ) -> Result<Index> {
        let mut nest = Nest::new(index);
        let too_deep = |reason| Error::unfit(&self.image, Part::Index, reason);
        while let Some(entry) = nest.next(&matters).map_err(too_deep)? {
            let document = self.document(&entry.digest.to_string(), Some(entry.digest)).await?;
            self.expected(Part::Index, entry.digest, entry.size).check(&document.bytes)?;
            nest.put(self.parse(&document)?, &document.media_type);
        }
        Ok(nest.finish())
    }

    /// The image that an entry of an index leads to; `first` is what the reference leads to.
    pub(super) async fn of_entry(
        &self,
        first: &Document,
        entry: &IndexEntry,
        known: &[KnownManifest],
    ) -> Result<Image> {
        let document = match known.iter().find(|known| known.digest == entry.digest) {
            Some(known) => {
                let document = manifest::document(Some(&entry.media_type), known.bytes.clone());
                document.map_err(|reason| Error::unfit(&self.image, Part::Manifest, reason))?
            }
            None => self.document(&entry.digest.to_string(), Some(entry.digest)).await?,
        };
        self.expected(Part::Manifest, entry.digest, entry.size).check(&document.bytes)?;
        match self.parse(&document)? {
            Parsed::Manifest(manifest) => {
                self.image(Some(first.clone()), entry.platform.clone(), document, manifest).await
            }
            // The index calls it a manifest.
            Parsed::Index(_) => {
                let (declared, own) = (entry.media_type.clone(), document.media_type);
                let reason = DocumentError::MediaTypes { declared, own };
                Err(Error::unfit(&self.image, Part::Manifest, reason))
            }
        }
    }

    /// An image, if it is one. If its manifest calls it something else, its configuration is asked.
    pub(super) async fn image(
        &self,
        index: Option<Document>,
        platform: Option<Platform>,
        document: Document,
        manifest: Manifest,
    ) -> Result<Image> {
        if let Some(kind) = &manifest.doubt {
            let config = self.config(&manifest.config).await?;
            if !manifest.is_image(&config) {
                let reason = DocumentError::Artifact(kind.clone());
                return Err(Error::unfit(&self.image, Part::Manifest, reason));
            }
            self.keep_config(manifest.config.digest, config);
        }
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
        manifest::document(content_type, bytes)
            .map_err(|reason| Error::unfit(&self.image, Part::Manifest, reason))
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
