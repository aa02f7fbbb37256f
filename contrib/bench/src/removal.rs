//! Removing half of the images of a repository, against the time that their conversion took.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::image::{Config, Format, Image};
use harness::tools;

use crate::measure::{Cost, in_turn, median, run as measure};
use crate::native_content::distinct;
use crate::native_repository::Repository;
use crate::publisher::Publisher;
use crate::registry::Registry;
use crate::table;

/// Files in the layer that an image has of its own: in so many directories so many each, of so many bytes.
const FILES: (u32, u32, usize) = (2, 10, 1_000);

pub(crate) fn run(rounds: usize, out: Option<&Path>, images: u64) -> Result<()> {
    let dir = harness::ducc::closed_dir_in(out.unwrap_or(Path::new(crate::native::MEMORY)))?;
    let registry = Registry::start()?;
    let names = small_images(&registry, dir.path(), images)?;
    let unwanted = names.len() / 2;

    let place = dir.path().join("repository");
    let results = in_turn(rounds, 1, |_| {
        let repository = Repository::create(&place)?;
        let publisher =
            Publisher::new(&place.join("publisher"), &repository.locator(), &repository.access())?;
        let step = |command: &str| -> Result<(Cost, u64)> {
            let before = repository.revision()?;
            Ok((measure(command)?, repository.revision()? - before))
        };
        publisher.wish(&names)?;
        let conversion = step(&publisher.round("round", "")?)?;
        publisher.wish(&names[unwanted..])?;
        let round = step(&publisher.round("round", "")?)?;
        let report = place.join("removed.json");
        let removal = step(&format!(
            "{} gc --json --grace-period 0 {} {} > {}",
            tools::ducc()?.display(),
            repository.access(),
            repository.locator(),
            report.display()
        ))?;
        let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
        let removed = report["images"].as_array().map_or(0, Vec::len);
        ensure!(removed == unwanted, "{removed} images were removed instead of {unwanted}");
        repository.check()?;
        Ok([conversion, round, removal])
    })?;

    let names = [
        format!("ducc convert: {images} images"),
        format!("ducc convert: {unwanted} of them are not wished for any more"),
        format!("ducc gc: these {unwanted} are removed"),
    ];
    let middle = |step: usize, figure: fn(&(Cost, u64)) -> f64| {
        median(results[0].iter().map(|steps| figure(&steps[step])))
    };
    let wall = |step| middle(step, |it| it.0.wall);
    let converted = wall(0) * unwanted as f64 / images as f64;
    let rows: Vec<Vec<String>> = (names.into_iter().enumerate())
        .map(|(step, name)| {
            vec![
                name,
                format!("{:.2}", wall(step)),
                format!("{:.2}", middle(step, |it| it.0.cpu)),
                format!("{:.0}", middle(step, |it| it.0.memory)),
                format!("{:.0}", middle(step, |it| it.1 as f64)),
                format!("{:.2}", wall(step) / converted),
            ]
        })
        .collect();
    let last = format!("wall / conversion of {unwanted}");
    let columns = ["", "wall s", "CPU s", "peak MiB", "revisions", &last];
    table::print(&format!("Removing {unwanted} of {images} images"), &columns, &rows);
    Ok(())
}

/// Adds images to a registry, each of a layer that all share and one of its own. Gives their references.
pub(crate) fn small_images(registry: &Registry, dir: &Path, images: u64) -> Result<Vec<String>> {
    let layer = |seed: u64| distinct(dir, seed, FILES.0, FILES.1, FILES.2);
    let shared = layer(0)?;
    (0..images)
        .map(|number| {
            let layers = [shared.clone(), layer(number + 1)?];
            let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
            let name = format!("org/tool{}:{number}", number % 7);
            registry.add(std::slice::from_ref(&name), &image)?;
            Ok(registry.source(&name))
        })
        .collect()
}
