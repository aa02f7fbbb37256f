//! What a round reads its wishes from, or writes to, fails: nothing is removed because of it, nothing is half there, and the
//! next round after the fault heals without help.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::native::Native;
use e2e::process::{Output, run};
use e2e::registry::Registry;
use e2e::rounds::{Publisher, in_days};
use e2e::small_disk::SmallDisk;
use e2e::target::Target;
use e2e::{Context, Result, bail, ensure};
use faulty_s3::Fault as S3Fault;
use tempfile::TempDir;

/// An image with a file of so many bytes in each of its layers.
fn push_image(
    registry: &Registry,
    work: &Path,
    name: &str,
    sizes: &[u64],
    version: u64,
) -> Result<()> {
    let layer = |(at, size): (usize, &u64)| {
        let seed = version * 1000 + (name.len() * 10 + at) as u64;
        let entries = [
            Entry::file("version", version.to_string()),
            Entry::noise(format!("noise{at}"), *size, seed),
        ];
        Layer::build(work, Compression::Gzip, &entries)
    };
    let layers = sizes.iter().enumerate().map(layer).collect::<Result<Vec<_>>>()?;
    push(registry, name, &Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?)
}

fn ensure_status(output: &Output, status: i32, words: &[&str]) -> Result<()> {
    ensure!(output.status.code() == Some(status), "{}\n{}", output.status, output.both());
    for word in words {
        ensure!(output.stderr.contains(word), "nothing of {word:?}: {}", output.both());
    }
    Ok(())
}

/// A git repository with a wish list on its branch `main`.
struct Remote {
    dir: TempDir,
}

impl Remote {
    fn new(list: &str) -> Result<Self> {
        let remote = Self { dir: TempDir::new()? };
        fs::create_dir(remote.path())?;
        remote.git(&["init", "--quiet", "--initial-branch=main", "."])?;
        remote.commit(list)?;
        Ok(remote)
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("lists")
    }

    /// Its name for `ducc`.
    fn list(&self) -> String {
        format!("git+file://{}//list.yaml@main", self.path().display())
    }

