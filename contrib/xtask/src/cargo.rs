//! Cargo, watched while it builds.

use std::env;
use std::io::{BufReader, Read};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::show;
use crate::progress::Progress;
use crate::workspace;

/// What cargo says of its ordinary work; all else that it says is worth reading.
const ROUTINE: [&str; 8] = [
    "Blocking",
    "Building",
    "Compiling",
    "Downloaded",
    "Downloading",
    "Finished",
    "Locking",
    "Updating",
];

/// Cargo in the checkout.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root()?);
    Ok(command)
}

/// `cargo build` with these arguments; tells `progress` how many crates of how many are built.
pub(crate) fn build(progress: &Progress, arguments: &[&str]) -> Result<()> {
    let mut command = cargo()?;
    command
        .arg("build")
        .args(arguments)
        // Its progress bar is the only place where cargo says how much there is to do.
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "80")
        .env("CARGO_TERM_COLOR", "never");
    let line = show(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {line}"))?;
    let errors = BufReader::new(child.stderr.take().context("cargo without standard error")?);
    // The progress bar is written over: it ends in a carriage return.
    let mut text = Vec::new();
    for byte in errors.bytes() {
        match byte? {
            b'\n' | b'\r' => report(progress, &String::from_utf8_lossy(&std::mem::take(&mut text))),
            byte => text.push(byte),
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

fn report(progress: &Progress, line: &str) {
    // What clears the rest of the line before.
    let line = line.trim_start_matches("\x1b[K").trim_end();
    if let Some((done, all)) = counts(line) {
        progress.set(format!("{done} of {all} crates"));
    } else if !is_routine(line) {
        progress.say(line.to_owned());
    }
}

/// The two numbers of `    Building [=====>      ] 12/345: serde, tokio`.
fn counts(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.split_once("] ")?;
    let (done, rest) = rest.split_once('/')?;
    let all = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((done.trim().parse().ok()?, all.parse().ok()?))
}

fn is_routine(line: &str) -> bool {
    line.split_whitespace().next().is_none_or(|word| ROUTINE.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_progress_bar() {
        let cases = [
            ("    Building [=======>           ] 123/345: tokio, serde", Some((123, 345))),
            ("    Building [>                  ] 0/3", Some((0, 3))),
            ("  Downloading [==>               ]  4/20: ring", Some((4, 20))),
            ("   Compiling libc v0.2.191", None),
            ("error[E0308]: mismatched types", None),
            ("warning: see [1] 2", None),
        ];
        for (line, wanted) in cases {
            assert_eq!(counts(line), wanted, "{line}");
        }
    }

    #[test]
    fn what_matters_is_shown() {
        assert!(
            ["   Compiling libc v0.2.191", "", "    Finished `demo` profile"].map(is_routine)
                == [true; 3]
        );
        assert!(["error: no", "  --> src/main.rs:1:2", "    |"].map(is_routine) == [false; 3]);
    }
}
