//! One image from its source into a repository.
//!
//! The order is what makes it safe: everything is fetched, verified and prepared inside one transaction,
//! and only then committed. A thin image is pushed last, when what it points at is there.

mod fetch;
mod layer_stack;
mod prepare;
mod publish;
mod target;
mod workspace;

use std::sync::Arc;
use std::time::Instant;

use layer_layout::path::{self, ImageMetadata};
use layer_layout::{ConfigDigest, Digest, ImageReference, PublicName, RegistryReference, thin};
use tokio_util::sync::CancellationToken;

use crate::layer::Limits;
use crate::progress::Progress;
use crate::report::{self, Report, Status};
use crate::repository::{self, Repository};
use crate::source::{self, KnownManifest, Source};
use crate::{Error, Result};

use target::Target;

/// How often an image is prepared when others are faster.
const ATTEMPTS: u32 = 20;

/// What to convert and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image.
    pub reference: ImageReference,
    /// The name to publish it under, if not the one that its source suggests.
    pub name: Option<PublicName>,
    /// Whether to make `.flat` and the public path for Apptainer and Singularity.
    pub flat: bool,
    /// The thin image to push.
    pub thin: Option<ThinRequest>,
    /// What no layer may exceed.
    pub limits: Limits,
    /// How to fetch.
    pub source: source::Options,
}

/// A thin image to push.
#[derive(Debug, Clone)]
pub struct ThinRequest {
    /// Where to.
    pub reference: RegistryReference,
    /// Which form.
    pub form: ThinForm,
}

/// The forms of a thin image, see [`layer_layout::thin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinForm {
    /// For nodes with the snapshotter: the original's configuration and a placeholder for each layer.
    Snapshotter,
    /// DUCC's: one layer that lists all.
    GraphDriver,
}

/// Converts an image, and tells the report all that is known, also if it fails.
///
/// When `cancel` is cancelled, this returns within seconds, even if the repository does not answer. What is stuck
/// there then goes on in the background and publishes nothing, except for a commit that is under way
/// ([`Error::CancelledInCommit`]).
///
/// # Errors
/// If not all that was asked for is in the repository, and in the registry of the thin image.
pub async fn convert(
    request: &Request,
    repository: Arc<dyn Repository>,
    progress: &Progress,
    cancel: &CancellationToken,
    report: &mut Report,
) -> Result<()> {
    let begun = Instant::now();
    let result = Conversion { request, repository, progress, cancel }.run(report).await;
    report.seconds = begun.elapsed().as_secs_f64();
    if result.is_err() {
        report.status = Status::Failed;
    }
    result
}

struct Conversion<'a> {
    request: &'a Request,
    repository: Arc<dyn Repository>,
    progress: &'a Progress,
    cancel: &'a CancellationToken,
}

impl Conversion<'_> {
    async fn run(&self, report: &mut Report) -> Result<()> {
        let source = self.until_cancelled(self.open()).await??;
        let source = Arc::new(source);
        let target = self.until_cancelled(self.resolve(&source)).await??;
        target.describe(report);

        let target = Arc::new(target);
        if self.until_cancelled(self.is_published(&target)).await?? {
            tracing::info!(image = %target.image.reference, "up to date");
            report.status = Status::UpToDate;
        } else {
            self.publish_despite_others(&source, &target, report).await?;
            report.status = Status::Converted;
        }
        if let Some(thin) = &self.request.thin {
            let pushed = self.until_cancelled(self.push_thin(thin, &target)).await;
            let pushed = pushed.map_err(|_| Error::CancelledBeforeThin)??;
            if pushed.pushed {
                report.status = Status::Converted;
            }
            report.thin = Some(pushed);
        }
        Ok(())
    }

    /// Waits for `work` unless the user gives up. Only for work that leaves nothing behind when dropped.
    async fn until_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        self.cancel.run_until_cancelled(work).await.ok_or(Error::Cancelled)
    }

    /// Asks the repository, where that may block.
    async fn in_repository<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Repository) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let repository = Arc::clone(&self.repository);
        blocking(move || work(&*repository)).await
    }

    async fn open(&self) -> Result<Source> {
        if let ImageReference::Registry(reference) = &self.request.reference
            && reference.is_wildcard()
        {
            return Err(Error::Image {
                image: reference.to_string(),
                reason: "a wildcard stands for many images; name one of them".to_owned(),
            });
        }
        Ok(Source::open(&self.request.reference, &self.request.source).await?)
    }

    /// Finds out what the image is now, with one manifest request if it has not changed.
    async fn resolve(&self, source: &Source) -> Result<Target> {
        let expected_name = self.request.name.clone().or_else(|| match &self.request.reference {
            ImageReference::Registry(reference) => reference.public_name(),
            _ => None,
        });
        let read = |name: &PublicName, file| {
            let path = path::image_metadata(name, file);
            self.in_repository(move |repository| Ok(repository.read(&path)?))
        };
        let known = match &expected_name {
            Some(name) => read(name, ImageMetadata::Manifest).await?.map(KnownManifest::new),
            None => None,
        };
        let image = source.resolve(known.as_ref()).await?;
        let name = expected_name.or_else(|| image.name.clone()).ok_or_else(|| Error::Image {
            image: image.reference.clone(),
            reason: "it has no name of its own; give one with --public-name".to_owned(),
        })?;
        let stored = read(&name, ImageMetadata::Config)
            .await?
            .filter(|stored| ConfigDigest::from(Digest::of(stored)) == image.config.digest);
        let config = match stored {
            Some(stored) => stored,
            None => source.config(&image).await?.to_vec(),
        };
        Target::new(name, image, config, &self.request.source.platform, self.request.flat)
    }

    /// Publishes, and tries again if another publisher or a garbage collection has come in between. What was
    /// stored in the first attempt is found again.
    async fn publish_despite_others(
        &self,
        source: &Arc<Source>,
        target: &Arc<Target>,
        report: &mut Report,
    ) -> Result<()> {
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            match self.publish(source, target, report).await {
                Err(Error::Repository(error)) if error.is_overtaken() && attempts > 0 => {
                    tracing::info!("{error}: doing so");
                }
                result => return result,
            }
        }
    }

    /// Whether everything of the image is in the repository already.
    async fn is_published(&self, target: &Arc<Target>) -> Result<bool> {
        let target = Arc::clone(target);
        let looked_up = self.in_repository(move |repository| {
            let is_published = target.is_published(repository)?;
            if is_published {
                clean_up(repository)?;
            }
            Ok(is_published)
        });
        looked_up.await
    }

    async fn push_thin(&self, request: &ThinRequest, target: &Target) -> Result<report::Thin> {
        let original = thin::Original {
            origin: &target.image.reference,
            manifest: &target.image.manifest.bytes,
            media_type: &target.image.manifest.media_type,
            config: &target.config_bytes,
            repository: self.repository.name(),
        };
        let image = match request.form {
            ThinForm::Snapshotter => thin::snapshotter_image(&original)?,
            ThinForm::GraphDriver => thin::graphdriver_image(&original)?,
        };
        let pushed = source::push_thin(&request.reference, &image, &self.request.source).await?;
        tracing::info!(image = %request.reference, digest = %pushed.digest,
            "{}", if pushed.pushed { "thin image pushed" } else { "thin image is up to date" });
        Ok(report::Thin {
            reference: request.reference.to_string(),
            digest: pushed.digest,
            pushed: pushed.pushed,
        })
    }
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

/// Runs work on a thread that may block. It goes on when nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
