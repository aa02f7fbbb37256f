//! Debian packages and their dependencies, downloaded by an apt with a state of its own: the machine's own packages are
//! neither used nor changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::run;
use crate::tools;

/// The packages of the image; apt adds their dependencies.
const WANTED: [&str; 12] = [
    "base-files",
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "iputils-ping",
    "libc-bin",
    "libcap2-bin",
    "mount",
    "python3",
    "python3-numpy",
    "sed",
];

/// A downloaded package.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: String,
    /// Debian's version, with epoch and revision.
    pub(super) version: String,
    pub(super) file: PathBuf,
}

impl Package {
    /// The version without epoch and Debian's revision.
    pub(super) fn upstream_version(&self) -> &str {
        let version = self.version.split_once(':').map_or(self.version.as_str(), |(_, rest)| rest);
        version.rsplit_once('-').map_or(version, |(upstream, _)| upstream)
    }
}

/// Downloads everything into `dir`, sorted by name.
pub(super) fn download(dir: &Path) -> Result<Vec<Package>> {
    for sub in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    let status = dir.join("status");
    fs::write(&status, "")?;
    let apt = |args: &[&str]| -> Result<()> {
        let mut command = Command::new(tools::host("apt-get")?);
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-y"]);
        for (name, value) in [
            ("Dir::State::lists", dir.join("lists").as_path()),
            ("Dir::State::status", &status),
            ("Dir::Cache", &dir.join("cache")),
        ] {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        }
        // A mirror that is no longer updated has expired metadata. The state is private, so no lock is needed.
        for option in [
            "Acquire::Check-Valid-Until=false",
            "Acquire::Languages=none",
            "APT::Install-Recommends=false",
            "APT::Sandbox::User=root",
            "Debug::NoLocking=true",
        ] {
            command.args(["-o", option]);
        }
        run(command.args(args)).map(|_| ())
    };
    apt(&["update"])?;
    apt(&[["install", "--download-only"].as_slice(), &WANTED].concat())?;
    let mut packages = Vec::new();
    for entry in fs::read_dir(dir.join("cache/archives"))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            let fields = run(Command::new(tools::host("dpkg-deb")?)
                .args(["-W", "--showformat=${Package} ${Version}"])
                .arg(&file))?;
            let (name, version) = fields
                .stdout
                .split_once(' ')
                .with_context(|| format!("{} has no name", file.display()))?;
            packages.push(Package {
                name: name.to_owned(),
                version: version.trim().to_owned(),
                file,
            });
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}
