//! A round over many images of which none has changed, against bare requests for their manifests.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::image::{Compression, Config, Entry, Format, Image, Layer};

use crate::measure::{Cost, in_turn, median, run as measure};
use crate::publisher::Publisher;
use crate::registry::Registry;
use crate::table;

/// How many requests the registry gets at a time. More than `ducc` sends without being told to, so that slow registries
/// do not take hours.
const AT_A_TIME: usize = 32;
/// How long the registry takes for an answer, in milliseconds.
const LATENCIES: [u64; 3] = [0, 20, 100];
const REPOSITORIES: u64 = 7;

pub(crate) fn run(rounds: usize, out: Option<&Path>, images: u64) -> Result<()> {
    let dir = harness::ducc::closed_dir_in(out.unwrap_or(Path::new(crate::native::MEMORY)))?;
    let registry = Registry::start()?;
    let layer =
        Layer::build(dir.path(), Compression::Gzip, &[Entry::file("etc/motd", "unchanged\n")])?;
    let names: Vec<String> =
        (0..images).map(|number| format!("org/tool{}:{number}", number % REPOSITORIES)).collect();
    registry.add(&names, &Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?)?;

    let urls = dir.path().join("urls");
    let lines: Vec<String> = names.iter().map(|name| registry.manifest_url(name)).collect();
    fs::write(&urls, lines.join("\n"))?;
    let repository = dir.path().join("repository");
    fs::create_dir_all(&repository)?;
    let options = format!("--max-requests-per-registry {AT_A_TIME}");
    let place = dir.path().join("publisher");
    let publisher = Publisher::new(&place, &repository.display().to_string(), &options)?;
    publisher.wish(names.iter().map(|name| registry.source(name)))?;
    let first = measure(&publisher.round("round", "")?)?;

    let bench = std::env::current_exe()?;
    let bare = format!("{} --heads {} {AT_A_TIME}", bench.display(), urls.display());
    let mut rows = Vec::new();
    for latency in LATENCIES {
        registry.set_latency(Duration::from_millis(latency));
        let results = in_turn(rounds, 2, |side| {
            let before = registry.requests();
            let cost = match side {
                0 => measure(&bare)?,
                _ => measure(&publisher.round("round", "")?)?,
            };
            if side == 1 {
                let report = publisher.report("round")?;
                ensure!(report["unchanged"] == images, "{} images unchanged", report["unchanged"]);
            }
            Ok((cost, registry.requests() - before))
        })?;
        let wall = |results: &[(Cost, u64)]| median(results.iter().map(|(cost, _)| cost.wall));
        for (name, results_of) in ["bare HEAD requests", "ducc convert"].iter().zip(&results) {
            let middle =
                |figure: fn(&Cost) -> f64| median(results_of.iter().map(|(cost, _)| figure(cost)));
            rows.push(vec![
                format!("{latency} ms"),
                (*name).to_owned(),
                format!("{:.2}", wall(results_of)),
                format!("{:.2}", middle(|cost| cost.cpu)),
                format!("{:.0}", median(results_of.iter().map(|&(_, requests)| requests as f64))),
                format!("{:.0}", middle(|cost| cost.memory)),
                format!("{:.2}", wall(results_of) / wall(&results[0])),
            ]);
        }
    }
    let headline =
        format!("An unchanged round over {images} images, {AT_A_TIME} requests at a time");
    let columns = ["an answer takes", "", "wall s", "CPU s", "requests", "peak MiB", "wall / bare"];
    table::print(&headline, &columns, &rows);
    println!("\nThe first round took {:.1} s and {:.0} MiB.", first.wall, first.memory);
    Ok(())
}
