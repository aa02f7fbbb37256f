//! Benchmarks. Every figure is taken side by side with what it is compared to, in turn (A, B, C, A, B, C, …)
//! in one run on one machine; what counts is the ratio of the medians. The tables that this prints are what
//! `docs/benchmarks.md` shows.

mod conversion;
mod deflate;
mod measure;
mod node_start;
mod snapshots;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Measures the programs against the usual tools; needs root and what `cargo xtask test` installs.
#[derive(Debug, Parser)]
struct Cli {
    /// What to measure.
    #[arg(value_enum, default_values_t = [Bench::Conversion, Bench::NodeStart, Bench::Snapshots])]
    benches: Vec<Bench>,

    /// Counted rounds of each comparison; one more comes first and is not counted.
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Where conversions unpack to [default: cargo's target directory]. A file system in memory takes the
    /// disk out of the comparison.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bench {
    /// ducc against umoci and tar.
    Conversion,
    /// Pull and first output: a full pull against ours.
    NodeStart,
    /// Snapshot operations against containerd's overlayfs.
    Snapshots,
    /// The libraries that compress file content.
    Deflate,
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
    for bench in &cli.benches {
        match bench {
            Bench::Conversion => conversion::run(cli.rounds, cli.out.as_deref())?,
            Bench::NodeStart => node_start::run(cli.rounds)?,
            Bench::Snapshots => snapshots::run(cli.rounds)?,
            Bench::Deflate => deflate::run(cli.rounds)?,
        }
    }
    Ok(())
}
