//! Images from their sources into a repository.
//!
//! The order is what makes it safe: everything is fetched, verified and prepared inside a transaction, and only then
//! published. A thin image is pushed last, when what it points at is there.
//!
//! | file | what it is for |
//! |---|---|
//! | `resolve` | what an image is now, and whether it is published |
//! | `target`, `again` | what an image needs in the repository, and which of it is missing |
//! | `batch`, `group` | images that are prepared in one transaction and published in groups |
//! | `workspace`, `pool` | what the images of a batch share |
//! | `fetch` | layers from the source into the transaction |
//! | `layer_stack` | the place of each layer |
//! | `layer_remarks` | what engines make of a layer that is published nevertheless |
//! | `prepare`, `origins` | merged roots, records and names |
//! | `thin_image` | the thin image |
//! | `patience` | giving up in time |

mod again;
mod batch;
mod fetch;
mod group;
mod layer_remarks;
mod layer_stack;
mod origins;
mod patience;
mod pool;
mod prepare;
mod resolve;
mod target;
mod thin_image;
mod workspace;

use std::sync::Arc;
use std::time::Instant;

use layer_layout::{ImageReference, PublicName};
use tokio_util::sync::CancellationToken;

pub use self::again::{Again, At, Identity, LayersAgain};
pub use self::batch::{Batch, BatchSettings, BatchTurn, Prepared};
pub use self::resolve::{Resolved, resolve};
pub use self::thin_image::{ThinForm, ThinRequest, push_thin};

use self::patience::Patience;
use crate::attempts::Attempts;
use crate::report::{Report, Status};
use crate::repository::Repository;
use crate::source;
use crate::{Error, Result};

/// What to convert and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image.
    pub reference: ImageReference,
    /// The name to publish it under, if not the one that its source suggests.
    pub name: Option<PublicName>,
    /// The platforms to publish, each at a place of its own below `.multiarch`; `None` for that of `source` alone.
    pub platforms: Option<source::Platforms>,
    /// The only place to publish it at, for the platform of `source`, instead of those that `name` and `platforms` give.
    pub at: Option<At>,
    /// Whether to make `.flat` and the public path for Apptainer and Singularity.
    pub flat: bool,
    /// The thin image to push.
    pub thin: Option<ThinRequest>,
    /// What is made although it is there.
    pub again: Again,
    /// How to fetch.
    pub source: source::Options,
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
    settings: &BatchSettings,
    cancel: &CancellationToken,
    report: &mut Report,
) -> Result<()> {
    let begun = Instant::now();
    let result = run(request, &repository, settings, cancel, report).await;
    report.seconds = begun.elapsed().as_secs_f64();
    if result.is_err() {
        report.status = Status::Failed;
    }
    result
}

async fn run(
    request: &Request,
    repository: &Arc<dyn Repository>,
    settings: &BatchSettings,
    cancel: &CancellationToken,
    report: &mut Report,
) -> Result<()> {
    let image = resolve(request, repository, cancel, report).await?;
    if image.is_published() {
        tracing::info!(image = %report.image, "up to date");
        report.status = Status::UpToDate;
    } else {
        let attempts = Attempts::default();
        loop {
            match publish(&image, repository, settings, &attempts, cancel, report).await {
                Err(error) if error.is_overtaken() => {
                    attempts.again()?;
                    // What was stored in the first attempt is found again.
                    tracing::info!("{error}: doing so");
                }
                result => break result?,
            }
        }
        report.status = Status::Converted;
    }
    if let Some(thin) = &request.thin {
        let pushing = push_thin(thin, &image, repository.name(), &request.source);
        let pushed = Patience::new(cancel.clone()).until_cancelled(pushing).await;
        let pushed = pushed.map_err(|_| Error::CancelledBeforeThin)??;
        if pushed.pushed {
            report.status = Status::Converted;
        }
        report.thin = Some(pushed);
    }
    Ok(())
}

/// Publishes an image in a batch of its own.
async fn publish(
    image: &Resolved,
    repository: &Arc<dyn Repository>,
    settings: &BatchSettings,
    attempts: &Attempts,
    cancel: &CancellationToken,
    report: &mut Report,
) -> Result<()> {
    let batch = Batch::begin(repository, settings.clone(), cancel).await?;
    let published = async {
        let prepared = batch.prepare(image, attempts, report).await?;
        let mut remarks = prepared.remarks().to_vec();
        batch.publish(vec![prepared]).await?.into_iter().collect::<Result<()>>()?;
        remarks.extend(batch.shortfalls());
        Ok::<_, Error>(remarks)
    };
    let published = published.await;
    batch.end().await;
    let remarks = published?;
    for remark in &remarks {
        tracing::warn!("{remark}");
    }
    report.remarks.extend(remarks);
    Ok(())
}
