//! Another user of the machine, who may write in the repositories' own directories, exchanges whatever the publisher is about
//! to use for links to somebody else's files. The publisher may fail then, but it ends, and those files stay what they are.
//!
//! `HOSTILE_SECONDS` is for how long (10 by default).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::ducc::{Convert, closed_dir_in};
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::registry::Registry;
use e2e::rounds::repeatable_random;
use e2e::{Context, Result, ensure, process, tools};
use rustix::fs::{CWD, FileType, Mode};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

const NEIGHBOUR: u32 = 65534;
const FQRN: &str = "images.example.org";

/// What a publisher uses in a plain directory, and in the storage of a native repository.
const IN_DIRECTORY: [&str; 9] = [
    ".ducc",
    ".layers",
    ".chains",
    ".flat",
    ".metadata",
    ".ducc/lock",
    ".ducc/journal.json",
    ".ducc/staging",
    ".ducc/removed",
];
const IN_STORAGE: [&str; 11] = [
    "data",
    "data/txn",
    "data/00",
    "data/5a",
    "data/ff",
    ".ducc.lock",
    ".ducc-turn.lock",
    ".ducc-gc",
    ".ducc-gc.lock",
    ".cvmfspublished",
    ".cvmfsreflog",
];

fn seconds() -> Result<Duration> {
    let seconds = std::env::var("HOSTILE_SECONDS").unwrap_or_else(|_| "10".to_owned());
    Ok(Duration::from_secs(seconds.parse()?))
}

/// What somebody could change about a file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    path: PathBuf,
    mode: u32,
    uid: u32,
    modified: (i64, i64),
    content: Vec<u8>,
}

/// Everything about the files below a directory.
fn everything(directory: &Path) -> Result<Vec<Known>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = path.symlink_metadata()?;
        if metadata.is_dir() {
            found.extend(everything(&path)?);
        }
        let content = if metadata.is_file() { fs::read(&path)? } else { Vec::new() };
        let (mode, uid) = (metadata.mode(), metadata.uid());
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        found.push(Known { path, mode, uid, modified, content });
    }
    found.sort();
    Ok(found)
}

