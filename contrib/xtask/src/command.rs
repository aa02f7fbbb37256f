//! Other programs: run with their output shown, or for their output.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Says what is done next.
pub(crate) fn step(text: &str) {
    eprintln!("==> {text}");
}

/// Runs a command that writes to our own output and errors; says which.
pub(crate) fn stream(command: &mut Command) -> Result<()> {
    eprintln!("    $ {}", show(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("starting {}", show(command)))?;
    if !status.success() {
        bail!("{}: {status}", show(command));
    }
    Ok(())
}

/// Runs a command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", show(command)))?;
    if !output.status.success() {
        bail!("{}: {}\n{}", show(command), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Lets sudo ask for a password now, if it is needed, and not in the middle of something else.
pub(crate) fn ask_for_root() -> Result<()> {
    if is_root() { Ok(()) } else { stream(Command::new("sudo").arg("--validate")) }
}

/// A command that runs `program` as root: directly, or through sudo.
pub(crate) fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}
