//! `ducc prune-images`.

use anyhow::{Context, bail};
use ducc::removal::unwanted::{self, Bookkeeping};
use ducc::removal::{Unknown, Wanted, keep_books};
use jiff::Timestamp;

use super::removal_report::{self, Report};
use super::wanted::wanted_from;
use crate::cli::removal::PruneImages;

/// Puts images that are not wished for into the schedule.
pub(crate) fn run(arguments: PruneImages) -> anyhow::Result<()> {
    let mut report = Report { marks: true, ..Report::new(arguments.dry_run) };
    let json = arguments.common.json;
    let result = prune(arguments, &mut report);
    removal_report::finish(report, json, result)
}

fn prune(arguments: PruneImages, report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let wanted: Wanted = runtime.block_on(wanted_from(&arguments))?;
    let repository = arguments.repository.open(None, &arguments.common.access.access())?;
    let now = Timestamp::now();
    let books: Bookkeeping = if arguments.dry_run {
        unwanted::prune(&*repository, &wanted, now)?
    } else {
        let mut wait = |text: &str| {
            tracing::warn!("{text}; waiting");
            true
        };
        keep_books(&*repository, &mut wait, |view| unwanted::prune(view, &wanted, now))?
    };
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
