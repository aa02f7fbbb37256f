//! What runs the project's programs, with all that they need: the tests, the demo, the benchmarks.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::command::{is_root, step, stream};
use crate::{packages, runtimes, workspace};

/// Brings packages and runtimes, builds the programs that end-to-end tests drive, and runs the tests.
pub(crate) fn test(filter: Option<&str>) -> Result<()> {
    bring()?;
    step("Building the programs under test");
    stream(cargo()?.args(["build", "--workspace", "--bins"]))?;
    step("Running the tests");
    stream(cargo()?.args(["test", "--workspace", "--no-fail-fast"]).args(filter))
}

/// Shows the main job with optimized programs.
pub(crate) fn demo() -> Result<()> {
    bring_and_optimize(&["ducc", "cvmfs-snapshotter", "e2e"])?;
    step("Running the demo");
    stream(cargo()?.args(["run", "--quiet", "--release", "--package", "e2e", "--bin", "demo"]))
}

/// Runs the benchmarks with optimized programs; `arguments` go to them.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    bring_and_optimize(&["ducc", "cvmfs-snapshotter", "bench"])?;
    step("Running the benchmarks");
    let run = ["run", "--quiet", "--release", "--package", "bench", "--"];
    stream(cargo()?.args(run).args(arguments))
}

fn bring() -> Result<()> {
    packages::install()?;
    runtimes::unpack()
}

fn bring_and_optimize(programs: &[&str]) -> Result<()> {
    bring()?;
    step("Building the programs, optimized (the first time takes some minutes)");
    let packages = programs.iter().flat_map(|package| ["--package", package]);
    stream(cargo()?.args(["build", "--release", "--bins"]).args(packages))
}

/// Cargo in the checkout; what it runs is told where the runtimes are, and runs as root.
fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root()?).env("RUNTIMES_DIR", workspace::runtimes()?);
    if !is_root() {
        // Mounts and namespaces need root; what was built as ourselves runs as root.
        let arch = env::consts::ARCH.to_uppercase();
        command.env(format!("CARGO_TARGET_{arch}_UNKNOWN_LINUX_GNU_RUNNER"), "sudo --preserve-env");
    }
    Ok(command)
}
