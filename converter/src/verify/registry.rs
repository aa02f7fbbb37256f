//! Whether published images are those of their registries.
//!
//! An image whose registry has the same under its name as the repository costs one `HEAD` request: the stored manifest, or
//! the stored index that leads to it, has the digest that the registry names, so it is the registry's byte for byte. Of
//! any other image the documents are read; no layer is.

use std::collections::BTreeMap;
use std::sync::Arc;

use layer_layout::path::ImageMetadata;
use layer_layout::record::PublishedManifest;
use layer_layout::{
    Architecture, ConfigDigest, Digest, ImagePlace, ImageReference, Platform, PublicName,
    RegistryReference,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::fault::Fault;
use crate::image_config::ImageConfig;
use crate::repository::{self, Repository};
use crate::source::{self, Error as SourceError, Failure, Image, KnownManifest, Options, Source};
use crate::{Error, Result};

/// What came of comparing an image with its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// Its manifest is what the registry has under its name.
    Same,
    /// The registry has another image under its name now, and still has the published one, byte for byte.
    Moved {
        /// Digest of the published manifest.
        published: Digest,
        /// Digest of the manifest that the name leads to.
        now: Digest,
    },
    /// It is not as the registry has it.
    Wrong(Fault),
    /// It could not be compared, for this reason.
    NotCompared(String),
}

/// An image that was compared with its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compared {
    /// What came of it.
    pub(super) comparison: Comparison,
    /// Its configuration as the registry has it, read only if the repository lacks it.
    pub(super) config: Option<Vec<u8>>,
}

impl Compared {
    fn not(reason: String) -> Self {
        Self { comparison: Comparison::NotCompared(reason), config: None }
    }

    /// Why the layers that the published manifest names are not those of the registry, if it is not known that they are.
    pub(super) fn why_not(&self) -> Option<&str> {
        match &self.comparison {
            Comparison::NotCompared(reason) => Some(reason),
            Comparison::Same | Comparison::Moved { .. } | Comparison::Wrong(_) => None,
        }
    }
}

/// What a repository has of an image.
pub(super) struct Published {
    place: ImagePlace,
    pub(super) manifest: Vec<u8>,
    pub(super) index: Option<Vec<u8>>,
    config: Option<Vec<u8>>,
}

/// Compares images with their registries, `at_a_time` names at a time.
///
/// # Errors
/// If the repository cannot be read. What a registry does is in the result.
pub(super) async fn compare(
    repository: &Arc<dyn Repository>,
    places: &[ImagePlace],
    options: &Options,
    at_a_time: usize,
) -> Result<BTreeMap<ImagePlace, Compared>> {
    let mut names: BTreeMap<PublicName, Vec<ImagePlace>> = BTreeMap::new();
    for place in places {
        names.entry(place.name.clone()).or_default().push(place.clone());
    }
    let slots = Arc::new(Semaphore::new(at_a_time.max(1)));
    let mut tasks = JoinSet::new();
    for (name, places) in names {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("nobody closes the semaphore");
        let (repository, options) = (Arc::clone(repository), options.clone());
        tasks.spawn(async move {
            let compared = of_name(&repository, &name, places, &options).await;
            drop(slot);
            compared
        });
    }
    let mut compared = BTreeMap::new();
    while let Some(of_name) = tasks.join_next().await {
        compared.extend(of_name.map_err(Error::from)??);
    }
    Ok(compared)
}

async fn of_name(
    repository: &Arc<dyn Repository>,
    name: &PublicName,
    places: Vec<ImagePlace>,
    options: &Options,
) -> Result<Vec<(ImagePlace, Compared)>> {
    let reader = Arc::clone(repository);
    let wanted = places.clone();
    let reading = tokio::task::spawn_blocking(move || {
        wanted.into_iter().map(|place| read(&*reader, place)).collect::<repository::Result<_>>()
    });
    let published: Vec<Option<Published>> = reading.await.map_err(Error::from)??;
    let registry = Name { name, options };
    // With a policy, more than a digest has to be looked at.
    let now = match options.policy {
        None => registry.current_digest().await.map(Some),
        Some(_) => Ok(None),
    };
    let mut compared = Vec::new();
    for (place, published) in places.into_iter().zip(published) {
        let result = match (&published, &now) {
            (None, _) => Compared::not("it has no manifest".to_owned()),
            (Some(_), Err(error)) => Compared::not(reason(error)),
            (Some(published), Ok(now)) => registry.image(published, *now).await,
        };
        compared.push((place, result));
    }
    Ok(compared)
}

