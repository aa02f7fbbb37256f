//! Measures whole commands with the operating system's own accounting.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::tools;

/// What a command cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Wall time in seconds.
    pub(crate) wall: f64,
    /// User and system time in seconds, children included.
    pub(crate) cpu: f64,
    /// Peak resident memory of the largest process in MiB.
    pub(crate) memory: f64,
}

/// Runs a shell command under GNU time. Any exit status but 0 is an error.
pub(crate) fn run(shell: &str) -> Result<Cost> {
    let report = tempfile::NamedTempFile::new()?;
    let output = Command::new(tools::host("time")?)
        .args(["-f", "%e %U %S %M", "-o"])
        .arg(report.path())
        .args(["bash", "-ceu", shell])
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shell}: {}: {stderr}", output.status);
    let text = std::fs::read_to_string(report.path())?;
    let figures = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
    match figures.context("GNU time's report")?[..] {
        [wall, user, system, kib] => Ok(Cost { wall, cpu: user + system, memory: kib / 1024.0 }),
        _ => anyhow::bail!("GNU time reported {text:?}"),
    }
}

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// Runs the `sides` in turn: a first round that is not counted, then `rounds` that are.
pub(crate) fn in_turn<T>(
    rounds: usize,
    sides: usize,
    mut measure: impl FnMut(usize) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut results: Vec<Vec<T>> = (0..sides).map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..=rounds {
        for (side, results) in results.iter_mut().enumerate() {
            let result = measure(side)?;
            if round > 0 {
                results.push(result);
            }
        }
    }
    Ok(results)
}
