//! What an image is now, and whether it is published.

use std::sync::Arc;

use layer_layout::path::{self, ImageMetadata};
use layer_layout::{
    Architecture, ConfigDigest, Digest, ImagePlace, ImageReference, Platform, PublicName,
};
use tokio_util::sync::CancellationToken;

use super::Request;
use super::again::At;
use super::patience::{Patience, blocking};
use super::target::Target;
use crate::report::Report;
use crate::repository::{self, Published, Repository};
use crate::source::{Image, KnownManifest, Source};
use crate::{Error, Result};

/// An image as its source has it now. Clones are the same image.
#[derive(Debug, Clone)]
pub struct Resolved {
    name: PublicName,
    source: Arc<Source>,
    /// The image of each platform, at each place where it is published; the first is the one of the public path.
    targets: Arc<[Arc<Target>]>,
    is_published: bool,
}

impl Resolved {
    /// Whether all of it is in the repository, and nothing of it is to be made again.
    pub fn is_published(&self) -> bool {
        self.is_published
    }

    /// The name under which it is published.
    pub fn name(&self) -> &PublicName {
        &self.name
    }

    /// Digest of the configuration of the image that the public path leads to: the image ID.
    pub fn config_digest(&self) -> ConfigDigest {
        self.first().config_digest()
    }

    /// Digest of what its registry has under its name: the index, or the manifest if there is none.
    pub fn source_digest(&self) -> Digest {
        let image = &self.first().image;
        image.index.as_ref().unwrap_or(&image.manifest).digest
    }

    pub(super) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    pub(super) fn first(&self) -> &Arc<Target> {
        &self.targets[0]
    }

    pub(super) fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }
}

/// Finds out what an image is now, with one manifest request if it has not changed, and tells the report.
///
/// # Errors
/// If the image cannot be read or used, the repository not be read, or the user gives up.
pub async fn resolve(
    request: &Request,
    repository: &Arc<dyn Repository>,
    cancel: &CancellationToken,
    report: &mut Report,
) -> Result<Resolved> {
    let patience = Patience::new(cancel.clone());
    let source = Arc::new(patience.until_cancelled(open(request)).await??);
    let resolver = Resolver { request, source: &source, repository };
    let (name, targets) = patience.until_cancelled(resolver.targets(report)).await??;
    report.describe(&targets);
    let targets: Arc<[_]> = targets.into_iter().map(Arc::new).collect();
    let looking = is_published(&targets, request, repository);
    let is_published = patience.until_cancelled(looking).await??;
    Ok(Resolved { name, source, targets, is_published })
}

async fn open(request: &Request) -> Result<Source> {
    if let ImageReference::Registry(reference) = &request.reference
        && reference.is_wildcard()
    {
        return Err(Error::Image {
            image: reference.to_string(),
            reason: "a wildcard stands for many images; name one of them".to_owned(),
        });
    }
    Ok(Source::open(&request.reference, &request.source).await?)
}

/// Finds the images behind a reference.
struct Resolver<'a> {
    request: &'a Request,
    source: &'a Source,
    repository: &'a Arc<dyn Repository>,
}

