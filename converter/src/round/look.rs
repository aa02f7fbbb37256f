//! Whether an image has to be converted.

use std::sync::Arc;

use layer_layout::path::{self, ImageMetadata};
use layer_layout::{Digest, ImagePlace, ImageReference, PublicName};
use tokio_util::sync::CancellationToken;

use super::Known;
use super::wanted::{Common, Wanted};
use crate::convert::{self, Resolved};
use crate::report::Report;
use crate::repository::Repository;
use crate::source::Source;
use crate::state::SeenImage;
use crate::wish::Platforms;
use crate::{Error, Result};

/// Compares images with their registries.
pub(super) struct Looker {
    pub(super) repository: Arc<dyn Repository>,
    pub(super) common: Common,
}

/// What was found.
pub(super) enum Look {
    /// It is as it should be; with what is to be remembered, if that is news.
    Unchanged(Option<SeenImage>),
    /// It may have to be converted; with what it is now, if that is known.
    Changed(Option<Box<Looked>>),
}

/// An image as its registry has it now, with what is to be reported of that.
pub(super) struct Looked {
    pub(super) image: Resolved,
    pub(super) report: Report,
}

impl Looker {
    /// Looks at an image, with one request if it has not changed. If an earlier round has seen it, it only has to be
    /// found out whether registry and repository have the same under its name as then.
    pub(super) async fn look(&self, wanted: &Wanted, known: Known) -> Result<Look> {
        if self.common.again.is_anything() {
            return Ok(Look::Changed(None));
        }
        let Some(published) = known.published? else { return Ok(Look::Changed(None)) };
        match known.seen {
            Some(seen)
                if seen.wanted == wanted.fingerprint(&self.common)
                    && seen.published == published
                    && !self.common.again.unfit_flat =>
            {
                let reference = ImageReference::Registry(wanted.reference.clone());
                let source = Source::open(&reference, &wanted.source(&self.common)?).await?;
                let is_same = source.current_digest().await? == seen.source;
                Ok(if is_same { Look::Unchanged(None) } else { Look::Changed(None) })
            }
            // Whether the thin image is there is found out when it is pushed.
            _ if wanted.thin.is_some() => Ok(Look::Changed(None)),
            _ => Box::pin(self.look_closely(wanted)).await,
        }
    }

    /// Looks at an image of which nothing is remembered that still holds.
    async fn look_closely(&self, wanted: &Wanted) -> Result<Look> {
        let mut report = Report::new(wanted.reference.to_string());
        let (request, never) = (wanted.request(&self.common)?, CancellationToken::new());
        let image = convert::resolve(&request, &self.repository, &never, &mut report).await?;
        if !image.is_published() {
            return Ok(Look::Changed(Some(Box::new(Looked { image, report }))));
        }
        Ok(Look::Unchanged(self.seen(wanted, image.source_digest()).await?))
    }

    /// What is to be remembered of an image that is as it should be.
    pub(super) async fn seen(&self, wanted: &Wanted, source: Digest) -> Result<Option<SeenImage>> {
        let published = self.published(std::slice::from_ref(wanted)).await.remove(0)?;
        Ok(published.map(|published| SeenImage {
            wanted: wanted.fingerprint(&self.common),
            source,
            published,
        }))
    }

    /// What the repository has under the names of images, in their order; `None` if it has nothing of one. One thread
    /// looks at all of them: it takes microseconds for each, less than handing each to a thread.
    pub(super) async fn published(&self, wanted: &[Wanted]) -> Vec<Result<Option<String>>> {
        let repository = Arc::clone(&self.repository);
        let images: Vec<_> = wanted
            .iter()
            .map(|image| (image.name.clone(), image.platforms != Platforms::HostOnly))
            .collect();
        let number = images.len();
        let looking = tokio::task::spawn_blocking(move || {
            let of = |(name, of_platforms)| published(&*repository, name, of_platforms);
            images.into_iter().map(of).collect()
        });
        looking.await.unwrap_or_else(|error| {
            let error = Arc::new(Error::from(error));
            (0..number).map(|_| Err(Error::Group(Arc::clone(&error)))).collect()
        })
    }
}

/// What the repository has under an image's name, and under those `of_platforms`.
fn published(
    repository: &dyn Repository,
    name: PublicName,
    of_platforms: bool,
) -> Result<Option<String>> {
    let at = |architecture| -> Result<[Option<String>; 2]> {
        let place = ImagePlace { name: name.clone(), architecture };
        let manifest = repository.fingerprint(&place.metadata(ImageMetadata::Manifest))?;
        Ok([manifest, repository.fingerprint(&place.link())?])
    };
    let mut seen = Vec::from(at(None)?);
    // DUCC may have put the metadata there although the image was wanted for one platform.
    if of_platforms || seen[0].is_none() {
        for (directory, _) in repository.list(Some(&path::architectures_metadata()))? {
            let Ok(architecture) = directory.parse() else { continue };
            seen.extend(at(Some(architecture))?);
        }
    }
    let is_there = seen.iter().any(Option::is_some);
    Ok(is_there.then(|| {
        let seen = seen.into_iter().map(|it| it.unwrap_or_else(|| "-".to_owned()));
        seen.collect::<Vec<_>>().join(" ")
    }))
}
