//! Benchmarks. The programs that are compared run in turn (A, B, C, A, B, C, …), in one run on one machine; what
//! counts is the ratio of the medians. `docs/benchmarks.md` shows the tables that this prints.

mod bare_client;
mod catalog_pages;
mod catalog_rows;
mod conversion;
mod deflate;
mod first_round;
mod measure;
mod native;
mod native_content;
mod native_floor;
mod native_merge;
mod native_repository;
mod native_scale;
mod node_start;
mod publisher;
mod publishers;
mod registry;
mod regression;
mod removal;
mod rounds;
mod snapshots;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

/// Measures the programs against the usual tools. Needs root and what `cargo xtask test` installs.
#[derive(Debug, Parser)]
struct Cli {
    /// What to measure.
    #[arg(value_enum, default_values_t = [
        Bench::Conversion, Bench::NodeStart, Bench::Snapshots, Bench::Native, Bench::Merge, Bench::Scale,
        Bench::Rounds, Bench::FirstRound, Bench::Removal, Bench::Publishers,
    ])]
    benches: Vec<Bench>,

    /// Rounds of each comparison, after a first one that is not counted.
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Where conversions write to [default: cargo's target directory; for native and all after it: /dev/shm].
    /// A file system in memory takes the disk out of the comparison.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// For merge: the number of entries in the large layer.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    entries: u64,

    /// The number of images: for scale those that are in the repository beforehand [default: 1000]; for rounds [default:
    /// 10000], removal [default: 1000] and publishers [default: 400] all of them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    images: Option<u64>,

    /// The other build of ducc that regression compares with, for instance one of the last release.
    #[arg(long, value_name = "DUCC")]
    against: Option<PathBuf>,

    /// Run as the floor of native: store the content of all LAYERs in OUT.
    #[arg(long, hide = true, num_args = 2.., value_names = ["OUT", "LAYER"])]
    floor: Vec<PathBuf>,

    /// Run as the bare client of rounds: ask for all URLs in a file, N at a time.
    #[arg(long, hide = true, num_args = 2, value_names = ["FILE", "N"])]
    heads: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bench {
    /// ducc against umoci and tar.
    Conversion,
    /// Pull and first output: a full pull against cvmfs-snapshotter.
    NodeStart,
    /// Snapshot operations against containerd's overlayfs.
    Snapshots,
    /// The libraries that compress file content.
    Deflate,
    /// Catalogs written page by page, against catalogs made by SQLite.
    CatalogPages,
    /// Publishing into a CernVM-FS repository, against the least it can cost and against umoci.
    Native,
    /// Making the merged and the flat root of layers that are already in a CernVM-FS repository.
    Merge,
    /// Publishing into a CernVM-FS repository that holds many images, against an empty one.
    Scale,
    /// A round over images of which none has changed, against bare requests.
    Rounds,
    /// The first round over images that share layers, against converting one after the other.
    FirstRound,
    /// Removing half of the images of a repository, against their conversion.
    Removal,
    /// Several publishers that share a list, against one.
    Publishers,
    /// This build of ducc against another one, over all of these inputs.
    Regression,
}

impl std::fmt::Display for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if let [out, layers @ ..] = &cli.floor[..] {
        return native_floor::run(out, layers);
    }
    if let [urls, at_a_time] = &cli.heads[..] {
        return bare_client::run(Path::new(urls), at_a_time.parse().context("how many at a time")?);
    }
    let (out, images) = (cli.out.as_deref(), |default| cli.images.unwrap_or(default));
    for bench in &cli.benches {
        match bench {
            Bench::Conversion => conversion::run(cli.rounds, out)?,
            Bench::NodeStart => node_start::run(cli.rounds)?,
            Bench::Snapshots => snapshots::run(cli.rounds)?,
            Bench::Deflate => deflate::run(cli.rounds)?,
            Bench::CatalogPages => catalog_pages::run(cli.rounds)?,
            Bench::Native => native::run(cli.rounds, out)?,
            Bench::Merge => native_merge::run(cli.rounds, out, cli.entries)?,
            Bench::Scale => native_scale::run(cli.rounds, out, images(1_000))?,
            Bench::Rounds => rounds::run(cli.rounds, out, images(10_000))?,
            Bench::FirstRound => first_round::run(cli.rounds, out)?,
            Bench::Removal => removal::run(cli.rounds, out, images(1_000))?,
            Bench::Publishers => publishers::run(out, images(400))?,
            Bench::Regression => {
                let other = cli.against.as_deref().context("say which build with --against")?;
                regression::run(cli.rounds, out, other)?;
            }
        }
    }
    Ok(())
}