    fn git(&self, arguments: &[&str]) -> Result<()> {
        let mut git = Command::new("git");
        git.current_dir(self.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(["-c", "commit.gpgsign=false"])
            .args(arguments);
        run(&mut git).map(drop)
    }

    fn commit(&self, list: &str) -> Result<()> {
        fs::write(self.path().join("list.yaml"), list)?;
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message=list"])
    }

    /// Replaces the branch by another one, which has nothing in common with it.
    fn force(&self, list: &str) -> Result<()> {
        self.git(&["checkout", "--quiet", "--orphan", "other"])?;
        self.commit(list)?;
        self.git(&["branch", "--quiet", "--move", "--force", "main"])
    }
}

fn list_of(target: &Target, images: &[String]) -> String {
    let mut text = format!("version: 1\ncvmfs_repo: {:?}\ninput:\n", target.locator());
    for image in images {
        text += &format!("  - '{image}'\n");
    }
    text
}

/// A remote that is gone, then there again with another history, then broken, then mended.
#[test]
fn a_wish_list_in_git() -> Result<()> {
    let (registry, work, target) =
        (Registry::start_in_memory()?, TempDir::new()?, Target::directory()?);
    for name in ["org/a:1", "org/b:1"] {
        push_image(&registry, work.path(), name, &[1000], 1)?;
    }
    let (a, b) = (registry.source("org/a:1"), registry.source("org/b:1"));
    let remote = Remote::new(&list_of(&target, &[a.clone(), b.clone()]))?;
    let publisher = target.publisher(work.path());
    let round = |publisher: &Publisher| publisher.convert_lists(&[&remote.list()], &[]);
    let later = in_days(31)?;
    let ensure_images = |names: &[&str]| -> Result<()> {
        let collected = publisher.on_repository("gc", &["--now", &later])?;
        ensure_status(&collected, 0, &[])?;
        for name in ["org/a:1", "org/b:1"] {
            let there = target.read(&registry.reference(name), "version")?.is_some();
            ensure!(there == names.contains(&name), "{name}: {there}");
        }
        ensure!(publisher.verify()? == names.len());
        Ok(())
    };
    ensure_status(&round(&publisher)?, 0, &[])?;
    ensure_images(&["org/a:1", "org/b:1"])?;

    let hidden = remote.dir.path().join("hidden");
    fs::rename(remote.path(), &hidden)?;
    let words = ["git+file://", "its last good version is used"];
    ensure_status(&round(&publisher)?, 3, &words).context("the remote is gone")?;
    ensure_images(&["org/a:1", "org/b:1"])?;
    // Whoever has no last good version knows of no wishes, which is not the same as wishing for nothing.
    let stranger = tempfile::tempdir()?;
    let forgetful = target.publisher(stranger.path());
    ensure_status(&round(&forgetful)?, 102, &["git+file://"])?;
    ensure_images(&["org/a:1", "org/b:1"])?;

    fs::rename(&hidden, remote.path())?;
    remote.force(&list_of(&target, std::slice::from_ref(&b)))?;
    ensure_status(&round(&publisher)?, 0, &[]).context("another history")?;
    ensure_images(&["org/b:1"])?;

    remote.commit("version: 1\ninput: [\n")?;
    ensure_status(
        &round(&publisher)?,
        3,
        &["list.yaml@main:2:8: ", "its last good version is used"],
    )
    .context("a broken list")?;
    ensure_images(&["org/b:1"])?;
    remote.commit(&list_of(&target, &[a, b]))?;
    ensure_status(&round(&publisher)?, 0, &[]).context("a mended list")?;
    ensure_images(&["org/a:1", "org/b:1"])
}

/// Images for which there is room, and others for which there is not. The layer of these that is fetched first has room, but
/// beside it there is none for another image.
struct FullPlace {
    registry: Registry,
    work: TempDir,
}

const SMALL: [&str; 3] = ["org/small:1", "org/little:1", "org/tiny:1"];
const LARGE: [&str; 3] = ["org/large:1", "org/great:1", "org/big:1"];

impl FullPlace {
    fn new() -> Result<Self> {
        let (registry, work) = (Registry::start_in_memory()?, TempDir::new_in("/dev/shm")?);
        for name in LARGE {
            push_image(&registry, work.path(), name, &[5 << 20, 12 << 20, 5 << 20], 1)?;
        }
        for name in SMALL {
            push_image(&registry, work.path(), name, &[1 << 20], 1)?;
        }
        Ok(Self { registry, work })
    }

    fn wish(&self, publisher: &Publisher) -> Result<()> {
        let images = LARGE.iter().zip(&SMALL).flat_map(|(large, small)| [large, small]);
        publisher.wish(images.map(|name| self.registry.source(name)))
    }

