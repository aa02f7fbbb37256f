//! `ducc status`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ducc::round::RoundReport;
use ducc::state::{Failure, State};
use serde::Serialize;

use super::list_troubles::{self, Trouble};
use super::round_report;
use crate::cli::round::Status;
use crate::{EXIT_FAILED, EXIT_PARTIAL, screen};

/// What is known of one repository.
#[derive(Debug, Serialize)]
struct Known {
    repository: String,
    /// The last round.
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<RoundReport>,
    /// Images that are not mended.
    failures: Vec<Failure>,
}

/// What is known of all rounds.
#[derive(Debug, Serialize)]
struct Overview {
    repositories: Vec<Known>,
    /// What kept lists or repositories from being taken into account.
    errors: Vec<Trouble>,
}

impl Known {
    fn is_good(&self) -> bool {
        self.failures.is_empty() && self.round.as_ref().is_none_or(RoundReport::is_success)
    }
}

/// Shows what the last rounds did, and gives the exit status.
pub(crate) fn run(arguments: Status) -> u8 {
    match show(arguments, &mut screen::stdout()) {
        Ok(true) => 0,
        Ok(false) => EXIT_PARTIAL,
        Err(error) => {
            screen::warn(format_args!("ducc: {error:#}"));
            EXIT_FAILED
        }
    }
}

fn show(arguments: Status, out: &mut dyn Write) -> anyhow::Result<bool> {
    let Status { repositories, state, json } = arguments;
    let directory = state.directory();
    let known: Vec<Known> = files(&directory)?
        .into_iter()
        .map(|path| read(&path))
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .filter(|known| repositories.is_empty() || repositories.contains(&known.repository))
        .collect();
    for wanted in &repositories {
        if !known.iter().any(|known| known.repository == *wanted) {
            bail!(
                "nothing is known of {wanted} in {}: no round was run for it with this --state",
                directory.display()
            );
        }
    }
    let overview = Overview { repositories: known, errors: troubles(&directory)? };
    if json {
        writeln!(out, "{}", serde_json::to_string(&overview)?)?;
    } else {
        for known in &overview.repositories {
            write(known, out)?;
        }
        for Trouble { lists, begun, errors } in &overview.errors {
            writeln!(out, "last round over {}, {}:", lists.join(" "), round_report::shown(*begun))?;
            for error in errors {
                writeln!(out, "  {}{error}", round_report::ERROR)?;
            }
        }
    }
    Ok(overview.errors.is_empty() && overview.repositories.iter().all(Known::is_good))
}

/// The databases in the directory, in order.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| {
        format!("cannot read {}: no round was run with this --state", directory.display())
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if State::is_state(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What kept lists or repositories from being taken into account in the last rounds.
fn troubles(directory: &Path) -> anyhow::Result<Vec<Trouble>> {
    let path = list_troubles::database(directory);
    if !path.try_exists()? {
        return Ok(Vec::new());
    }
    Ok(list_troubles::all(&State::open_at(&path)?)?)
}

fn read(path: &Path) -> anyhow::Result<Known> {
    let state = State::open_at(path)?;
    let round: Option<RoundReport> =
        match state.document(State::ROUND)? {
            Some(json) => Some(serde_json::from_str(&json).with_context(|| {
                format!("cannot understand the last round in {}", path.display())
            })?),
            None => None,
        };
    let repository = match &round {
        Some(round) => round.repository.clone(),
        None => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    Ok(Known { repository, round, failures: state.failures()? })
}

fn write(known: &Known, out: &mut dyn Write) -> anyhow::Result<()> {
    match &known.round {
        Some(round) => {
            writeln!(out, "last round, {}:", round_report::shown(round.begun))?;
            for line in round_report::lines(round) {
                writeln!(out, "  {line}")?;
            }
        }
        None => writeln!(out, "{}: no round has ended yet", known.repository)?,
    }
    for failure in &known.failures {
        writeln!(
            out,
            "  {} is tried again after {}",
            failure.name,
            round_report::shown(failure.next)
        )?;
    }
    Ok(())
}
