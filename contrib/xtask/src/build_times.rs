//! What clean builds cost, side by side with another revision's; `docs/benchmarks.md` shows the table.
//!
//! What counts is processor time, that of all processes together: it depends least on what else the machine does.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::command::{output, step, stream};
use crate::workspace;

/// What is measured: a heading, and arguments of cargo. Each begins with an empty target directory.
const BUILDS: [(&str, &[&str]); 2] = [
    ("cargo xtask demo", &["xtask", "demo"]),
    (
        "cargo build --release of the two programs",
        &["build", "--release", "--package", "ducc", "--package", "cvmfs-snapshotter"],
    ),
];

/// What a build cost.
struct Cost {
    cpu: f64,
    wall: f64,
    crates: usize,
}

/// Builds the current commit and the commit `other` in work trees of their own, in turn.
pub(crate) fn compare(other: &str) -> Result<()> {
    let base = workspace::root()?.join("target/build-times");
    let sides = [other, "HEAD"];
    let trees = ["other", "this"].map(|name| base.join(name));
    for (revision, tree) in sides.iter().zip(&trees) {
        check_out(revision, tree)?;
    }
    let mut rows = String::new();
    for (heading, arguments) in BUILDS {
        let mut costs = Vec::new();
        for (revision, tree) in sides.iter().zip(&trees) {
            step(&format!("{heading}, of {revision}"));
            costs.push(measure(tree, arguments)?);
        }
        if let [before, after] = &costs[..] {
            rows += &row(heading, before, after);
        }
    }
    println!(
        "\n| | CPU s before | CPU s | CPU / before | wall s before | wall s | crates before | crates |"
    );
    println!("|---|---|---|---|---|---|---|---|\n{rows}");
    for tree in &trees {
        remove(tree)?;
    }
    Ok(())
}

fn row(heading: &str, before: &Cost, after: &Cost) -> String {
    format!(
        "| {heading} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {} | {} |\n",
        before.cpu,
        after.cpu,
        after.cpu / before.cpu,
        before.wall,
        after.wall,
        before.crates,
        after.crates
    )
}

fn check_out(revision: &str, tree: &Path) -> Result<()> {
    remove(tree)?;
    output(git()?.args(["worktree", "add", "--detach"]).arg(tree).arg(revision)).map(drop)
}

fn remove(tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("removing {}", tree.display()))?;
    }
    output(git()?.args(["worktree", "prune"])).map(drop)
}

fn git() -> Result<Command> {
    let mut git = Command::new("git");
    git.arg("-C").arg(workspace::root()?);
    Ok(git)
}

/// Runs cargo in `tree`, which then has an empty target directory and no container runtimes.
fn measure(tree: &Path, arguments: &[&str]) -> Result<Cost> {
    let target = tree.join("target");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    let mut cargo = Command::new("cargo");
    cargo.current_dir(tree).args(arguments).env("CARGO_TARGET_DIR", &target);
    let (begun, cpu) = (Instant::now(), cpu_of_children()?);
    stream(&mut cargo)?;
    Ok(Cost {
        cpu: cpu_of_children()? - cpu,
        wall: begun.elapsed().as_secs_f64(),
        crates: compiled(&target)?,
    })
}

/// Processor time in seconds, user and system, of all children that have ended, and of theirs (proc_pid_stat(5)).
fn cpu_of_children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The command's name is in parentheses and may hold blanks. `cutime` and `cstime` are fields 16 and 17.
    let (_, rest) = stat.rsplit_once(')').context("no command in /proc/self/stat")?;
    let fields = rest.split_whitespace().skip(16 - 3).take(2);
    let ticks: u64 = fields.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// How many libraries and programs cargo has compiled, in all profiles.
fn compiled(target: &Path) -> Result<usize> {
    let mut count = 0;
    for profile in fs::read_dir(target)?.flatten() {
        for unit in
            fs::read_dir(profile.path().join(".fingerprint")).into_iter().flatten().flatten()
        {
            let is_crate = fs::read_dir(unit.path())?.flatten().any(|file| {
                let name = file.file_name();
                let name = name.to_string_lossy();
                name.starts_with("lib-") || name.starts_with("bin-")
            });
            count += usize::from(is_crate);
        }
    }
    Ok(count)
}
