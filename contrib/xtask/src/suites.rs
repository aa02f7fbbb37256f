//! Packages of newer Debian suites, only downloaded, never installed: an apt with a state of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::output;

/// The suites that are looked through, the oldest first. A generation moves from one to the next in the course of time.
pub(crate) const SUITES: [&str; 4] = ["bookworm", "trixie", "forky", "sid"];
/// Debian's keys of all its suites.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with its own sources, lists and cache.
#[derive(Debug)]
pub(crate) struct Suites {
    dir: PathBuf,
}

impl Suites {
    /// Reads the lists of `suites` from `mirror` into `dir`. A suite that the mirror does not have is left out.
    pub(crate) fn update(dir: &Path, mirror: &str, suites: &[&str]) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let lines: String = (suites.iter())
            .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
            .collect();
        fs::write(dir.join("sources.list"), lines)?;
        fs::write(dir.join("status"), "")?;
        let this = Self { dir: dir.to_path_buf() };
        match output(this.apt("apt-get").args(["-qq", "update"])) {
            Err(error) if !this.has_lists()? => {
                Err(error).context("reading Debian's package lists")
            }
            _ => Ok(this),
        }
    }

    /// Whether at least one suite was there.
    fn has_lists(&self) -> Result<bool> {
        let lists = fs::read_dir(self.dir.join("lists"))?.flatten();
        Ok(lists.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("_Packages")))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, path) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "none"),
            ("Dir::Etc::preferencesparts", "none"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{name}={}", self.dir.join(path).display()));
        }
        for option in [
            // A mirror that stands still is past the date in its Release files.
            "Acquire::Check-Valid-Until=false",
            "Acquire::Check-Date=false",
            "Acquire::Languages=none",
            // Images of containers switch these off; then every call would read all lists again, for seconds.
            "Dir::Cache::pkgcache=pkgcache.bin",
            "Dir::Cache::srcpkgcache=srcpkgcache.bin",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "APT::Sandbox::User=root",
            "Debug::NoLocking=true",
        ] {
            command.args(["-o", option]);
        }
        command
    }

    /// The versions of `package` that the suites have, the newest first, each once.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        Ok(versions(&output(self.apt("apt-cache").args(["madison", package]))?))
    }

    /// The size of a package's file in bytes.
    pub(crate) fn size(&self, package: &str, version: &str) -> Result<u64> {
        let wanted = format!("{package}={version}");
        let uri = output(self.apt("apt-get").args(["-qq", "--print-uris", "download", &wanted]))?;
        // 'http://…' containerd_….deb 12345 SHA256:…
        let size = uri.split_whitespace().nth(2).and_then(|size| size.parse().ok());
        size.with_context(|| format!("apt-get does not say how large {wanted} is: {uri}"))
    }

    /// Where a download grows; it holds one file.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.dir.join("downloads")
    }

    /// Downloads a package in place of the one before and returns the file.
    pub(crate) fn download(&self, package: &str, version: &str) -> Result<PathBuf> {
        let dir = self.downloads();
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)?;
        let wanted = format!("{package}={version}");
        output(self.apt("apt-get").args(["-qq", "download", &wanted]).current_dir(&dir))
            .with_context(|| format!("downloading {wanted}"))?;
        let mut files = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
        files
            .find(|file| file.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get downloaded no {wanted}"))
    }
}

/// The second column of a table of `apt-cache madison`, which sorts it.
fn versions(table: &str) -> Vec<String> {
    let mut versions: Vec<String> = table
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(|version| version.trim().to_owned())
        .collect();
    versions.dedup();
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_once_the_newest_first() {
        let table = "containerd | 2.1.9~ds1-1 | http://x sid/main amd64 Packages\n\
                     containerd | 2.1.9~ds1-1 | http://x forky/main amd64 Packages\n\
                     containerd | 1.7.24~ds1-6 | http://x trixie/main amd64 Packages\n\
                     containerd | 1:1.6.20~ds1-1 | http://x bookworm/main amd64 Packages\n";
        assert_eq!(versions(table), ["2.1.9~ds1-1", "1.7.24~ds1-6", "1:1.6.20~ds1-1"]);
        assert!(versions("").is_empty());
    }
}