    /// `read` tells what the file `version` of an image says, if the image is there. `keeps` says whether the place keeps what
    /// was stored for an image that failed, so that there may be no room for any other.
    fn check(
        &self,
        publisher: &Publisher,
        read: &dyn Fn(&str) -> Result<Option<String>>,
        keeps: bool,
        make_room: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        self.wish(publisher)?;
        let ensure_images = |names: &[&str], others: &[&str]| -> Result<()> {
            let mut number = names.len();
            for name in SMALL.iter().chain(&LARGE) {
                let there = read(&self.registry.reference(name))?.is_some();
                if others.contains(name) {
                    number += usize::from(there);
                } else {
                    ensure!(there == names.contains(name), "{name}: {there}");
                }
            }
            ensure!(publisher.verify()? == number);
            Ok(())
        };
        let (names, others) = if keeps { (&[][..], &SMALL[..]) } else { (&SMALL[..], &[][..]) };
        // One after the other, so that there is no luck in who gets the room.
        let round = publisher.convert(&["--jobs", "1", "--max-concurrent-downloads", "1"])?;
        ensure_status(&round, 3, &["No space left on device"])?;
        for name in LARGE {
            let failed = format!("ducc: failed: {}: ", self.registry.reference(name));
            ensure!(round.stderr.contains(&failed), "nothing of {name}: {}", round.both());
        }
        let failed = round.stderr.matches("ducc: failed: ").count();
        ensure!(failed == LARGE.len() || keeps, "{}", round.both());
        ensure_images(names, others)?;
        ensure_status(&publisher.convert(&[])?, 3, &["No space left on device"])?;
        ensure_images(names, others)?;
        make_room()?;
        let round = publisher.convert(&[])?;
        ensure_status(&round, 0, &[])?;
        ensure_images(&[SMALL, LARGE].concat(), &[])
    }
}

#[test]
fn a_directory_on_a_full_disk() -> Result<()> {
    let (scene, disk) = (FullPlace::new()?, SmallDisk::new(8 << 10)?);
    let repository = disk.path().join("repository");
    fs::create_dir(&repository)?;
    let publisher = Publisher::new(scene.work.path(), repository.display().to_string());
    let read = |name: &str| read_version(&repository, name);
    scene.check(&publisher, &read, false, &|| disk.resize(128 << 10))?;
    ensure!(!repository.join(".ducc").exists(), "the staging area is still there");
    Ok(())
}

fn read_version(repository: &Path, name: &str) -> Result<Option<String>> {
    match fs::read_to_string(repository.join(name).join("version")) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn a_native_repository_on_a_full_disk() -> Result<()> {
    let (scene, disk) = (FullPlace::new()?, SmallDisk::new(8 << 10)?);
    let native = Native::create_in(&disk.path())?;
    let publisher = Publisher::new(scene.work.path(), native.locator())
        .env("DUCC_KEYS", native.keys())
        .env("DUCC_CACHE", scene.work.path().join("cache"));
    let read = |name: &str| e2e::native::read_in(&native.snapshot()?, name, "version");
    // Objects stay until they are collected: the next run uses them.
    scene.check(&publisher, &read, true, &|| disk.resize(128 << 10))?;
    native.check()
}

/// The place for temporary files is full: a native repository is prepared there.
#[test]
fn no_room_for_temporary_files() -> Result<()> {
    let (registry, work) = (Registry::start_in_memory()?, TempDir::new_in("/dev/shm")?);
    let (disk, target) = (SmallDisk::new(64)?, Target::native()?);
    let publisher = target.publisher(work.path()).env("DUCC_TMP_DIR", disk.path());
    let name = "org/many:1";
    let entries: Vec<_> =
        (0..3000).map(|n| Entry::file(format!("file{n}"), n.to_string())).collect();
    let layers = [Layer::build(work.path(), Compression::Gzip, &entries)?];
    let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
    push(&registry, name, &image)?;
    publisher.wish([registry.source(name)])?;
    let failed = publisher.convert(&[])?;
    ensure!(!failed.status.success(), "{}", failed.both());
    ensure!(failed.stderr.contains("the file system is full"), "{}", failed.both());
    ensure!(target.read(&registry.reference(name), "file1")?.is_none());
    disk.resize(64 << 10)?;
    ensure_status(&publisher.convert(&[])?, 0, &[])?;
    ensure!(publisher.verify()? == 1);
    ensure!(fs::read_dir(disk.path())?.next().is_none(), "temporary files are left");
    target.check()
}

/// What is remembered between rounds only saves work: a round goes on without, and says so.
#[test]
fn no_room_for_what_is_remembered() -> Result<()> {
    let (registry, work) = (Registry::start_in_memory()?, TempDir::new_in("/dev/shm")?);
    let (disk, target) = (SmallDisk::new(4)?, Target::directory()?);
    let state = disk.path().join("state");
    let publisher = target.publisher(work.path()).env("DUCC_STATE", &state);
    push_image(&registry, work.path(), "org/good:1", &[1000], 1)?;
    publisher.wish([registry.source("org/good:1"), registry.source("org/none:1")])?;
    for found in ["converted", "unchanged"] {
        let round = publisher.round(&[])?;
        ensure!(round.status == Some(3), "{}", round.output.both());
        ensure!(round.count("failed") == 1, "{}", round.report);
        let number = round.count(found);
        ensure!(number == 1, "{found}: {number}, {}", round.output.both());
        let told = |text: &serde_json::Value| text.to_string().contains("only saves work");
        let errors = round.report["errors"].as_array().context("no errors")?;
        ensure!(errors.iter().any(told), "{}", round.output.both());
    }
    ensure!(publisher.verify()? == 1);
    disk.resize(64 << 10)?;
    publisher.wish([registry.source("org/good:1")])?;
    ensure_status(&publisher.convert(&[])?, 0, &[])?;
    target.check()
}

/// A target that can only be read: an unchanged round is a good round; a changed one fails and says why.
#[test]
fn a_target_that_is_read_only() -> Result<()> {
    let (registry, work) = (Registry::start_in_memory()?, TempDir::new_in("/dev/shm")?);
    let name = "org/a:1";
    push_image(&registry, work.path(), name, &[1000], 1)?;
    for native in [false, true] {
        let disk = SmallDisk::new(64 << 10)?;
        let dir = TempDir::new_in("/dev/shm")?;
        let (publisher, native) = if native {
            let native = Native::create_in(&disk.path())?;
            let publisher = Publisher::new(dir.path(), native.locator())
                .env("DUCC_KEYS", native.keys())
                .env("DUCC_CACHE", dir.path().join("cache"));
            (publisher, Some(native))
        } else {
            (Publisher::new(dir.path(), disk.path().display().to_string()), None)
        };
        let version = || match &native {
            Some(native) => {
                e2e::native::read_in(&native.snapshot()?, &registry.reference(name), "version")
            }
            None => read_version(&disk.path(), &registry.reference(name)),
        };
        publisher.wish([registry.source(name)])?;
        ensure_status(&publisher.convert(&[])?, 0, &[])?;
        let before = version()?;
        disk.set_read_only(true)?;
        ensure_status(&publisher.convert(&[])?, 0, &[]).context("nothing is to be done")?;
        push_image(&registry, work.path(), name, &[1000], if native.is_some() { 3 } else { 2 })?;
        let words = ["failed: ", "ead-only file system"];
        ensure_status(&publisher.convert(&[])?, 3, &words).context("a tag has moved")?;
        publisher.wish::<&str>([])?;
        ensure_status(&publisher.convert(&[])?, 1, &["ead-only file system"])
            .context("for the books")?;
        ensure!(version()? == before && publisher.verify()? == 1);
        let collected = publisher.on_repository("gc", &["--grace-period", "0"])?;
        ensure!(version()? == before, "{}", collected.both());
        disk.set_read_only(false)?;
        publisher.wish([registry.source(name)])?;
        ensure_status(&publisher.convert(&[])?, 0, &[]).context("after the fault")?;
        ensure!(version()? != before && publisher.verify()? == 1);
    }
    Ok(())
}

/// A bucket that takes nothing, and one that does not answer: what is published stays, and the next round after that heals.
#[test]
fn a_bucket_that_fails() -> Result<()> {
    let (registry, work) = (Registry::start_in_memory()?, TempDir::new_in("/dev/shm")?);
    let target = Target::Native(Native::create_in_bucket("timeout=1&retries=1")?);
    let publisher = target.publisher(work.path());
    let Target::Native(native) = &target else { bail!("it is a native one") };
    let server = native.server().context("it is in a bucket")?;
    let name = "org/a:1";
    let version = || target.read(&registry.reference(name), "version");
    let publish = |version| push_image(&registry, work.path(), name, &[1000], version);
    publish(1)?;
    publisher.wish([registry.source(name)])?;
    ensure_status(&publisher.convert(&[])?, 0, &[])?;

    server.fail(|request| (request.method == "PUT").then_some(S3Fault::Status(500)));
    ensure_status(&publisher.convert(&[])?, 0, &[]).context("nothing is to be done")?;
    publish(2)?;
    ensure_status(&publisher.convert(&[])?, 3, &["failed: ", "s3://"])
        .context("a tag has moved")?;
    publisher.wish::<&str>([])?;
    ensure_status(&publisher.convert(&[])?, 1, &["s3://"]).context("for the books")?;
    let collected = publisher.on_repository("gc", &["--grace-period", "0"])?;
    ensure!(version()?.as_deref() == Some("1"), "{}", collected.both());
    ensure!(publisher.verify()? == 1);

    server.fail(|_| Some(S3Fault::HangUp));
    publisher.wish([registry.source(name)])?;
    ensure_status(&publisher.convert(&[])?, 1, &["s3://"]).context("nobody answers")?;
    for command in ["verify", "gc"] {
        let output = publisher.on_repository(command, &[])?;
        ensure_status(&output, 1, &["s3://"]).context(command)?;
    }
    server.heal();
    ensure!(version()?.as_deref() == Some("1"));
    ensure_status(&publisher.convert(&[])?, 0, &[]).context("after the fault")?;
    ensure!(version()?.as_deref() == Some("2") && publisher.verify()? == 1);
    target.check()
}