/// Reads the documents of an image; `None` if it has no manifest.
pub(super) fn read(
    repository: &dyn Repository,
    place: ImagePlace,
) -> repository::Result<Option<Published>> {
    let read = |file| repository.read(&place.metadata(file));
    let (manifest, index, config) =
        (read(ImageMetadata::Manifest)?, read(ImageMetadata::Index)?, read(ImageMetadata::Config)?);
    Ok(manifest.map(|manifest| Published { place, manifest, index, config }))
}

/// A name in a registry.
struct Name<'a> {
    name: &'a PublicName,
    options: &'a Options,
}

impl Name<'_> {
    fn reference(&self) -> source::Result<RegistryReference, layer_layout::Error> {
        self.name.to_string().parse()
    }

    /// What the name leads to, for a platform.
    async fn open(&self, digest: Option<Digest>, options: &Options) -> Result<Source> {
        let reference = match digest {
            None => self.reference()?,
            Some(digest) => {
                format!("{}/{}@{digest}", self.name.registry(), self.name.repository()).parse()?
            }
        };
        Ok(Source::open(&ImageReference::Registry(reference), options).await?)
    }

    async fn current_digest(&self) -> Result<Digest> {
        let source = self.open(None, self.options).await?;
        Ok(source.current_digest().await?)
    }

    /// Compares one image. `now` is the digest that the name leads to, if it is known.
    async fn image(&self, published: &Published, now: Option<Digest>) -> Compared {
        match self.try_image(published, now).await {
            Ok(compared) => compared,
            Err(Error::Source(SourceError::Unsigned { reason, .. })) => Compared {
                comparison: Comparison::Wrong(Fault::Unsigned(reason.to_string())),
                config: None,
            },
            Err(error) => Compared::not(reason(&error)),
        }
    }

    async fn try_image(&self, published: &Published, now: Option<Digest>) -> Result<Compared> {
        let stored = match PublishedManifest::parse(&published.manifest) {
            Ok(stored) => stored,
            Err(error) => return Ok(Compared::not(error.to_string())),
        };
        let digest = Digest::of(&published.manifest);
        let has_config = published
            .config
            .as_ref()
            .is_some_and(|config| ConfigDigest::from(Digest::of(config)) == stored.config.digest);
        if has_config && now.is_some_and(|now| leads_to(published, now, &digest)) {
            return Ok(Compared { comparison: Comparison::Same, config: None });
        }
        let platform = platform(&published.place, published.config.as_deref());
        let options = Options { platform, ..self.options.clone() };
        let source = self.open(None, &options).await?;
        let known = KnownManifest::new(published.manifest.clone());
        let image = source.resolve(Some(&known)).await?;
        let mut config = None;
        if !has_config && image.config.digest == stored.config.digest {
            config = Some(source.config(&image).await?.to_vec());
        }
        let registry = image.manifest.digest;
        if registry == digest {
            return Ok(Compared { comparison: Comparison::Same, config });
        }
        let comparison = if self.has(&digest).await? {
            Comparison::Moved { published: digest, now: registry }
        } else if is_copy(&stored, &image) {
            let path = published.place.metadata(ImageMetadata::Manifest);
            Comparison::Wrong(Fault::Manifest { path, registry })
        } else {
            Comparison::NotCompared(format!(
                "its name leads to {registry} in the registry, which has no {digest}, the published one"
            ))
        };
        Ok(Compared { comparison, config })
    }

    /// Whether the registry has a manifest.
    async fn has(&self, digest: &Digest) -> Result<bool> {
        let options = Options { policy: None, ..self.options.clone() };
        let source = self.open(Some(*digest), &options).await?;
        match source.resolve(None).await {
            Ok(_) => Ok(true),
            Err(SourceError::Fetch { cause, .. }) if is_not_found(&cause) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the digest is that of the published manifest, or of the published index that leads to it.
fn leads_to(published: &Published, now: Digest, manifest: &Digest) -> bool {
    let is_listed = |index: &Vec<u8>| Digest::of(index) == now && source::lists(index, manifest);
    now == *manifest || published.index.as_ref().is_some_and(is_listed)
}

/// The platform that an image was published for. `config` is its configuration.
pub(super) fn platform(place: &ImagePlace, config: Option<&[u8]>) -> Platform {
    let of_config = || ImageConfig::parse(config?).ok().map(|config| config.platform);
    let of_place = place.architecture.as_ref().map(Architecture::platform);
    of_place.or_else(of_config).unwrap_or_else(Platform::host)
}

/// Whether a manifest says the same as the registry's, in another way: DUCC writes it anew.
fn is_copy(stored: &PublishedManifest, image: &Image) -> bool {
    let layers = image.layers.iter().map(|layer| layer.digest);
    stored.config.digest == image.config.digest && stored.layers().eq(layers)
}

fn is_not_found(failure: &Failure) -> bool {
    matches!(failure, Failure::Status { status, .. } if *status == http::StatusCode::NOT_FOUND)
}

/// An error in one line.
pub(super) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
