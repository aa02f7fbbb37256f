//! Packages of newer Debian suites, only downloaded, never installed: an apt with a state of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::output;

/// The suites that are looked through. A generation moves from one to the next in the course of time.
const SUITES: [&str; 4] = ["bookworm", "trixie", "forky", "sid"];
/// Debian's keys of all its suites.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with its own sources, lists and cache.
#[derive(Debug)]
pub(crate) struct Suites {
    dir: PathBuf,
}

impl Suites {
    /// Reads the lists of all suites from `mirror` into `dir`.
    pub(crate) fn update(dir: &Path, mirror: &str) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let lines =
            SUITES.map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"));
        fs::write(dir.join("sources.list"), lines.concat())?;
        fs::write(dir.join("status"), "")?;
        let suites = Self { dir: dir.to_path_buf() };
        output(suites.apt("apt-get").args(["-qq", "update"]))
            .context("reading Debian's package lists")?;
        Ok(suites)
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
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "APT::Sandbox::User=root",
            "Debug::NoLocking=true",
        ] {
            command.args(["-o", option]);
        }
        command
    }

    /// Downloads the newest version of `package` that begins with `generation` into `dir`; returns the file.
    pub(crate) fn download(&self, package: &str, generation: &str, dir: &Path) -> Result<PathBuf> {
        let table = output(self.apt("apt-cache").args(["madison", package]))?;
        let version = newest(&table, generation).with_context(|| {
            format!(
                "no {package} {generation}… in Debian's {}; there is:\n{table}",
                SUITES.join(", ")
            )
        })?;
        fs::create_dir_all(dir)?;
        let wanted = format!("{package}={version}");
        output(self.apt("apt-get").args(["-qq", "download", &wanted]).current_dir(dir))
            .with_context(|| format!("downloading {wanted}"))?;
        let file = fs::read_dir(dir)?.flatten().map(|entry| entry.path()).find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
        });
        file.with_context(|| format!("apt-get downloaded no {wanted}"))
    }
}

/// The first version, which is the newest, of the generation in a table of `apt-cache madison`.
fn newest<'a>(table: &'a str, generation: &str) -> Option<&'a str> {
    table.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).find(|version| {
        let upstream = version.split_once(':').map_or(*version, |(_, rest)| rest);
        upstream.starts_with(generation)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_the_newest_of_a_generation() {
        let table = "containerd | 2.1.9~ds1-1 | http://x forky/main amd64 Packages\n\
                     containerd | 1.7.24~ds1-6 | http://x trixie/main amd64 Packages\n\
                     containerd | 1:1.6.20~ds1-1 | http://x bookworm/main amd64 Packages\n";
        let cases = [
            ("2.1.", Some("2.1.9~ds1-1")),
            ("1.6.", Some("1:1.6.20~ds1-1")),
            ("1.", Some("1.7.24~ds1-6")),
            ("3.", None),
        ];
        for (generation, wanted) in cases {
            assert_eq!(newest(table, generation), wanted, "{generation}");
        }
    }
}
