//! The first round over images that share layers, against converting one after the other.

use std::path::Path;

use anyhow::Result;
use harness::image::{Config, Format, Image, Layer, push};
use harness::registry::Registry;

use crate::measure::{Cost, in_turn, median, run as measure};
use crate::native_content::distinct;
use crate::native_repository::Repository;
use crate::publisher::Publisher;
use crate::table;

const IMAGES: u64 = 100;
/// Layers of each image that all have, and that no other has.
const SHARED: u64 = 2;
const OWN: u64 = 2;
/// Files in a layer: in so many directories so many each, of so many bytes.
const FILES: (u32, u32, usize) = (2, 25, 4_000);

pub(crate) fn run(rounds: usize, out: Option<&Path>) -> Result<()> {
    let dir = harness::ducc::closed_dir_in(out.unwrap_or(Path::new(crate::native::MEMORY)))?;
    let registry = Registry::start()?;
    let layer = |seed: u64| distinct(dir.path(), seed, FILES.0, FILES.1, FILES.2);
    let shared = (0..SHARED).map(layer).collect::<Result<Vec<Layer>>>()?;
    let mut names = Vec::new();
    for number in 0..IMAGES {
        let own = (0..OWN).map(|at| layer(1_000 + number * OWN + at));
        let layers = shared.iter().cloned().map(Ok).chain(own).collect::<Result<Vec<Layer>>>()?;
        let name = format!("org/tool{}:{number}", number % 7);
        push(&registry, &name, &Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?)?;
        names.push(registry.source(&name));
    }

    let place = dir.path().join("repository");
    let sides = ["ducc convert-single-image, one after the other", "ducc convert"];
    let results = in_turn(rounds, sides.len(), |side| {
        let repository = Repository::create(&place)?;
        let before = (repository.revision()?, registry.requests()?.len());
        let cost = if side == 0 {
            let single: Vec<String> =
                names.iter().map(|name| repository.publish(name, "")).collect();
            measure(&single.join("\n"))?
        } else {
            let beside = place.join("publisher");
            let publisher = Publisher::new(&beside, &repository.locator(), &repository.access())?;
            publisher.wish(&names)?;
            measure(&publisher.round("round", "")?)?
        };
        repository.check()?;
        let requests = registry.requests()?.len() - before.1;
        Ok((cost, repository.revision()? - before.0, requests))
    })?;

    let wall = |results: &[(Cost, u64, usize)]| median(results.iter().map(|it| it.0.wall));
    let rows: Vec<Vec<String>> = (sides.iter().zip(&results))
        .map(|(name, of)| {
            vec![
                (*name).to_owned(),
                format!("{:.2}", wall(of)),
                format!("{:.2}", median(of.iter().map(|it| it.0.cpu))),
                format!("{:.0}", median(of.iter().map(|it| it.0.memory))),
                format!("{:.0}", median(of.iter().map(|it| it.2 as f64))),
                format!("{:.0}", median(of.iter().map(|it| it.1 as f64))),
                format!("{:.2}", wall(of) / wall(&results[0])),
            ]
        })
        .collect();
    let headline = format!(
        "{IMAGES} images of {} layers, of which all share {SHARED}; {} files in each layer",
        SHARED + OWN,
        FILES.0 * FILES.1
    );
    let columns =
        ["", "wall s", "CPU s", "peak MiB", "requests", "revisions", "wall / one after the other"];
    table::print(&headline, &columns, &rows);
    Ok(())
}
