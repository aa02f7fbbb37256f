//! Every test, with all that it needs.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::command::{is_root, step, stream};
use crate::{packages, runtimes, workspace};

/// Brings packages and runtimes, builds the programs that end-to-end tests drive, and runs the tests.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    packages::install()?;
    runtimes::unpack()?;
    step("Building the programs under test");
    stream(cargo()?.args(["build", "--workspace", "--bins"]))?;
    step("Running the tests");
    let mut command = cargo()?;
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if !is_root() {
        // The end-to-end tests mount and make namespaces; built as ourselves, they run as root.
        let arch = env::consts::ARCH.to_uppercase();
        command.env(format!("CARGO_TARGET_{arch}_UNKNOWN_LINUX_GNU_RUNNER"), "sudo --preserve-env");
    }
    stream(command.args(filter))
}

/// Cargo in the checkout, with the tests told where the runtimes are.
fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root()?).env("RUNTIMES_DIR", workspace::runtimes()?);
    Ok(command)
}
