//! The project's own commands: what a contributor or a CI machine runs besides plain cargo.
//!
//! Each says what it does before it does it, and each can be run again at any time: what is there is left alone.

mod build_times;
mod cargo;
mod command;
mod generations;
mod mirror;
mod packages;
mod programs;
mod progress;
mod runtimes;
mod suites;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Commands for working on the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install the Debian packages that building and testing need (as root, or through sudo)
    Packages,
    /// Unpack the container runtimes that the end-to-end tests drive, below target/runtimes
    Runtimes,
    /// Bring all that is needed, build, and run every test, or those whose name contains FILTER
    Test {
        /// Part of a test's name
        filter: Option<String>,
    },
    /// Show the main job: from a registry to a container that starts without its image
    Demo,
    /// Run the benchmarks; arguments go to them, see `cargo xtask bench -- --help`
    Bench {
        /// What to measure and how
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Compare the processor time of clean builds, of the demo and of the programs, with another revision's
    BuildTimes {
        /// The other revision, as git names it
        #[arg(long, value_name = "REV")]
        against: String,
    },
}

fn main() -> ExitCode {
    match run(&Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<()> {
    match task {
        Task::Packages => programs::bring_packages(),
        Task::Runtimes => programs::bring_runtimes(),
        Task::Test { filter } => programs::test(filter.as_deref()),
        Task::Demo => programs::demo(),
        Task::Bench { arguments } => programs::bench(arguments),
        Task::BuildTimes { against } => build_times::compare(against),
    }
}
