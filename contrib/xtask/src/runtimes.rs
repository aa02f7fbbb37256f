//! Container runtimes side by side: several generations, unpacked from Debian packages and not installed.
//!
//! They run on Debian 12's own C library, except Apptainer, which gets a newer one of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{output, step};
use crate::suites::Suites;
use crate::{mirror, workspace};

/// Raised when anything below changes, so that older directories are made anew.
const RECIPE: u32 = 1;

/// A directory of runtimes.
struct Runtime {
    directory: &'static str,
    /// Packages, each with the beginning of the wanted version.
    packages: &'static [(&'static str, &'static str)],
    /// The program that tells its version, and what it must say.
    version: Option<(&'static str, &'static str)>,
}

const RUNTIMES: [Runtime; 7] = [
    Runtime {
        directory: "containerd-1.6",
        packages: &[("containerd", "1.6.")],
        version: Some(("usr/bin/containerd", " 1.6.")),
    },
    Runtime {
        directory: "containerd-1.7",
        packages: &[("containerd", "1.7.")],
        version: Some(("usr/bin/containerd", " 1.7.")),
    },
    Runtime {
        directory: "containerd-2.1",
        packages: &[("containerd", "2.1.")],
        version: Some(("usr/bin/containerd", " 2.1.")),
    },
    Runtime {
        directory: "docker-28",
        packages: &[("docker.io", "28."), ("docker-cli", "28.")],
        version: Some(("usr/sbin/dockerd", " 28.")),
    },
    Runtime {
        directory: "stargz",
        packages: &[("stargz-snapshotter", "0.")],
        version: Some(("usr/bin/ctr-remote", "")),
    },
    Runtime { directory: "glibc", packages: &[("libc6", "2.")], version: None },
    Runtime {
        directory: "apptainer",
        packages: &[("apptainer", "1.")],
        version: Some(("usr/bin/apptainer", " 1.")),
    },
];

/// Makes `target/runtimes` unless it is there.
pub(crate) fn unpack() -> Result<()> {
    let dir = workspace::runtimes()?;
    let stamp = dir.join("versions.txt");
    let heading = format!("recipe {RECIPE}\n");
    if let Some(versions) = fs::read_to_string(&stamp)
        .ok()
        .and_then(|text| Some(text.strip_prefix(&heading)?.to_owned()))
    {
        step(&format!("Container runtimes: all there in {}", dir.display()));
        eprint!("{versions}");
        return Ok(());
    }
    let mirror = mirror::of_this_machine()?;
    step(&format!("Container runtimes: downloading about 200 MB of Debian packages from {mirror}"));
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    let apt = dir.join("apt");
    let suites = Suites::update(&apt, &mirror)?;
    for runtime in &RUNTIMES {
        for (package, generation) in runtime.packages {
            let file =
                suites.download(package, generation, &apt.join("debs").join(runtime.directory))?;
            output(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&file)
                    .arg(dir.join(runtime.directory)),
            )?;
        }
    }
    prepare_apptainer(&dir)?;
    let mut versions = String::new();
    for runtime in &RUNTIMES {
        if let Some((program, wanted)) = runtime.version {
            versions += &version(&dir.join(runtime.directory).join(program), wanted)?;
        }
    }
    eprint!("{versions}");
    fs::remove_dir_all(&apt)?;
    fs::write(&stamp, heading + &versions)?;
    Ok(())
}

/// What a program says of its version, if it is the wanted generation.
fn version(program: &Path, wanted: &str) -> Result<String> {
    let text = output(Command::new(program).arg("--version"))?;
    let line = text.lines().next().unwrap_or_default();
    ensure!(line.contains(wanted), "{} says {line:?}, wanted is{wanted}x", program.display());
    Ok(format!("    {line}\n"))
}

/// Gives Apptainer its C library and its directories, which it looks for where it would be installed.
fn prepare_apptainer(dir: &Path) -> Result<()> {
    let root = dir.join("apptainer");
    let glibc = dir.join("glibc");
    let libc = find(&glibc, "libc.so.6")?;
    let library = libc.parent().context("a C library without a directory")?;
    let loader = find_by(&glibc, |name| name.starts_with("ld-linux"))?;
    for program in [root.join("usr/bin/apptainer"), find(&root, "starter")?] {
        let mut patchelf = Command::new("patchelf");
        patchelf
            .args(["--force-rpath", "--set-interpreter"])
            .arg(&loader)
            .arg("--set-rpath")
            .arg(library);
        output(patchelf.arg(program))?;
    }
    fs::create_dir_all(root.join("var/lib/apptainer/mnt/session"))?;
    for below in ["usr", "usr/lib"] {
        for name in ["etc", "var"] {
            std::os::unix::fs::symlink(root.join(name), root.join(below).join(name))?;
        }
    }
    // Root of a build machine may lack capabilities that the default would ask for.
    let file = root.join("etc/apptainer/apptainer.conf");
    let config =
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let lines = config.lines().map(|line| match line.split_once('=') {
        Some((key, _)) if key.trim() == "root default capabilities" => {
            "root default capabilities = no\n".to_owned()
        }
        _ => format!("{line}\n"),
    });
    fs::write(&file, lines.collect::<String>())?;
    Ok(())
}

fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    find_by(dir, |candidate| candidate == name)
}

/// The first regular file below `dir` whose name fits.
fn find_by(dir: &Path, fits: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("listing {}", next.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() && fits(&entry.file_name().to_string_lossy()) {
                return Ok(entry.path());
            }
        }
    }
    anyhow::bail!(
        "{} lacks a file that was to be there; remove the directory and run this again",
        dir.display()
    )
}
