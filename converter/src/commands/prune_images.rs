//! `ducc prune-images`.

use anyhow::{Context, bail};
use ducc::removal::unwanted::{self, Bookkeeping};
use ducc::removal::{Stop, Unknown, Wanted, keep_books};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::removal_report::{self, Growing, Report, gather};
use super::wanted::wanted_from;
use crate::cli::removal::PruneImages;

/// Puts images that are not wished for into the schedule.
pub(crate) async fn run(arguments: PruneImages, cancel: CancellationToken) -> anyhow::Result<()> {
    let report = Report { marks: true, ..Report::new(arguments.dry_run) };
    let json = arguments.common.json;
    let asking = cancel.run_until_cancelled(wanted_from(&arguments));
    let (report, result) = match asking.await.context("interrupted; nothing was changed").flatten()
    {
        Ok(wanted) => {
            let pruning = move |stop: &Stop, told: &Growing| prune(arguments, &wanted, stop, told);
            gather(report, &cancel, pruning).await
        }
        Err(error) => (report, Err(error)),
    };
    removal_report::finish(report, json, result)
}

fn prune(
    arguments: PruneImages,
    wanted: &Wanted,
    stop: &Stop,
    report: &Growing,
) -> anyhow::Result<()> {
    let repository = arguments.repository.open(None, &arguments.common.access.access())?;
    let now = Timestamp::now();
    let books: Bookkeeping = if arguments.dry_run {
        unwanted::prune(&*repository, wanted, now)?
    } else {
        let mut wait = |text: &str| {
            tracing::warn!("{text}; waiting");
            true
        };
        keep_books(&*repository, &mut wait, stop, |view| unwanted::prune(view, wanted, now))?
    };
    let mut report = report.lock();
    report.unwanted = books.unwanted.iter().map(ToString::to_string).collect();
    report.rescued = books.rescued.iter().map(ToString::to_string).collect();
    if !books.broken.is_empty() {
        let broken: Vec<String> = books.broken.iter().map(ToString::to_string).collect();
        bail!(
            "these images are not wished for and stay, because their metadata cannot be read (`ducc delete-image` \
             removes one): {}",
            broken.join("; ")
        );
    }
    if wanted.unknown != Unknown::None {
        bail!(
            "some entries of the wish lists could not be resolved (see above); the images of their repositories were \
             left alone"
        );
    }
    Ok(())
}
