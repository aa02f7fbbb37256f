//! Several wish lists in one round for one repository: what they want together is there, and a list that cannot be read
//! takes nothing away.

use std::fs;
use std::path::Path;

use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::process::{COMMAND_TIMEOUT, Output, run_any};
use e2e::registry::Registry;
use e2e::rounds::{Publisher, in_days};
use e2e::target::Target;
use e2e::{Result, ensure};
use tempfile::TempDir;

/// An image that two lists wish for.
const SHARED: &str = "org/shared:1";
/// One of the third list.
const KEPT: &str = "org/kept:1";

struct Scene {
    registry: Registry,
    target: Target,
    work: TempDir,
    publisher: Publisher,
}

impl Scene {
    fn new(target: Target) -> Result<Self> {
        let (registry, work) = (Registry::start_in_memory()?, TempDir::new_in("/dev/shm")?);
        let publisher = target.publisher(work.path()).env("DUCC_OUTPUT_REGISTRY_PASS", "password");
        let scene = Self { registry, target, work, publisher };
        for name in [SHARED, KEPT] {
            scene.push(name, 1)?;
        }
        Ok(scene)
    }

    fn push(&self, name: &str, version: u32) -> Result<()> {
        let layer = [Entry::file("version", version.to_string()), Entry::file("name", name)];
        let layer = Layer::build(self.work.path(), Compression::Gzip, &layer)?;
        push(&self.registry, name, &Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?)
    }

    /// Writes a list of version 2 with one image, or none, and more lines for it.
    fn list(&self, file: &str, image: Option<&str>, more: &[&str]) -> Result<()> {
        let mut text = format!("version: 2\ncvmfs_repo: {:?}\ninput:", self.target.locator());
        match image {
            None => text += " []",
            Some(name) => text += &format!("\n  - image: {}", self.registry.source(name)),
        }
        for line in more {
            text += &format!("\n    {}", line.replace("REGISTRY", &self.registry.url()));
        }
        Ok(fs::write(self.work.path().join(file), text + "\n")?)
    }

    /// A round over lists, with what is remembered in a directory.
    fn convert(&self, state: &str, lists: &[&str]) -> Result<Output> {
        let mut command = self.publisher.ducc()?;
        command.arg("convert").current_dir(self.work.path());
        command.args(lists).arg("--state").arg(self.work.path().join(state));
        run_any(&mut command, COMMAND_TIMEOUT)
    }

    /// Collects garbage, and looks which versions of the images are there afterwards.
    fn ensure_versions(&self, expected: [Option<u32>; 2]) -> Result<()> {
        let collected = self.publisher.on_repository("gc", &["--now", &in_days(31)?])?;
        ensure_status(&collected, 0, &[])?;
        for (name, expected) in [SHARED, KEPT].iter().zip(expected) {
            let found = self.target.read(&self.registry.reference(name), "version")?;
            let expected = expected.map(|version| version.to_string());
            ensure!(found == expected, "{name}: {found:?}, not {expected:?}");
        }
        ensure!(self.publisher.verify()? == expected.iter().flatten().count());
        Ok(())
    }
}

fn ensure_status(output: &Output, status: i32, words: &[&str]) -> Result<()> {
    ensure!(output.status.code() == Some(status), "{}\n{}", output.status, output.both());
    for word in words {
        ensure!(output.stderr.contains(word), "nothing of {word:?}: {}", output.both());
    }
    Ok(())
}

const LISTS: [&str; 3] = ["plain.yaml", "thin.yaml", "kept.yaml"];

fn check(target: Target) -> Result<()> {
    let scene = Scene::new(target)?;
    scene.list("plain.yaml", Some(SHARED), &["flat: false", "priority: 3"])?;
    scene.list("thin.yaml", Some(SHARED), &["thin: 'REGISTRY/thin/$(image)'"])?;
    scene.list("kept.yaml", Some(KEPT), &[])?;
    // The first one decides; but who wants a flat root or a thin image gets it, in one conversion.
    let (output, traffic) = scene.registry.watch(|| scene.convert("state", &LISTS))?;
    ensure_status(&output, 0, &[])?;
    let thin = |path: &str| path.starts_with("/v2/thin/org/shared/manifests/1");
    let pushed = traffic.requests.iter().filter(|it| it.method == "PUT" && thin(&it.path)).count();
    let fetched = traffic.blobs().len();
    ensure!((pushed, fetched) == (1, 4), "{pushed} pushed, {fetched} fetched");
    scene.ensure_versions([Some(1), Some(1)])?;

    // Another thin image for the same: both places are named, and the rest is done.
    scene.list("other.yaml", Some(SHARED), &["thin: 'REGISTRY/other/$(image)'"])?;
    let output = scene.convert("state", &["thin.yaml", "other.yaml"])?;
    ensure_status(&output, 3, &["other.yaml:4", "thin.yaml:4", "comes first"])?;
    scene.list("other.yaml", None, &[])?;
    ensure_status(&scene.convert("state", &["other.yaml"])?, 0, &[])?;

    // A list that cannot be read: by who has read it before, and by who has not.
    let (good, bad) = (scene.work.path().join("kept.yaml"), scene.work.path().join("away.yaml"));
    let mut version = 1;
    let mut round = |state: &str, status: i32, words: &[&str]| -> Result<()> {
        version += 1;
        scene.push(SHARED, version)?;
        ensure_status(&scene.convert(state, &LISTS)?, status, words)?;
        // The other lists are followed, and nothing of this one is removed.
        scene.ensure_versions([Some(version), Some(1)])
    };
    fs::rename(&good, &bad)?;
    round("state", 3, &["kept.yaml", "its last good version is used"])?;
    round("fresh", 102, &["cannot read the wish list kept.yaml"])?;
    fs::write(&good, "version: 2\ninput: [\n")?;
    round("state", 3, &["kept.yaml:2", "its last good version is used"])?;
    round("fresh", 103, &["kept.yaml:2"])?;
    // Also if the round is over the other lists alone.
    ensure_status(&scene.convert("state", &LISTS[..2])?, 0, &[])?;
    scene.ensure_versions([Some(version), Some(1)])?;
    fs::rename(&bad, &good)?;
    ensure_status(&scene.convert("fresh", &LISTS)?, 0, &[])?;

    // What one of two lists wishes for no longer stays; what is in none goes.
    scene.list("thin.yaml", None, &[])?;
    scene.list("kept.yaml", None, &[])?;
    ensure_status(&scene.convert("state", &LISTS)?, 0, &[])?;
    scene.ensure_versions([Some(version), None])?;
    scene.list("plain.yaml", None, &[])?;
    ensure_status(&scene.convert("state", &LISTS)?, 0, &[])?;
    scene.ensure_versions([None, None])?;
    scene.target.check()
}

#[test]
fn on_a_directory() -> Result<()> {
    check(Target::directory_in(Path::new("/dev/shm"))?)
}

#[test]
fn on_a_bucket() -> Result<()> {
    check(Target::s3()?)
}
