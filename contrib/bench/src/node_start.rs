//! A node that has nothing: pull, and the first output of `python3 -c 'import numpy'`.
//!
//! Registry and repository are on the same machine, so the network costs nothing; the bytes show what it would
//! cost elsewhere. Every start has a new containerd with an empty store.

use anyhow::Result;
use harness::cold_start::ColdStart;
use harness::containerd::Version;
use harness::debian::{Debian, PRINT_VERSION};
use harness::ducc::Convert;
use harness::image::push;
use harness::registry::Registry;

use crate::measure::{in_turn, median};
use crate::table;

/// Names of the images in the registry.
const FULL: &str = "bench/numpy:full";
const THIN: &str = "bench/numpy:thin";

pub(crate) fn run(rounds: usize) -> Result<()> {
    let debian = Debian::get()?;
    let registry = Registry::start()?;
    push(&registry, FULL, &debian.image)?;
    let repository = harness::ducc::closed_dir_in(harness::tools::target_dir()?)?;
    Convert::new(&registry.source(FULL), repository.path()).thin(&registry.source(THIN)).run()?;

    let sides = [
        ("overlayfs, full pull", None, FULL),
        ("cvmfs-snapshotter, the full image", Some(repository.path()), FULL),
        ("cvmfs-snapshotter, the thin image", Some(repository.path()), THIN),
    ];
    let results = in_turn(rounds, sides.len(), |side| {
        let (_, repository, name) = sides[side];
        let command = ["python3", "-c", PRINT_VERSION];
        ColdStart::measure(&registry, repository, name, &command, &debian.numpy)
    })?;
    let seconds =
        |starts: &[ColdStart]| median(starts.iter().map(|start| start.time.as_secs_f64()));
    let bytes = |starts: &[ColdStart]| median(starts.iter().map(|start| start.bytes as f64));
    let full = &results[0];
    let rows: Vec<Vec<String>> = (sides.iter().zip(&results))
        .map(|((name, ..), starts)| {
            vec![
                (*name).to_owned(),
                format!("{:.2}", seconds(starts)),
                format!("{:.0}", bytes(starts) / 1e3),
                format!("{:.3}", seconds(starts) / seconds(full)),
                format!("{:.5}", bytes(starts) / bytes(full)),
            ]
        })
        .collect();
    let containerd = format!("containerd {}", Version::newest()?);
    let columns =
        [&*containerd, "s", "KB from the registry", "seconds / full pull", "bytes / full pull"];
    table::print("Pull and first output of python3 -c 'import numpy'", &columns, &rows);
    Ok(())
}
