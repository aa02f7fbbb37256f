//! Merging only: the merged and the flat root of a large layer that is already published and a small one above it.
//!
//! Only the small layer is read. Each round starts from a copy of the repository that holds the large one.

use std::path::Path;

use anyhow::Result;
use harness::image::{Config, Format, Image, write_layout};

use crate::measure::{in_turn, median, run as measure};
use crate::native_content::TallAndFlat;
use crate::native_repository::Repository;
use crate::table;

pub(crate) fn run(rounds: usize, out: Option<&Path>, entries: u64) -> Result<()> {
    let dir = harness::ducc::closed_dir_in(out.unwrap_or(Path::new(crate::native::MEMORY)))?;
    let layers = TallAndFlat::build(dir.path(), entries)?;
    let layout = dir.path().join("layout");
    let config = || Config::with_cmd(["true"]);
    let below = Image::new(Format::Oci, config(), std::slice::from_ref(&layers.large))?;
    write_layout(&layout, "below", &below)?;
    let both = Image::new(Format::Oci, config(), &[layers.large, layers.small])?;
    write_layout(&layout, "both", &both)?;
    let image = |tag: &str| format!("oci:{}:{tag}", layout.display());
    let options =
        |tag: &str, more: &str| format!("--public-name registry.example.org/bench:{tag} {more}");

    let before = Repository::create(&dir.path().join("before"))?;
    let first = measure(&before.publish(&image("below"), &options("below", "--skip-flat")))?;
    let place = dir.path().join("repository");
    let sides = [("merged and flat root", 2, ""), ("merged root", 1, "--skip-flat")];
    let results = in_turn(rounds, sides.len(), |side| {
        let repository = before.copy_to(&place)?;
        let more = sides[side].2;
        let publish = repository.publish(&image("both"), &options("both", more));
        let cost = measure(&format!("{publish}; sync -f {}", place.display()))?;
        if side == 0 {
            repository.check()?;
        }
        Ok(cost)
    })?;
    let row = |name: &str, roots: u64, wall: f64, cpu: f64, memory: f64| {
        let seen = layers.seen as f64;
        vec![
            name.to_owned(),
            format!("{wall:.2}"),
            format!("{cpu:.2}"),
            format!("{memory:.0}"),
            format!("{:.0}", seen / wall),
            format!("{:.0}", seen * roots as f64 / wall),
        ]
    };
    let mut rows: Vec<Vec<String>> = (sides.iter().zip(&results))
        .map(|((name, roots, _), costs)| {
            let middle =
                |figure: fn(&crate::measure::Cost) -> f64| median(costs.iter().map(figure));
            row(name, *roots, middle(|c| c.wall), middle(|c| c.cpu), middle(|c| c.memory))
        })
        .collect();
    rows.push(row(
        "before that: the large layer and its merged root",
        2,
        first.wall,
        first.cpu,
        first.memory,
    ));
    let headline = format!("{} entries under 1,000", layers.seen);
    let columns =
        ["", "wall s", "CPU s", "peak MiB", "entries of the image / s", "entries written / s"];
    table::print(&headline, &columns, &rows);
    Ok(())
}
