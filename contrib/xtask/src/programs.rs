//! What runs the project's programs, with all that they need: the tests, the demo, the benchmarks.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::cargo::{build, cargo};
use crate::command::{as_root, ask_for_root, is_root, step, stream};
use crate::generations::Runtime;
use crate::progress::{Progress, side_by_side};
use crate::{packages, runtimes, workspace};

/// What users run.
const PROGRAMS: [&str; 4] = ["--package", "ducc", "--package", "cvmfs-snapshotter"];

/// Installs the Debian packages that everything needs.
pub(crate) fn bring_packages() -> Result<()> {
    ask_for_root()?;
    step("Debian packages");
    side_by_side(vec![("packages", Box::new(|it| packages::install(packages::ALL, it)))])
}

/// Unpacks the runtimes that the tests drive.
pub(crate) fn bring_runtimes() -> Result<()> {
    bring_packages()?;
    step("Container runtimes");
    side_by_side(vec![("runtimes", Box::new(|it| runtimes::unpack(&runtimes::ALL, it)))])
}

/// Brings packages and runtimes, builds the programs that end-to-end tests drive, and runs the tests.
pub(crate) fn test(filter: Option<&str>) -> Result<()> {
    bring_packages()?;
    step("Building the programs and the tests; container runtimes meanwhile");
    side_by_side(vec![
        // With the tests, since they ask for more features of some crates, which would then be built twice.
        ("programs", Box::new(|it| build(it, &["--workspace", "--bins", "--tests"]))),
        ("runtimes", Box::new(|it| runtimes::unpack(&runtimes::ALL, it))),
    ])?;
    step("Running the tests");
    let mut command = cargo()?;
    command.env("RUNTIMES_DIR", workspace::runtimes()?);
    if !is_root() {
        // Mounts and namespaces need root; what was built as ourselves runs as root.
        let arch = env::consts::ARCH.to_uppercase();
        command.env(format!("CARGO_TARGET_{arch}_UNKNOWN_LINUX_GNU_RUNNER"), "sudo --preserve-env");
    }
    stream(command.args(["test", "--workspace", "--no-fail-fast"]).args(filter))
}

/// Shows the main job.
pub(crate) fn demo() -> Result<()> {
    step(
        "Building what the demo runs, and downloading container runtimes meanwhile; \
         the first time this takes about 4 minutes on two processors",
    );
    let programs = [["--profile", "demo", "--package", "demo"].as_slice(), &PROGRAMS].concat();
    prepare(packages::DEMO, &runtimes::DEMO, |it| build(it, &programs))?;
    step("Running the demo");
    run("demo", "demo", &[])
}

/// Runs the benchmarks; `arguments` go to them.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    step("Building the programs as users do, and the benchmarks; container runtimes meanwhile");
    prepare(packages::ALL, &runtimes::ALL, |it| {
        // By themselves, so that they are what `cargo build --release` makes, whatever the benchmarks need.
        build(it, &[["--release"].as_slice(), &PROGRAMS].concat())?;
        build(it, &["--release", "--package", "bench"])
    })?;
    step("Running the benchmarks");
    run("release", "bench", arguments)
}

/// Builds, and brings packages and runtimes at the same time.
fn prepare(
    packages: &[&str],
    runtimes: &[Runtime],
    build: impl FnOnce(&Progress) -> Result<()> + Send,
) -> Result<()> {
    ask_for_root()?;
    side_by_side(vec![
        ("programs", Box::new(build)),
        (
            "downloads",
            Box::new(|it| {
                packages::install(packages, it)?;
                runtimes::unpack(runtimes, it)
            }),
        ),
    ])
}

/// Runs one of the project's own programs as root.
fn run(profile: &str, name: &str, arguments: &[String]) -> Result<()> {
    let program = workspace::program(profile, name)?;
    let mut command = if is_root() {
        Command::new(program)
    } else {
        let mut command = as_root("--preserve-env");
        command.arg(program);
        command
    };
    command.current_dir(workspace::root()?).env("RUNTIMES_DIR", workspace::runtimes()?);
    stream(command.args(arguments))
}