/// The files of somebody else.
fn make_victim(at: &Path) -> Result<()> {
    fs::create_dir_all(at.join("staging/deep"))?;
    for (name, mode) in
        [("secret", 0o600), ("lock", 0o644), ("journal.json", 0o640), ("staging/deep/x", 0o444)]
    {
        fs::write(at.join(name), format!("[] {name}"))?;
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The neighbour, who knows the names and has time.
struct Neighbour {
    directory: PathBuf,
    names: &'static [&'static str],
    victim: PathBuf,
    random: fastrand::Rng,
    count: u64,
}

impl Neighbour {
    /// Goes on until it is told to stop. Returns how often something was exchanged.
    fn run(mut self, stop: &AtomicBool) -> u64 {
        let mut done = 0;
        while !stop.load(Ordering::Relaxed) {
            done += u64::from(self.exchange());
            // So that the publisher gets somewhere now and then.
            if self.random.u8(..16) == 0 {
                thread::sleep(Duration::from_millis(self.random.u64(..400)));
            }
        }
        // Nothing stays in anybody's way.
        let _ = self.put_back();
        done
    }

    /// Moves something of the publisher's out of the way, puts something else there for a moment, and puts it back.
    fn exchange(&mut self) -> bool {
        let name = self.names[self.random.usize(..self.names.len())];
        let at = self.directory.join(name);
        self.count += 1;
        let aside = self.directory.join(format!("aside-{}", self.count));
        let moved = fs::rename(&at, &aside).is_ok();
        let put = self.put(&at).is_ok();
        thread::sleep(Duration::from_micros(self.random.u64(..3000)));
        if put {
            // What the publisher has put into it, or in its place, is left to it.
            let _ = fs::remove_file(&at).or_else(|_| fs::remove_dir_all(&at));
        }
        if moved {
            let _ = fs::rename(&aside, &at);
        }
        put
    }

    fn put(&mut self, at: &Path) -> std::io::Result<()> {
        match self.random.u8(..6) {
            0 => symlink(&self.victim, at),
            1 => symlink(self.victim.join("secret"), at),
            2 => symlink(self.victim.join("new"), at),
            3 => {
                fs::create_dir(at)?;
                let journal = r#"[{"path": "x", "mode": 511}, {"path": ".flat", "mode": 511}]"#;
                fs::write(at.join("journal.json"), journal)?;
                symlink(&self.victim, at.join("staging"))?;
                symlink(self.victim.join("secret"), at.join("lock"))
            }
            4 => Ok(rustix::fs::mknodat(CWD, at, FileType::Fifo, Mode::RWXU, 0)?),
            // A hard link that was lying about.
            _ => fs::rename(self.directory.join("bait"), at),
        }
    }

    fn put_back(&self) -> std::io::Result<()> {
        for name in self.names {
            let at = self.directory.join(name);
            if at.is_symlink() {
                fs::remove_file(&at)?;
            }
        }
        Ok(())
    }
}

/// Runs a program of this project. It may fail, but not hang.
fn attempt(command: &mut std::process::Command) -> Result<Option<i32>> {
    let begun = Instant::now();
    let output = process::run_any(command, Duration::from_secs(240))?;
    ensure!(begun.elapsed() < Duration::from_secs(200), "it hung: {}", output.both());
    Ok(output.status.code())
}

#[test]
fn exchanges_names_beneath_the_publisher() -> Result<()> {
    tools::require_root()?;
    let random = repeatable_random()?;
    let place = tempfile::TempDir::new_in("/dev/shm")?;
    let private = closed_dir_in("/dev/shm")?;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
    let at = |name: &str| place.path().join(name);

    let registry = Registry::start_in_memory()?;
    let images: Vec<String> = (0..4)
        .map(|number| {
            let layer = Layer::build(
                &private.path().join("blobs"),
                Compression::Gzip,
                &[
                    Entry::dir("closed").mode(0o555),
                    Entry::file("closed/f", format!("{number}")),
                    Entry::dir("open").mode(0o1777),
                    Entry::symlink("open/link", "/etc/passwd"),
                    Entry::whiteout("open/gone"),
                    Entry::noise("noise", 200_000, number),
                ],
            )?;
            let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?;
            let name = format!("org/tool:{number}");
            push(&registry, &name, &image)?;
            Ok(registry.source(&name))
        })
        .collect::<Result<_>>()?;

    make_victim(&at("victim"))?;
    let (directory, storage) = (at("directory"), at("storage"));
    fs::create_dir(&directory)?;
    let ducc = || -> Result<std::process::Command> {
        let mut command = std::process::Command::new(tools::ducc()?);
        for (variable, name) in
            [("DUCC_KEYS", "keys"), ("DUCC_CACHE", "cache"), ("DUCC_STATE", "state")]
        {
            command.env(variable, private.path().join(name));
        }
        Ok(command)
    };
    let url = format!("file://{}", storage.display());
    process::run(ducc()?.args(["repository", "create", FQRN, "--storage", &url]))?;
    let native = format!("cvmfs+{url}");
    for path in ["data", "data/txn", "data/00", "data/5a", "data/ff", ""] {
        chown(storage.join(path), Some(NEIGHBOUR), Some(NEIGHBOUR))?;
    }
    chown(&directory, Some(NEIGHBOUR), Some(NEIGHBOUR))?;
    for own in [&directory, &storage] {
        fs::hard_link(at("victim").join("secret"), own.join("bait"))?;
    }
    let before = everything(&at("victim"))?;

    let stop = AtomicBool::new(false);
    let (runs, exchanged) = thread::scope(|scope| -> Result<_> {
        let neighbours: Vec<_> = [(&directory, &IN_DIRECTORY[..]), (&storage, &IN_STORAGE[..])]
            .into_iter()
            .map(|(directory, names)| {
                let neighbour = Neighbour {
                    directory: directory.clone(),
                    names,
                    victim: at("victim"),
                    random: fastrand::Rng::with_seed(random.clone().u64(..)),
                    count: 0,
                };
                let stop = &stop;
                scope.spawn(move || {
                    let (uid, gid) = (Uid::from_raw(NEIGHBOUR), Gid::from_raw(NEIGHBOUR));
                    set_thread_groups(&[]).expect("root may");
                    set_thread_res_gid(gid, gid, gid).expect("root may");
                    set_thread_res_uid(uid, uid, uid).expect("root may");
                    neighbour.run(stop)
                })
            })
            .collect();
        let runs = publish(&images, &directory, &native, &ducc);
        stop.store(true, Ordering::Relaxed);
        let exchanged: u64 = neighbours.into_iter().map(|it| it.join().expect("no panic")).sum();
        Ok((runs?, exchanged))
    })?;
    let well = runs.iter().filter(|status| **status == Some(0)).count();
    println!("{well} of {} runs ended well beside {exchanged} exchanges", runs.len());
    ensure!(well > 0 && exchanged > 0, "{runs:?}, {exchanged} exchanges");
    ensure!(everything(&at("victim"))? == before, "somebody else's files have changed");
    ensure!(!at("victim").join("new").exists());

    // Without the neighbour it works, in another directory.
    let quiet = closed_dir_in("/dev/shm")?;
    let image = images.first().context("an image")?;
    Convert::new(image, quiet.path()).run()?;
    Ok(())
}

/// Publishes, removes and collects for a while, into both. Gives the exit statuses.
fn publish(
    images: &[String],
    directory: &Path,
    native: &str,
    ducc: &dyn Fn() -> Result<std::process::Command>,
) -> Result<Vec<Option<i32>>> {
    let (begun, limit) = (Instant::now(), seconds()?);
    let mut runs = Vec::new();
    let mut run = |arguments: &[&str]| -> Result<()> {
        runs.push(attempt(ducc()?.args(arguments))?);
        Ok(())
    };
    for image in images.iter().cycle() {
        if begun.elapsed() >= limit {
            break;
        }
        let directory = directory.display().to_string();
        for locator in [&*directory, native] {
            run(&["convert-single-image", "--attempts", "1", image, locator])?;
            run(&["delete-image", image.trim_start_matches("http://"), locator])?;
        }
        run(&["repository", "gc", native, "--grace", "0"])?;
    }
    Ok(runs)
}
