//! `ducc wishlist`.

use anyhow::bail;
use ducc::wish::source::{ListSource, Options, ReadError, Reading};
use ducc::wish::{Fault, Severity};
use serde::Serialize;

use super::advice;
use crate::cli::wish::{CheckWishlist, WishlistCommand};
use crate::screen;

/// What was found, for programs.
#[derive(Serialize)]
struct Report {
    lists: Vec<ListReport>,
}

#[derive(Serialize)]
struct ListReport {
    list: String,
    /// Whether there is nothing to be mended but what remarks are about.
    sound: bool,
    /// How many entries of `input` are understood; absent if the list cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cvmfs_repo: Option<String>,
    faults: Vec<FaultReport>,
    /// Why the list cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct FaultReport {
    line: usize,
    column: usize,
    /// `list`, `entry` or `remark`.
    severity: &'static str,
    problem: String,
}

impl From<Fault> for FaultReport {
    fn from(fault: Fault) -> Self {
        Self {
            line: fault.at.line,
            column: fault.at.column,
            severity: match fault.severity {
                Severity::List => "list",
                Severity::Entry => "entry",
                Severity::Remark => "remark",
            },
            problem: fault.problem.to_string(),
        }
    }
}

/// Runs the subcommand.
pub(crate) async fn run(command: WishlistCommand) -> anyhow::Result<()> {
    match command {
        WishlistCommand::Check(arguments) => check(arguments).await,
    }
}

async fn check(arguments: CheckWishlist) -> anyhow::Result<()> {
    let mut report = Report { lists: Vec::new() };
    for list in &arguments.lists {
        let list = check_list(list).await;
        if !arguments.json {
            show(&list);
        }
        report.lists.push(list);
    }
    if arguments.json {
        screen::say(serde_json::to_string(&report)?);
    }
    match report.lists.iter().filter(|list| !list.sound).count() {
        0 => Ok(()),
        bad => bail!("{bad} of {} wish lists have to be mended", report.lists.len()),
    }
}

async fn check_list(source: &ListSource) -> ListReport {
    let mut report = ListReport {
        list: source.to_string(),
        sound: false,
        entries: None,
        cvmfs_repo: None,
        faults: Vec::new(),
        error: None,
    };
    let faults = match source.read(None, &Options::default()).await {
        Ok(Reading { list, faults, .. }) => {
            report.entries = Some(list.entries.len());
            report.cvmfs_repo = list.repository;
            report.sound = faults.iter().all(|fault| fault.severity == Severity::Remark);
            faults
        }
        Err(ReadError::Broken { faults, .. }) => faults,
        Err(error) => {
            report.error = Some(advice::explain(&error.into()));
            Vec::new()
        }
    };
    report.faults = faults.into_iter().map(FaultReport::from).collect();
    report
}

fn show(report: &ListReport) {
    let list = &report.list;
    for FaultReport { line, column, severity, problem } in &report.faults {
        let remark = if *severity == "remark" { "remark: " } else { "" };
        screen::say(format_args!("{list}:{line}:{column}: {remark}{problem}"));
    }
    if let Some(error) = &report.error {
        screen::say(error);
    }
    if let Some(entries) = report.entries.filter(|_| report.sound) {
        screen::say(format_args!("{list}: sound, {entries} entries"));
    }
}
