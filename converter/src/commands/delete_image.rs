//! `ducc delete-image`.

use std::time::Duration;

use ducc::inventory;
use ducc::removal::{self, Options, Stop, Subject};
use jiff::Timestamp;
use layer_layout::ImagePlace;
use tokio_util::sync::CancellationToken;

use super::garbage_collection::{BATCH, remove};
use super::removal_report::{self, Growing, Report, gather};
use crate::cli::removal::DeleteImage;

/// Removes one image and what only it refers to, at once.
pub(crate) async fn run(arguments: DeleteImage, cancel: CancellationToken) -> anyhow::Result<()> {
    let (report, json) = (Report::new(arguments.dry_run), arguments.common.json);
    let deleting = gather(report, &cancel, |stop, report| delete(arguments, stop, report));
    let (report, result) = deleting.await;
    removal_report::finish(report, json, result)
}

fn delete(arguments: DeleteImage, stop: &Stop, report: &Growing) -> anyhow::Result<()> {
    let DeleteImage { repository, image, dry_run, common, .. } = arguments;
    let repository = repository.open(None, &common.access.access())?;
    let mut places: Vec<ImagePlace> =
        inventory::places(&*repository)?.into_iter().filter(|place| place.name == image).collect();
    // A link alone, as DUCC makes it for an image without a tag.
    let link = ImagePlace::from(image.clone());
    if places.is_empty() && repository.lookup(&link.link())?.is_some() {
        places.push(link);
    }
    if places.is_empty() {
        return Err(removal::Error::NoSuchImage(image.to_string()).into());
    }
    let options =
        Options { now: Timestamp::now(), grace: Duration::ZERO, ducc_chains: false, batch: BATCH };
    remove(&repository, &Subject::Images(places), &options, dry_run, stop, report)
}
