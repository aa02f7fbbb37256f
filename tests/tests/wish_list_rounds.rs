//! A wish list of a thousand images, round after round: what is asked of the registry, what appears in the repository,
//! and in how many revisions.

use std::collections::BTreeMap;
use std::path::Path;

use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::registry::{Registry, Traffic};
use e2e::rounds::{Publisher, Round, in_days};
use e2e::target::Target;
use e2e::{Result, ensure};
use tempfile::TempDir;

const IMAGES: usize = 1000;
const MOVED: usize = 10;
const UNWISHED: usize = 50;
/// When the grace period of everything is over, which is 30 days without an option.
const LATER: i64 = 31;
/// What `--commit-images` is without the option.
const GROUP: usize = 100;

/// Tag `n` of a few repositories: a layer that all images share and one of its own. `version` makes another one of the
/// same name.
fn push_image(
    registry: &Registry,
    work: &Path,
    shared: &Layer,
    n: usize,
    version: u64,
) -> Result<()> {
    let own = [Entry::file("number", format!("{n}/{version}"))];
    let layers = [shared.clone(), Layer::build(work, Compression::Gzip, &own)?];
    push(registry, &name(n), &Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?)
}

fn name(n: usize) -> String {
    format!("org/tool{}:{n}", n % 7)
}

/// How often each blob was fetched.
fn fetches(traffic: &Traffic) -> BTreeMap<&str, usize> {
    let mut fetches = BTreeMap::new();
    for blob in traffic.blobs() {
        *fetches.entry(blob).or_default() += 1;
    }
    fetches
}

struct Scene {
    registry: Registry,
    work: TempDir,
    shared: Layer,
}

impl Scene {
    fn new() -> Result<Self> {
        let (registry, work) = (Registry::start_in_memory()?, TempDir::new_in("/dev/shm")?);
        let entries = [Entry::dir("usr"), Entry::noise("usr/tool", 100_000, 1)];
        let shared = Layer::build(work.path(), Compression::Gzip, &entries)?;
        for n in 0..IMAGES {
            push_image(&registry, work.path(), &shared, n, 0)?;
        }
        Ok(Self { registry, work, shared })
    }

    fn wish(&self, publisher: &Publisher, images: std::ops::Range<usize>) -> Result<()> {
        publisher.wish(images.map(|n| self.registry.source(&name(n))))
    }

    /// All rounds.
    fn rounds(&self, target: &Target, publisher: &Publisher) -> Result<()> {
        // What the file `number` of an image says in the repository, if the image is there.
        let number = |n: usize| target.read(&self.registry.reference(&name(n)), "number");
        let success = |round: &Round| -> Result<()> {
            ensure!(
                round.status == Some(0),
                "{:?}: {} {} {}",
                round.status,
                round.report["failed"],
                round.report["errors"],
                round.report["interrupted"]
            );
            Ok(())
        };
        let revisions = |before: Option<u64>| -> Result<Option<u64>> {
            Ok(target.revision()?.zip(before).map(|(now, before)| now - before))
        };
        self.wish(publisher, 0..IMAGES)?;
        let before = target.revision()?;
        let (first, traffic) = self.registry.watch(|| publisher.round(&[]))?;
        success(&first)?;
        ensure!(first.count("converted") == IMAGES, "{}", first.report);
        let twice: Vec<_> = fetches(&traffic).into_iter().filter(|(_, count)| *count > 1).collect();
        ensure!(twice.is_empty(), "fetched more than once: {twice:?}");
        if let Some(count) = revisions(before)? {
            // One for the books, and the groups; some end by time.
            let most = 2 * (IMAGES / GROUP) as u64;
            ensure!(count <= most, "{count} revisions");
        }

        let before = target.revision()?;
        let (unchanged, traffic) = self.registry.watch(|| publisher.round(&[]))?;
        success(&unchanged)?;
        ensure!(unchanged.count("unchanged") == IMAGES, "{}", unchanged.report);
        ensure!(
            traffic.requests.len() == IMAGES
                && traffic
                    .requests
                    .iter()
                    .all(|request| request.is_manifest() && request.method == "HEAD"),
            "{} requests: {:?}",
            traffic.requests.len(),
            traffic.requests.iter().find(|request| request.method != "HEAD")
        );
        ensure!(revisions(before)?.unwrap_or(0) == 0, "a revision without a change");

        for n in 0..MOVED {
            push_image(&self.registry, self.work.path(), &self.shared, n, 1)?;
        }
        let before = target.revision()?;
        let (moved, traffic) = self.registry.watch(|| publisher.round(&[]))?;
        success(&moved)?;
        ensure!(moved.count("converted") == MOVED, "{}", moved.report);
        ensure!(moved.count("unchanged") == IMAGES - MOVED, "{}", moved.report);
        ensure!(fetches(&traffic).len() == 2 * MOVED, "a layer and a configuration each");
        ensure!(revisions(before)?.unwrap_or(1) == 1, "one group");
        ensure!(number(0)?.as_deref() == Some("0/1"), "{:?}", number(0)?);
        ensure!(number(MOVED)?.as_deref() == Some(&*format!("{MOVED}/0")), "{:?}", number(MOVED)?);

        let left = IMAGES - UNWISHED;
        self.wish(publisher, 0..left)?;
        success(&publisher.round(&[])?)?;
        ensure!(number(left)?.is_some(), "removed before its grace period was over");
        let waiting = publisher.on_repository("gc", &[])?;
        ensure!(waiting.status.success(), "{}", waiting.both());
        ensure!(number(left)?.is_some(), "removed before its grace period was over");
        let before = target.revision()?;
        let later = in_days(LATER)?;
        let trial = publisher.on_repository("gc", &["--now", &later, "--dry-run"])?;
        ensure!(trial.status.success(), "{}", trial.both());
        ensure!(
            number(left)?.is_some() && revisions(before)?.unwrap_or(0) == 0,
            "a trial changed something"
        );
        let collected = publisher.on_repository("gc", &["--now", &later])?;
        ensure!(collected.status.success(), "{}", collected.both());
        ensure!(revisions(before)?.unwrap_or(1) == 1, "one change");
        for n in left..IMAGES {
            ensure!(number(n)?.is_none(), "image {n} is still there");
        }
        ensure!(
            number(left - 1)?.as_deref() == Some(&*format!("{}/0", left - 1)),
            "removed too much"
        );
        let verified = publisher.on_repository("verify", &[])?;
        ensure!(verified.status.success(), "{}", verified.both());
        Ok(())
    }
}

/// On the disk, as directories are in practice.
#[test]
fn on_a_directory() -> Result<()> {
    let (scene, repository, dir) = (Scene::new()?, TempDir::new()?, TempDir::new()?);
    let layers = repository.path().join(".layers");
    let target = Target::Directory(repository);
    scene.rounds(&target, &target.publisher(dir.path()))?;
    // Nothing of what was removed is left: each image has a layer of its own, and all share one.
    let layers = grandchildren(&layers)?;
    ensure!(layers == IMAGES - UNWISHED + 1, "{layers} layers");
    Ok(())
}

/// The number of entries two levels below a directory.
fn grandchildren(directory: &Path) -> Result<usize> {
    let mut count = 0;
    for shard in std::fs::read_dir(directory)? {
        count += std::fs::read_dir(shard?.path())?.count();
    }
    Ok(count)
}

#[test]
fn on_a_native_repository() -> Result<()> {
    let (scene, target, dir) = (Scene::new()?, Target::native()?, TempDir::new()?);
    scene.rounds(&target, &target.publisher(dir.path()))?;
    target.check()
}
