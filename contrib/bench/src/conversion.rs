//! Unpacking an image: `ducc` against `umoci unpack` and against `tar -x` of the same layers.
//!
//! All of them read the same OCI layout from the page cache and write to empty directories on one file system.
//! `ducc` makes its result durable before it publishes; for the others, `sync -f` is run on their directory, so
//! that all end in the same state. `ducc` does more than they do: it checks digests, keeps each layer, and also
//! makes the merged and the flat root.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use harness::debian::{self, Debian};
use harness::image::{
    Compression, Config, Entry, Format, Image, Layer, LayerBuilder, LongNames, write_layout,
};
use harness::tools;

use crate::measure::{Cost, in_turn, median, run as measure};
use crate::table;

const SMALL_FILES: u32 = 100_000;
const SMALL_SIZE: u64 = 4 << 10;
const LARGE_FILES: u64 = 4;
const LARGE_SIZE: u64 = 256 << 20;

pub(crate) fn run(rounds: usize, out: Option<&Path>) -> Result<()> {
    let target = tools::target_dir()?;
    let dir = harness::ducc::closed_dir_in(out.unwrap_or(&target))?;
    let debian = Debian::get()?;
    compare(
        rounds,
        "Debian with Python and numpy",
        &debian.layout,
        debian::TAG,
        &debian.image,
        dir.path(),
    )?;
    for (headline, layer) in [
        ("100,000 files of 4 KiB, one layer", small_files(dir.path())?),
        ("4 files of 256 MiB, one layer", large_files(dir.path())?),
    ] {
        let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?;
        let layout = dir.path().join("layout");
        write_layout(&layout, "bench", &image)?;
        compare(rounds, headline, &layout, "bench", &image, dir.path())?;
        std::fs::remove_dir_all(&layout)?;
    }
    Ok(())
}

fn small_files(dir: &Path) -> Result<Layer> {
    let mut layer = LayerBuilder::new(&dir.join("small"), Compression::Gzip, LongNames::Pax)?;
    for number in 0..SMALL_FILES {
        if number % 100 == 0 {
            layer.append(&Entry::dir(format!("data/{:03}", number / 100)))?;
        }
        let path = format!("data/{:03}/{number:06}", number / 100);
        layer.append(&Entry::noise(path, SMALL_SIZE, number.into()))?;
    }
    layer.finish()
}

fn large_files(dir: &Path) -> Result<Layer> {
    let mut layer = LayerBuilder::new(&dir.join("large"), Compression::Gzip, LongNames::Pax)?;
    for number in 0..LARGE_FILES {
        layer.append(&Entry::noise(format!("data-{number}"), LARGE_SIZE, number))?;
    }
    layer.finish()
}

fn compare(
    rounds: usize,
    headline: &str,
    layout: &Path,
    tag: &str,
    image: &Image,
    dir: &Path,
) -> Result<()> {
    let out = dir.join("out");
    let blobs: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layout.join("blobs/sha256").join(layer.blob.hex()).display().to_string())
        .collect();
    let blobs = blobs.join(" ");
    let (layout, out_text) = (layout.display(), out.display());
    let sides = [
        (
            "ducc (layers, merged and flat root)",
            format!(
                "{} convert-single-image --quiet oci:{layout}:{tag} {out_text}",
                tools::ducc()?.display()
            ),
        ),
        (
            "umoci unpack (one root)",
            format!("umoci unpack --image {layout}:{tag} {out_text}/bundle; sync -f {out_text}"),
        ),
        (
            "tar -x (layers over each other)",
            format!(
                "for blob in {blobs}; do tar --numeric-owner --xattrs --xattrs-include='*' -C {out_text} \
                 -xzpf $blob; done; sync -f {out_text}"
            ),
        ),
    ];
    let results = in_turn(rounds, sides.len(), |side| {
        std::fs::create_dir_all(&out)?;
        let cost = measure(&sides[side].1)?;
        std::fs::remove_dir_all(&out)?;
        Ok(cost)
    })?;
    let bytes = tar_bytes(&blobs)?;
    let wall = |costs: &[Cost]| median(costs.iter().map(|cost| cost.wall));
    let cpu = |costs: &[Cost]| median(costs.iter().map(|cost| cost.cpu));
    let first = &results[0];
    let rows: Vec<Vec<String>> = (sides.iter().zip(&results))
        .map(|((name, _), costs)| {
            vec![
                (*name).to_owned(),
                format!("{:.2}", wall(costs)),
                format!("{:.0}", bytes as f64 / 1e6 / wall(costs)),
                format!("{:.2}", cpu(costs)),
                format!("{:.0}", median(costs.iter().map(|cost| cost.memory))),
                format!("{:.2}", wall(first) / wall(costs)),
                format!("{:.2}", cpu(first) / cpu(costs)),
            ]
        })
        .collect();
    let headline =
        format!("{headline} ({} layers, {:.0} MB of tar)", image.layers.len(), bytes as f64 / 1e6);
    let columns =
        ["", "wall s", "MB/s", "CPU s", "peak MiB", "ducc's wall / this", "ducc's CPU / this"];
    table::print(&headline, &columns, &rows);
    Ok(())
}

/// Bytes of the uncompressed layers.
fn tar_bytes(blobs: &str) -> Result<u64> {
    let mut command = Command::new("bash");
    let count = harness::process::run(command.args(["-c", &format!("zcat {blobs} | wc -c")]))?;
    Ok(count.stdout.trim().parse()?)
}