impl Resolver<'_> {
    async fn targets(&self, report: &mut Report) -> Result<(PublicName, Vec<Target>)> {
        if let Some(at) = &self.request.at {
            return self.at(at).await;
        }
        let expected_name = self.request.name.clone().or_else(|| match &self.request.reference {
            ImageReference::Registry(reference) => reference.public_name(),
            _ => None,
        });
        if self.request.platforms.is_some() {
            return self.of_platforms(expected_name, report).await;
        }
        let place = |name| ImagePlace { name, architecture: None };
        let known = match expected_name.clone().map(place) {
            Some(place) => self.read(&place, ImageMetadata::Manifest).await?,
            None => None,
        };
        let image = self.source.resolve(known.map(KnownManifest::new).as_ref()).await?;
        let name = named(expected_name, &image)?;
        let platform = Some(&self.request.source.platform);
        let target = self.target(place(name.clone()), image, platform).await?;
        Ok((name, vec![target]))
    }

    /// The image at one place, whatever is at the others.
    async fn at(&self, at: &At) -> Result<(PublicName, Vec<Target>)> {
        let known = self.read(&at.place, ImageMetadata::Manifest).await?;
        let image = self.source.resolve(known.map(KnownManifest::new).as_ref()).await?;
        if let Some(identity) = &at.identity
            && !identity.is_of(&image)
        {
            let reason = format!(
                "{} is to be what it was, which has {identity}; the registry has manifest {} with configuration {} in \
                 its place",
                at.place, image.manifest.digest, image.config.digest
            );
            return Err(Error::Image { image: image.reference, reason });
        }
        let is_pinned = match &self.request.reference {
            ImageReference::Registry(reference) => reference.digest().is_some(),
            _ => false,
        };
        // A digest leaves no choice, and the image may have come from an index that describes it better.
        let platform = (!is_pinned).then_some(&self.request.source.platform);
        let mut target = self.target(at.place.clone(), image, platform).await?;
        target.link.clone_from(&at.link);
        Ok((at.place.name.clone(), vec![target]))
    }

    /// The images of several platforms. The one for this machine, or else the first, is published once more under the
    /// public name alone.
    async fn of_platforms(
        &self,
        expected_name: Option<PublicName>,
        report: &mut Report,
    ) -> Result<(PublicName, Vec<Target>)> {
        let Some(platforms) = &self.request.platforms else { return Err(nothing(self.request)) };
        let known = match &expected_name {
            Some(name) => self.known_manifests(name).await?,
            None => Vec::new(),
        };
        let found = self.source.resolve_all(platforms, &known).await?;
        report.remarks.extend(found.remarks.iter().map(ToString::to_string));
        let first = found.images.first().ok_or_else(|| nothing(self.request))?;
        let name = named(expected_name, first)?;
        let mut targets = Vec::new();
        for image in found.images {
            let platform = image.platform.clone();
            let architecture = platform.as_ref().and_then(Architecture::of);
            if architecture.is_none() {
                let platform = platform.map_or("?".to_owned(), |platform| platform.to_string());
                report.remarks.push(format!(
                    "the image for {platform} is left out: only those for Linux are published"
                ));
                continue;
            }
            let place = ImagePlace { name: name.clone(), architecture };
            let target = self.target(place, image, None).await?;
            if let Some(architecture) = self.directory_of_ducc(&target.place).await? {
                let mut second = target.clone();
                second.place.architecture = Some(architecture);
                targets.push(second);
            }
            targets.push(target);
        }
        let host = Platform::host();
        let own = targets.iter().position(|target| host.accepts(&target.config.platform));
        let public = targets.get(own.unwrap_or(0)).ok_or_else(|| nothing(self.request))?;
        let mut public = public.clone();
        if self.repository.expands_variables()
            && let Some(architecture) = public.place.architecture.take()
        {
            public.link = Some(architecture.public_link_target(&name));
        }
        public.place.architecture = None;
        targets.insert(0, public);
        Ok((name, targets))
    }

    /// The other directory for the same platform, in a repository where DUCC has made one.
    async fn directory_of_ducc(&self, place: &ImagePlace) -> Result<Option<Architecture>> {
        let other = place.architecture.as_ref().and_then(Architecture::without_variant);
        let Some(other) = other else { return Ok(None) };
        let repository = Arc::clone(self.repository);
        blocking(move || {
            let found = repository.lookup(&other.directory())?;
            Ok((found == Some(Published::Directory)).then_some(other))
        })
        .await
    }

    async fn known_manifests(&self, name: &PublicName) -> Result<Vec<KnownManifest>> {
        let (name, repository) = (name.clone(), Arc::clone(self.repository));
        blocking(move || {
            let mut known = Vec::new();
            for (directory, _) in repository.list(Some(&path::architectures_metadata()))? {
                let Ok(architecture) = directory.parse() else { continue };
                let place = ImagePlace { name: name.clone(), architecture: Some(architecture) };
                let manifest = repository.read(&place.metadata(ImageMetadata::Manifest))?;
                known.extend(manifest.map(KnownManifest::new));
            }
            Ok(known)
        })
        .await
    }

    async fn target(
        &self,
        place: ImagePlace,
        image: Image,
        platform: Option<&Platform>,
    ) -> Result<Target> {
        let stored = self
            .read(&place, ImageMetadata::Config)
            .await?
            .filter(|stored| ConfigDigest::from(Digest::of(stored)) == image.config.digest);
        let config = match stored {
            Some(stored) => stored,
            None => self.source.config(&image).await?.to_vec(),
        };
        let Request { flat, again, .. } = self.request;
        Target::new(place, image, config, platform, *flat, again.clone())
    }

    async fn read(&self, place: &ImagePlace, file: ImageMetadata) -> Result<Option<Vec<u8>>> {
        let (path, repository) = (place.metadata(file), Arc::clone(self.repository));
        blocking(move || Ok(repository.read(&path)?)).await
    }
}

fn named(expected: Option<PublicName>, image: &Image) -> Result<PublicName> {
    expected.or_else(|| image.name.clone()).ok_or_else(|| Error::Image {
        image: image.reference.clone(),
        reason: "it has no name of its own; give one with --public-name".to_owned(),
    })
}

fn nothing(request: &Request) -> Error {
    Error::Image {
        image: request.reference.to_string(),
        reason: "it has no image for Linux, so there is nothing to publish".to_owned(),
    }
}

async fn is_published(
    targets: &Arc<[Arc<Target>]>,
    request: &Request,
    repository: &Arc<dyn Repository>,
) -> Result<bool> {
    if request.again.is_anything() {
        return Ok(false);
    }
    let (targets, repository) = (Arc::clone(targets), Arc::clone(repository));
    blocking(move || {
        for target in &*targets {
            if !target.is_published(&*repository)? {
                return Ok(false);
            }
        }
        clean_up(&*repository)?;
        Ok(true)
    })
    .await
}

/// Finishes or removes what a killed publisher has left, unless another publisher is at work and will do it.
fn clean_up(repository: &dyn Repository) -> Result<()> {
    if repository.lookup(&path::publisher())?.is_none() {
        return Ok(());
    }
    match repository.begin(&mut |_| false) {
        Ok(_) | Err(repository::Error::Busy(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
