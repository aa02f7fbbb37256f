//! `ducc verify`.

use anyhow::bail;
use ducc::inventory::Inventory;
use ducc::removal;
use ducc::verify::{RepairPlan, Verdict, verify};
use layer_layout::ImagePlace;
use serde::Serialize;

use super::advice;
use crate::cli::verify::Verify;

/// The report for programs (`--json`).
#[derive(Debug, Serialize, Default)]
struct Report {
    /// Number of images that were looked at.
    images: usize,
    /// What is wrong.
    faults: Vec<Found>,
    /// Number of layers that have to be fetched again.
    layers_to_fetch: usize,
    /// Number of images of which something has to be published again.
    images_to_publish: usize,
    /// What went wrong, with its causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Found {
    image: String,
    kind: &'static str,
    text: String,
}

/// Looks at images and tells what is wrong with them.
pub(crate) fn run(arguments: Verify) -> anyhow::Result<()> {
    let mut report = Report::default();
    let json = arguments.common.json;
    let result = look(arguments, &mut report);
    if json {
        report.error = result.as_ref().err().map(advice::explain);
        println!("{}", serde_json::to_string(&report)?);
    } else {
        for Found { image, text, .. } in &report.faults {
            println!("{image}: {text}");
        }
        if result.is_ok() {
            println!("{} images, nothing is wrong", report.images);
        }
    }
    result
}

fn look(arguments: Verify, report: &mut Report) -> anyhow::Result<()> {
    let Verify { repository, images: wanted, common } = arguments;
    let repository = repository.open(None, &common.access.access())?;
    let inventory = Inventory::take(&*repository)?;
    let all = ducc::inventory::places(&*repository)?;
    for name in &wanted {
        if !all.iter().any(|place| place.name == *name) {
            return Err(removal::Error::NoSuchImage(name.to_string()).into());
        }
    }
    let is_wanted = |place: &ImagePlace| wanted.is_empty() || wanted.contains(&place.name);
    let places: Vec<ImagePlace> = all.into_iter().filter(is_wanted).collect();
    let mut verdicts: Vec<Verdict> = Vec::new();
    verify(&*repository, &places, |verdict| {
        let image = verdict.place.to_string();
        let found = verdict.faults.iter().map(|fault| Found {
            image: image.clone(),
            kind: fault.kind(),
            text: fault.to_string(),
        });
        report.faults.extend(found);
        verdicts.push(verdict);
    })?;
    report.images = places.len();
    // What belongs to no single image is told only if all are looked at.
    if wanted.is_empty() {
        let own: Vec<_> = places.iter().map(ImagePlace::metadata_directory).collect();
        for broken in inventory.broken.iter().filter(|broken| !own.contains(&broken.path)) {
            report.faults.push(Found {
                image: broken.path.to_string(),
                kind: "document",
                text: broken.reason.clone(),
            });
        }
    }
    let plan = RepairPlan::new(&inventory, &verdicts);
    report.layers_to_fetch = plan.layers.len();
    report.images_to_publish = plan.images.len();
    if !report.faults.is_empty() {
        bail!(
            "{} faults in {} images; to mend them, {} layers have to be fetched again and {} images published again",
            report.faults.len(),
            report.images,
            report.layers_to_fetch,
            report.images_to_publish
        );
    }
    Ok(())
}
