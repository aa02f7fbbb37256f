//! Container runtimes side by side: several generations, unpacked from Debian packages and not installed.
//!
//! They run on Debian 12's own C library, except Apptainer, which gets a newer one of its own. What is unpacked stays,
//! also when no suite has it any more.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::output;
use crate::generations::{Runtime, Wanted};
use crate::progress::Progress;
use crate::suites::{SUITES, Suites};
use crate::{mirror, workspace};

const CONTAINERD: Runtime = Runtime {
    packages: &["containerd"],
    name: "containerd",
    numbers: 2,
    wanted: Wanted::From(&[2]),
    must: true,
    program: "usr/bin/containerd",
};

const APPTAINER: Runtime = Runtime {
    packages: &["apptainer"],
    name: "apptainer",
    numbers: 0,
    wanted: Wanted::From(&[1]),
    must: true,
    program: "usr/bin/apptainer",
};

/// What the tests drive.
pub(crate) const ALL: [Runtime; 6] = [
    // These two go when Debian 12 and 13 do.
    Runtime { wanted: Wanted::Only(&[1, 6]), must: false, ..CONTAINERD },
    Runtime { wanted: Wanted::Only(&[1, 7]), must: false, ..CONTAINERD },
    CONTAINERD,
    Runtime {
        packages: &["docker.io", "docker-cli"],
        name: "docker",
        numbers: 1,
        wanted: Wanted::From(&[28]),
        must: true,
        program: "usr/sbin/dockerd",
    },
    Runtime {
        packages: &["stargz-snapshotter"],
        name: "stargz",
        numbers: 0,
        wanted: Wanted::From(&[0]),
        must: true,
        program: "usr/bin/ctr-remote",
    },
    APPTAINER,
];

/// What the demo drives.
pub(crate) const DEMO: [Runtime; 2] = [CONTAINERD, APPTAINER];

/// How often the size of what is downloaded is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Unpacks what is not there of `runtimes` below `target/runtimes`; says what there is then.
pub(crate) fn unpack(runtimes: &[Runtime], progress: &Progress) -> Result<()> {
    progress.set("container runtimes".to_owned());
    let dir = workspace::runtimes()?;
    fs::create_dir_all(&dir)?;
    let mut there: Vec<(Runtime, Option<String>)> = Vec::new();
    for runtime in runtimes {
        there.push((*runtime, unpacked(runtime, &dir)?));
    }
    if there.iter().any(|(_, version)| version.is_none()) {
        download(&dir, &mut there, progress)?;
    }
    progress.say(format!("    Container runtimes in {}:", dir.display()));
    let mut missing = Vec::new();
    for (runtime, version) in &there {
        match version {
            Some(version) => progress.say(format!("      {version}")),
            None if runtime.must => missing.push(runtime.describe()),
            None => progress.say(format!("      no {}: no suite has it", runtime.describe())),
        }
    }
    if !missing.is_empty() {
        bail!(
            "Debian's suites {} have nothing that runs here as {}",
            SUITES.join(", "),
            missing.join(", ")
        );
    }
    Ok(())
}

/// What the newest that is unpacked and will do says of its version.
fn unpacked(runtime: &Runtime, dir: &Path) -> Result<Option<String>> {
    let names: Vec<String> = fs::read_dir(dir)
        .with_context(|| format!("listing {}", dir.display()))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    let found = runtime.unpacked(&names);
    Ok(found.iter().find_map(|name| version(&dir.join(name).join(runtime.program)).ok()))
}

/// The first line of what a program says of its version.
fn version(program: &Path) -> Result<String> {
    let text = output(Command::new(program).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Downloads and unpacks what is not `there`.
fn download(
    dir: &Path,
    there: &mut [(Runtime, Option<String>)],
    progress: &Progress,
) -> Result<()> {
    let mirror = mirror::of_this_machine()?;
    let apt = dir.join("apt");
    // The newest of everything is in the last suite; often that is all that is wanted.
    for suites in [&SUITES[SUITES.len() - 1..], &SUITES] {
        let only_newest = |runtime: &Runtime| matches!(runtime.wanted, Wanted::From(_));
        let missing: Vec<&mut (Runtime, Option<String>)> =
            there.iter_mut().filter(|(_, version)| version.is_none()).collect();
        if missing.is_empty() {
            break;
        }
        if suites.len() < SUITES.len() && !missing.iter().all(|(runtime, _)| only_newest(runtime)) {
            continue;
        }
        progress.set(format!("package lists of Debian {}", suites.join(", ")));
        let suites = Suites::update(&apt, &mirror, suites)?;
        for (runtime, version) in missing {
            *version = fetch(runtime, dir, &suites, progress)?;
        }
    }
    fs::remove_dir_all(&apt)?;
    Ok(())
}

/// Unpacks the newest version of the suites that runs here; what it says of its version.
fn fetch(
    runtime: &Runtime,
    dir: &Path,
    suites: &Suites,
    progress: &Progress,
) -> Result<Option<String>> {
    for candidate in runtime.candidates(&suites.versions(runtime.packages[0])?) {
        let place = fresh(dir.join(runtime.directory(candidate)))?;
        for package in runtime.packages {
            extract(package, candidate, &place, suites, progress)?;
        }
        if runtime.name == APPTAINER.name {
            let glibc = fresh(dir.join("glibc"))?;
            let versions = suites.versions("libc6")?;
            let newest = versions.first().context("no suite has a C library")?;
            extract("libc6", newest, &glibc, suites, progress)?;
            prepare_apptainer(&place, &glibc)?;
        }
        match version(&place.join(runtime.program)) {
            Ok(version) => return Ok(Some(version)),
            // The newest may need more than this machine has.
            Err(error) => {
                progress
                    .say(format!("    {} {candidate} does not run here: {error}", runtime.name));
            }
        }
        fs::remove_dir_all(&place)?;
    }
    Ok(None)
}

/// The path, with nothing there: what is there was begun by a run that did not get to its end.
fn fresh(dir: PathBuf) -> Result<PathBuf> {
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(dir),
    }
}

/// Downloads a package and extracts it into `place`.
fn extract(
    package: &str,
    version: &str,
    place: &Path,
    suites: &Suites,
    progress: &Progress,
) -> Result<()> {
    let size = suites.size(package, version)?;
    let file = with_meter(
        &suites.downloads(),
        size,
        |text| progress.set(format!("{package} {version}, {text}")),
        || suites.download(package, version),
    )?;
    output(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(place)).map(drop)
}

/// Does `work`, which fills the directory `dir` with `size` bytes; says meanwhile how many are there.
fn with_meter<T>(
    dir: &Path,
    size: u64,
    say: impl Fn(String) + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let files = fs::read_dir(dir).into_iter().flatten().flatten();
                let bytes: u64 = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
                say(format!("{} of {} MB", bytes / 1_000_000, size.div_ceil(1_000_000)));
                thread::sleep(LOOK);
            }
        });
        let result = work();
        ended.store(true, Ordering::Relaxed);
        result
    })
}

/// Gives Apptainer its C library and its directories, which it looks for where it would be installed.
fn prepare_apptainer(root: &Path, glibc: &Path) -> Result<()> {
    let libc = find(glibc, "libc.so.6")?;
    let library = libc.parent().context("a C library without a directory")?;
    let loader = find_by(glibc, |name| name.starts_with("ld-linux"))?;
    for program in [root.join("usr/bin/apptainer"), find(root, "starter")?] {
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
