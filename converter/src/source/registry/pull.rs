//! An image out of a registry (OCI distribution-spec, "Pull").

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use layer_layout::{Digest, Platform, RegistryReference};
use tokio::sync::Semaphore;

use super::client::{PULL, RegistryClient, Request};
use super::document::{content_digest, fetch_once};
use super::download;
use crate::source::blob::{BlobReader, Expected, OnBytes};
use crate::source::error::{DocumentError, Error, Part, ReferenceError, Result};
use crate::source::image::{Descriptor, Document, Image, KnownManifest, LayerDescriptor};
use crate::source::manifest::{self, CONFIG_LIMIT, MANIFEST_LIMIT, Parsed};
use crate::source::media_type;
use crate::source::options::Options;

/// A repository of a registry, with the reference and the platform of the wanted image.
#[derive(Debug)]
pub(in crate::source) struct Registry {
    reference: RegistryReference,
    image: Arc<str>,
    platform: Platform,
    client: Arc<RegistryClient>,
    downloads: Arc<Semaphore>,
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
        let permits = match options.max_concurrent_downloads {
            0 => Semaphore::MAX_PERMITS,
            limit => limit.min(Semaphore::MAX_PERMITS),
        };
        Ok(Self {
            reference: reference.clone(),
            image: reference.to_string().into(),
            platform: options.platform.clone(),
            client: Arc::new(RegistryClient::open(reference, PULL, options)?),
            downloads: Arc::new(Semaphore::new(permits)),
        })
    }

    pub(in crate::source) async fn resolve(&self, known: Option<&KnownManifest>) -> Result<Image> {
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
                    let reason = Box::new(DocumentError::NestedIndex);
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

    pub(in crate::source) async fn config(&self, config: &Descriptor) -> Result<Bytes> {
        let target = format!("blobs/{}", config.digest);
        let request = Request::new(Method::GET, &target);
        let (_, bytes) = self.fetch(Part::Config, &request, CONFIG_LIMIT).await?;
        self.expected(Part::Config, *config.digest.digest(), config.size).check(&bytes)?;
        Ok(bytes)
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
        Ok(download::start(Arc::clone(&self.client), expected, on_bytes, permit))
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
        let fetched = self.client.repeat(|| fetch_once(&self.client, request, limit)).await;
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
