//! This build of `ducc` against another one, in turn in one run: whether a change made it slower or larger.
//!
//! The inputs are those of the other benchmarks. Each side publishes into repositories of its own, which it also
//! creates, so the two builds need not agree on anything but the command line.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use harness::debian::{self, Debian};
use harness::image::{Config, Format, Image, Layer, write_layout};
use harness::tools;

use crate::measure::{Cost, in_turn, median, run as measure};
use crate::native_content::{TallAndFlat, mixed_tree, small_files};
use crate::native_repository::Repository;
use crate::table;

const SMALL_FILES: u32 = 100_000;
/// Entries of the large layer that another image is put on.
const LARGE: u64 = 1_000_000;
const TAG: &str = "bench";

/// Where an image is published to.
#[derive(Debug, Clone, Copy)]
enum Target {
    Directory,
    Native,
}

/// An image in an OCI layout, and how it is published.
struct Case {
    name: &'static str,
    target: Target,
    layout: PathBuf,
    tag: &'static str,
    /// The tag of an image that is in the repository before the clock starts.
    before: Option<&'static str>,
}

/// Measures all cases with this build and with `other`.
pub(crate) fn run(rounds: usize, out: Option<&Path>, other: &Path) -> Result<()> {
    let dir = harness::ducc::closed_dir_in(out.unwrap_or(Path::new(crate::native::MEMORY)))?;
    let builds = [tools::ducc()?, other.to_owned()];
    let mut rows = Vec::new();
    for case in cases(dir.path())? {
        let results =
            in_turn(rounds, builds.len(), |side| case.measure(&builds[side], dir.path()))?;
        let row = row(case.name, &results[0], &results[1]);
        println!("{}", row.join(" | "));
        rows.push(row);
    }
    let columns =
        ["", "wall s", "CPU s", "peak MiB", "wall / other", "CPU / other", "peak / other"];
    table::print(&format!("This build against {}", other.display()), &columns, &rows);
    Ok(())
}

fn cases(dir: &Path) -> Result<Vec<Case>> {
    let debian = Debian::get()?;
    let small = layout(dir, "small", |dir| small_files(dir, SMALL_FILES))?;
    let mixed = layout(dir, "mixed", mixed_tree)?;
    let large = dir.join("large");
    let layers = TallAndFlat::build(&large, LARGE)?;
    let config = || Config::with_cmd(["true"]);
    write_layout(
        &large,
        "below",
        &Image::new(Format::Oci, config(), std::slice::from_ref(&layers.large))?,
    )?;
    write_layout(&large, TAG, &Image::new(Format::Oci, config(), &[layers.large, layers.small])?)?;
    let case = |name, target, layout: &Path, tag, before| Case {
        name,
        target,
        layout: layout.to_owned(),
        tag,
        before,
    };
    use Target::{Directory, Native};
    Ok(vec![
        case("Debian with numpy, directory", Directory, &debian.layout, debian::TAG, None),
        case("100,000 small files, directory", Directory, &small, TAG, None),
        case("2 GiB mixed, directory", Directory, &mixed, TAG, None),
        case("Debian with numpy, native", Native, &debian.layout, debian::TAG, None),
        case("100,000 small files, native", Native, &small, TAG, None),
        case("2 GiB mixed, native", Native, &mixed, TAG, None),
        case("merge over 1,000,000 entries, native", Native, &large, TAG, Some("below")),
    ])
}

/// Writes an image of one layer to a layout of its own.
fn layout(dir: &Path, name: &str, make: impl Fn(&Path) -> Result<Layer>) -> Result<PathBuf> {
    let layout = dir.join(name);
    let layer = make(&layout)?;
    write_layout(&layout, TAG, &Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?)?;
    Ok(layout)
}

impl Case {
    fn measure(&self, ducc: &Path, dir: &Path) -> Result<Cost> {
        let out = dir.join("out");
        let repository = match self.target {
            Target::Directory => {
                fs::create_dir_all(&out)?;
                None
            }
            Target::Native => Some(Repository::create_with(ducc, &out)?),
        };
        let publish = |tag: &str| {
            let image = format!("oci:{}:{tag}", self.layout.display());
            let name = format!("--public-name registry.example.org/bench:{tag}");
            match &repository {
                Some(repository) => repository.publish(&image, &name),
                None => format!(
                    "{} convert-single-image --quiet {name} {image} {}",
                    ducc.display(),
                    out.display()
                ),
            }
        };
        if let Some(tag) = self.before {
            measure(&publish(tag))?;
        }
        let cost = measure(&format!("{}; sync -f {}", publish(self.tag), out.display()))
            .with_context(|| self.name.to_owned())?;
        fs::remove_dir_all(&out)?;
        Ok(cost)
    }
}

fn row(name: &str, ours: &[Cost], other: &[Cost]) -> Vec<String> {
    let middle = |costs: &[Cost], figure: fn(&Cost) -> f64| median(costs.iter().map(figure));
    let ratio = |figure| format!("{:.3}", middle(ours, figure) / middle(other, figure));
    vec![
        name.to_owned(),
        format!("{:.2}", middle(ours, |cost| cost.wall)),
        format!("{:.2}", middle(ours, |cost| cost.cpu)),
        format!("{:.0}", middle(ours, |cost| cost.memory)),
        ratio(|cost| cost.wall),
        ratio(|cost| cost.cpu),
        ratio(|cost| cost.memory),
    ]
}
