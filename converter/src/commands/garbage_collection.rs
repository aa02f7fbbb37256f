//! `ducc garbage-collection`.

use std::sync::Arc;

use ducc::removal::{self, Options, Plan, Stop, Subject};
use ducc::repository::Repository;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::removal_report::{self, Growing, Report, gather};
use super::repository::collect_objects;
use crate::cli::removal::GarbageCollection;
use crate::cli::repository::{Keep, Target};

/// After how many paths a change of the repository ends: long enough that it takes few changes, each of which makes
/// every client fetch a new root catalog, and short enough that one is done in seconds.
pub(super) const BATCH: usize = 5_000;

/// Removes what is not needed any more.
pub(crate) async fn run(
    arguments: GarbageCollection,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let (report, json) = (Report::new(arguments.dry_run), arguments.common.json);
    let collecting = gather(report, &cancel, |stop, report| collect(arguments, stop, report));
    let (report, result) = collecting.await;
    removal_report::finish(report, json, result)
}

fn collect(arguments: GarbageCollection, stop: &Stop, report: &Growing) -> anyhow::Result<()> {
    let GarbageCollection { repository: locator, grace_period, dry_run, ducc_chains, .. } =
        arguments;
    if let Some(path) = &arguments.gc_db {
        tracing::warn!(
            "--gc-db {}: nothing is kept there; an inventory is taken each time",
            path.display()
        );
    }
    let options = Options {
        now: arguments.now.unwrap_or_else(Timestamp::now),
        grace: grace_period,
        ducc_chains,
        batch: BATCH,
    };
    let access = arguments.common.access;
    let repository = locator.open(None, &access.clone().access())?;
    remove(&repository, &Subject::Expired, &options, dry_run, stop, report)?;
    if arguments.objects {
        stop.check()?;
        drop(repository);
        let target = Target { repository: locator, access };
        let objects = collect_objects(target, Keep::default(), dry_run)?;
        report.lock().objects = Some(objects);
    }
    Ok(())
}

/// Removes something, or shows what would be removed.
pub(super) fn remove(
    repository: &Arc<dyn Repository>,
    subject: &Subject,
    options: &Options,
    dry_run: bool,
    stop: &Stop,
    report: &Growing,
) -> anyhow::Result<()> {
    let repository = &**repository;
    if dry_run {
        let inventory = ducc::inventory::Inventory::take(repository)?;
        let plan = removal::plan(repository, &inventory, subject, options)?;
        plan.batches.iter().for_each(|batch| report.lock().add(batch));
        let paths: Vec<_> = plan.batches.iter().flat_map(|batch| batch.paths.clone()).collect();
        report.lock().bytes = Some(repository.content_bytes(&paths)?);
        return told(report, plan);
    }
    let mut wait = |text: &str| {
        tracing::warn!("{text}; waiting");
        true
    };
    let mut gone = |batch: &removal::Batch| report.lock().add(batch);
    told(report, removal::carry_out(repository, subject, options, &mut wait, stop, &mut gone)?)
}

fn told(report: &Growing, plan: Plan) -> anyhow::Result<()> {
    let mut report = report.lock();
    report.waiting = plan.waiting;
    report.found = plan.found.len();
    report.ducc_chains = plan.ducc_chains;
    if plan.broken.is_empty() { Ok(()) } else { Err(removal::Error::Broken(plan.broken).into()) }
}
