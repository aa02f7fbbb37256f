//! Publishing into a CernVM-FS repository: `ducc` against the least that the content can cost, and against
//! `umoci unpack`.
//!
//! All of them read the same OCI layout from the page cache and write below one directory, by default in memory; each
//! measurement includes writing the data back. Beyond what the floor does, `ducc` checks the digests of blob and tar,
//! recognises content from earlier runs, and makes the layers, the merged and the flat root with their catalogs. Two
//! more rows show what that saves: another image of the same layers, and the same files in other layers.

use std::path::Path;

use anyhow::{Context, Result};
use harness::debian::{self, Debian};
use harness::image::{Config, Format, Image, Layer, write_layout};

use crate::measure::{Cost, in_turn, median, run as measure};
use crate::native_content::{mixed_tree, repacked, small_files};
use crate::native_repository::Repository;
use crate::table;

const SMALL_FILES: u32 = 100_000;
/// Where to write without `--out`.
pub(crate) const MEMORY: &str = "/dev/shm";
/// The tag of images made here.
const TAG: &str = "bench";

pub(crate) fn run(rounds: usize, out: Option<&Path>) -> Result<()> {
    let dir = harness::ducc::closed_dir_in(out.unwrap_or(Path::new(MEMORY)))?;
    let debian = Debian::get()?;
    compare(
        rounds,
        "Debian with Python and numpy",
        (&debian.layout, debian::TAG),
        &debian.image,
        dir.path(),
    )?;
    for (headline, make) in [
        (
            "100,000 files of 4 KiB",
            (|dir| small_files(dir, SMALL_FILES)) as fn(&Path) -> Result<Layer>,
        ),
        ("31,046 files from 1 byte to 256 MiB", mixed_tree),
    ] {
        let layer = make(dir.path())?;
        let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?;
        let layout = dir.path().join("layout");
        write_layout(&layout, TAG, &image)?;
        compare(rounds, headline, (&layout, TAG), &image, dir.path())?;
        std::fs::remove_dir_all(&layout)?;
    }
    Ok(())
}

fn compare(
    rounds: usize,
    headline: &str,
    (layout, tag): (&Path, &str),
    image: &Image,
    dir: &Path,
) -> Result<()> {
    let files: Vec<String> = (image.layers.iter())
        .map(|layer| layout.join("blobs/sha256").join(layer.blob.hex()).display().to_string())
        .collect();
    let other = dir.join("repacked");
    let layers = (image.layers.iter().enumerate())
        .map(|(number, layer)| repacked(&other, layer, number))
        .collect::<Result<Vec<_>>>()?;
    write_layout(&other, TAG, &Image::new(Format::Oci, image.settings.clone(), &layers)?)?;

    let (place, out) = (dir.join("repository"), dir.join("out"));
    let bench = std::env::current_exe()?;
    let mut repository = None;
    let sides = [
        "the floor",
        "ducc, new content",
        "ducc, another image of the same layers",
        "ducc, the same files in other layers",
        "umoci unpack",
    ];
    let results = in_turn(rounds, sides.len(), |side| {
        if side == 1 {
            // The next two publish into the same repository.
            repository = Some(Repository::create(&place)?);
        }
        let publish = |image: &str, options: &str| {
            let repository = repository.as_ref().context("the rows are out of order")?;
            measure(&format!("{}; sync -f {}", repository.publish(image, options), place.display()))
        };
        let source = format!("oci:{}:{tag}", layout.display());
        let name = "--public-name registry.example.org/bench";
        match side {
            0 | 4 => {
                std::fs::create_dir_all(&out)?;
                let cost = measure(&match side {
                    0 => format!(
                        "{} --floor {} {}; sync -f {}",
                        bench.display(),
                        out.display(),
                        files.join(" "),
                        out.display()
                    ),
                    _ => format!(
                        "umoci unpack --image {}:{tag} {}/bundle; sync -f {}",
                        layout.display(),
                        out.display(),
                        out.display()
                    ),
                });
                std::fs::remove_dir_all(&out)?;
                cost
            }
            1 => publish(&source, &format!("{name}/first:1")),
            2 => publish(&source, &format!("{name}/second:1")),
            _ => publish(&format!("oci:{}:{TAG}", other.display()), &format!("{name}/third:1")),
        }
    })?;
    repository.context("nothing was published")?.check()?;
    std::fs::remove_dir_all(&place)?;
    std::fs::remove_dir_all(&other)?;

    let bytes: u64 = layers.iter().map(|layer| layer.tar_size).sum();
    let wall = |costs: &[Cost]| median(costs.iter().map(|cost| cost.wall));
    let cpu = |costs: &[Cost]| median(costs.iter().map(|cost| cost.cpu));
    let floor = &results[0];
    let rows: Vec<Vec<String>> = (sides.iter().zip(&results))
        .map(|(name, costs)| {
            vec![
                (*name).to_owned(),
                format!("{:.2}", wall(costs)),
                format!("{:.0}", bytes as f64 / 1e6 / wall(costs)),
                format!("{:.2}", cpu(costs)),
                format!("{:.0}", median(costs.iter().map(|cost| cost.memory))),
                format!("{:.2}", wall(costs) / wall(floor)),
                format!("{:.2}", cpu(costs) / cpu(floor)),
            ]
        })
        .collect();
    let count = match layers.len() {
        1 => "one layer".to_owned(),
        count => format!("{count} layers"),
    };
    let headline = format!("{headline} ({count}, {:.0} MB of tar)", bytes as f64 / 1e6);
    let columns = ["", "wall s", "MB/s", "CPU s", "peak MiB", "wall / floor", "CPU / floor"];
    table::print(&headline, &columns, &rows);
    Ok(())
}
