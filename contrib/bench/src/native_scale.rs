//! What publishing into a repository that already holds many images costs, against an empty one.
//!
//! Each round publishes one new image into both; all have the same shape.

use std::fs;
use std::path::Path;

use anyhow::Result;
use harness::image::{Config, Format, Image, write_layout};

use crate::measure::{Cost, in_turn, median, run as measure};
use crate::native_content::distinct;
use crate::native_repository::Repository;
use crate::table;

/// The images that are there beforehand.
const BEFORE: Shape = Shape { layers: 3, directories: 2, files: 10, size: 500 };
/// The image that is measured: 4,000 files.
const MEASURED: Shape = Shape { layers: 4, directories: 20, files: 50, size: 2000 };
const TAG: &str = "bench";

struct Shape {
    layers: u64,
    /// In each layer.
    directories: u32,
    /// In each directory.
    files: u32,
    /// Bytes of text in each file.
    size: usize,
}

pub(crate) fn run(rounds: usize, out: Option<&Path>, images: u64) -> Result<()> {
    let dir = harness::ducc::closed_dir_in(out.unwrap_or(Path::new(crate::native::MEMORY)))?;
    let full = Repository::create(&dir.path().join("full"))?;
    let layout = dir.path().join("layout");
    let source = format!("oci:{}:{TAG}", layout.display());
    let options = |group: u64, number: u64| {
        format!("--public-name registry.example.org/group-{group}/image-{number}:1.0")
    };
    let mut filling = Vec::new();
    for number in 0..images {
        build(&layout, &BEFORE, number)?;
        filling.push(measure(&full.publish(&source, &options(number % 20, number)))?);
    }

    let place = dir.path().join("empty");
    let mut number = images;
    let results = in_turn(rounds, 2, |side| {
        let fresh;
        let repository = if side == 0 {
            number += 1;
            build(&layout, &MEASURED, number)?;
            fresh = Repository::create(&place)?;
            &fresh
        } else {
            &full
        };
        measure(&repository.publish(&source, &options(0, number)))
    })?;
    full.check()?;

    let middle = |costs: &[Cost], figure: fn(&Cost) -> f64| median(costs.iter().map(figure));
    let wall = |costs: &[Cost]| middle(costs, |cost| cost.wall);
    let names = ["an empty repository".to_owned(), format!("one that holds {images} images")];
    let rows: Vec<Vec<String>> = (names.into_iter().zip(&results))
        .map(|(name, costs)| {
            vec![
                name,
                format!("{:.3}", wall(costs)),
                format!("{:.2}", middle(costs, |cost| cost.cpu)),
                format!("{:.0}", middle(costs, |cost| cost.memory)),
                format!("{:.2}", wall(costs) / wall(&results[0])),
            ]
        })
        .collect();
    let headline = format!(
        "A new image of {} layers and {} files",
        MEASURED.layers,
        MEASURED.layers * u64::from(MEASURED.directories * MEASURED.files)
    );
    table::print(&headline, &["into", "wall s", "CPU s", "peak MiB", "wall / empty"], &rows);
    let tenth = filling.len().div_ceil(10);
    if let (Some(first), Some(last)) = (filling.get(..tenth), filling.get(filling.len() - tenth..))
    {
        println!(
            "\nThe {images} images that were there before took {:.3} s each in the first tenth and {:.3} s in the last.",
            wall(first),
            wall(last)
        );
    }
    Ok(())
}

/// Makes an image that shares nothing with the images of other numbers.
fn build(layout: &Path, shape: &Shape, number: u64) -> Result<()> {
    if layout.exists() {
        fs::remove_dir_all(layout)?;
    }
    let layers = (0..shape.layers)
        .map(|layer| {
            let seed = number * 100 + layer;
            distinct(layout, seed, shape.directories, shape.files, shape.size)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut config = Config::with_cmd(["true"]);
    config.env.push(format!("NUMBER={number}"));
    write_layout(layout, TAG, &Image::new(Format::Oci, config, &layers)?)
}
