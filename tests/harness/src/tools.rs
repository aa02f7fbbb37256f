//! Where the programs under test and the runtimes are.
//!
//! `cargo xtask test` builds and unpacks all of them and passes their paths in environment variables. Without these the
//! usual paths below cargo's target directory are used, so that a single test can be run with plain `cargo test`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// What to do when something that the tests need is missing.
const ADVICE: &str =
    "run `cargo xtask test`, which installs and builds everything that the end-to-end tests need";

/// The converter: `DUCC_BIN`, or `ducc` in the profile directory of this test.
pub fn ducc() -> Result<PathBuf> {
    built("DUCC_BIN", "ducc")
}

/// The snapshotter: `CVMFS_SNAPSHOTTER_BIN`, or `cvmfs-snapshotter` in the profile directory of this test.
pub fn cvmfs_snapshotter() -> Result<PathBuf> {
    built("CVMFS_SNAPSHOTTER_BIN", "cvmfs-snapshotter")
}

fn built(variable: &str, name: &str) -> Result<PathBuf> {
    let path = match env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => profile_dir()?.join(name),
    };
    ensure!(path.is_file(), "{} is not built: {ADVICE}", path.display());
    Ok(path)
}

/// `target/<profile>`: the test itself is `target/<profile>/deps/<name>-<hash>`.
fn profile_dir() -> Result<PathBuf> {
    let exe = env::current_exe().context("finding the running test's own path")?;
    let mut dir = exe.parent().with_context(|| format!("{} has no directory", exe.display()))?;
    if dir.file_name().is_some_and(|name| name == "deps") {
        dir = dir.parent().with_context(|| format!("{} has no directory", exe.display()))?;
    }
    Ok(dir.to_path_buf())
}

/// Cargo's target directory, which keeps what is expensive to make between runs.
pub fn target_dir() -> Result<PathBuf> {
    let profile = profile_dir()?;
    Ok(profile.parent().unwrap_or(&profile).to_path_buf())
}

/// A directory below [`runtimes_dir`], such as `containerd-1.7`.
pub fn runtime(name: &str) -> Result<PathBuf> {
    let dir = runtimes_dir().join(name);
    ensure!(dir.is_dir(), "the runtime {} is missing: {ADVICE}", dir.display());
    Ok(dir)
}

/// The generations of a runtime that are unpacked, in no order: `1.7` for a directory `<name>-1.7`.
pub(crate) fn generations(name: &str) -> Result<Vec<String>> {
    let dir = runtimes_dir();
    let entries =
        fs::read_dir(&dir).with_context(|| format!("listing {}: {ADVICE}", dir.display()))?;
    let mut generations = Vec::new();
    for entry in entries {
        let entry = entry?.file_name();
        let rest = entry.to_str().and_then(|entry| entry.strip_prefix(name)?.strip_prefix('-'));
        generations.extend(rest.map(str::to_owned));
    }
    Ok(generations)
}

/// The directory `<name>-<number>` with the highest number, below [`runtimes_dir`].
pub fn newest_runtime(name: &str) -> Result<PathBuf> {
    let numbers = generations(name)?.into_iter().filter_map(|number| number.parse::<u32>().ok());
    let newest = numbers.max().with_context(|| format!("no {name} is unpacked: {ADVICE}"))?;
    runtime(&format!("{name}-{newest}"))
}

/// Where the runtimes are unpacked: `RUNTIMES_DIR`, or `target/runtimes` of the checkout.
fn runtimes_dir() -> PathBuf {
    env::var_os("RUNTIMES_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/runtimes"),
        PathBuf::from,
    )
}

/// A program of the machine itself, looked up in [`search_path`].
pub fn host(name: &str) -> Result<PathBuf> {
    let path = search_path();
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("the program {name} is not installed: {ADVICE}"))
}

/// `PATH` with the directories that an ordinary login shell of root may lack.
pub fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// Fails with one clear line when the test does not run as root.
pub fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "end-to-end tests create mounts and namespaces and need root: run `cargo xtask test` as root"
        );
    }
    Ok(())
}
