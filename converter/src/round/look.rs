//! Whether an image has to be converted.

use std::sync::Arc;

use layer_layout::path::{self, ImageMetadata};
use layer_layout::{Digest, ImagePlace, ImageReference};
use tokio_util::sync::CancellationToken;

use super::wanted::{Common, Wanted};
use crate::convert;
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
    /// It may have to be converted.
    Changed,
}

impl Looker {
    /// Looks at an image, with one request if it has not changed. If an earlier round has `seen` it, it only has to be
    /// found out whether registry and repository have the same under its name as then.
    pub(super) async fn look(&self, wanted: &Wanted, seen: Option<SeenImage>) -> Result<Look> {
        if self.common.again.is_anything() {
            return Ok(Look::Changed);
        }
        let Some(published) = self.published(wanted).await? else { return Ok(Look::Changed) };
        if let Some(seen) = seen
            && seen.wanted == wanted.fingerprint(&self.common)
            && seen.published == published
        {
            let reference = ImageReference::Registry(wanted.reference.clone());
            let source = Source::open(&reference, &wanted.source(&self.common)?).await?;
            let is_same = source.current_digest().await? == seen.source;
            return Ok(if is_same { Look::Unchanged(None) } else { Look::Changed });
        }
        if wanted.thin.is_some() {
            // Whether the thin image is there is found out when it is pushed.
            return Ok(Look::Changed);
        }
        let mut report = Report::new(String::new());
        let (request, never) = (wanted.request(&self.common)?, CancellationToken::new());
        let image = convert::resolve(&request, &self.repository, &never, &mut report).await?;
        if !image.is_published() {
            return Ok(Look::Changed);
        }
        Ok(Look::Unchanged(self.seen(wanted, image.source_digest()).await?))
    }

    /// What is to be remembered of an image that is as it should be.
    pub(super) async fn seen(&self, wanted: &Wanted, source: Digest) -> Result<Option<SeenImage>> {
        let published = self.published(wanted).await?;
        Ok(published.map(|published| SeenImage {
            wanted: wanted.fingerprint(&self.common),
            source,
            published,
        }))
    }

    /// What the repository has under the image's name; `None` if it has none of it.
    async fn published(&self, wanted: &Wanted) -> Result<Option<String>> {
        let (repository, name) = (Arc::clone(&self.repository), wanted.name.clone());
        let of_platforms = wanted.platforms != Platforms::HostOnly;
        let looking = tokio::task::spawn_blocking(move || -> Result<Option<String>> {
            let own = ImagePlace { name: name.clone(), architecture: None };
            let manifest = repository.lookup(&own.metadata(ImageMetadata::Manifest))?;
            let mut places = vec![own];
            // DUCC may have put the metadata there although the image was wanted for one platform.
            if of_platforms || manifest.is_none() {
                for (directory, _) in repository.list(Some(&path::architectures_metadata()))? {
                    let Ok(architecture) = directory.parse() else { continue };
                    places
                        .push(ImagePlace { name: name.clone(), architecture: Some(architecture) });
                }
            }
            let mut seen = Vec::new();
            for place in places {
                let manifest = place.metadata(ImageMetadata::Manifest);
                for path in [manifest, place.link()] {
                    seen.push(repository.fingerprint(&path)?);
                }
            }
            let is_there = seen.iter().any(Option::is_some);
            Ok(is_there.then(|| {
                let seen = seen.into_iter().map(|it| it.unwrap_or_else(|| "-".to_owned()));
                seen.collect::<Vec<_>>().join(" ")
            }))
        });
        looking.await.map_err(Error::from)?
    }
}
