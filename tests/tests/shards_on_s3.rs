//! One wish list that several publishers share, on a bucket whose server fails now and then: every image is published by one
//! of them, what is not wished for goes, and nobody coordinates anything.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::native::FQRN;
use e2e::process::run;
use e2e::registry::Registry;
use e2e::rounds::{Publisher, in_days};
use e2e::{Context, Result, ensure};
use faulty_s3::{ACCESS_KEY, Fault, FaultyS3, SECRET_KEY};
use serde_json::Value;
use tempfile::TempDir;

const IMAGES: usize = 30;
const SHARDS: usize = 3;
/// Images that nobody wishes for in the end.
const UNWISHED: usize = 10;

struct Scene {
    registry: Registry,
    server: FaultyS3,
    work: TempDir,
    publishers: Vec<Publisher>,
}

impl Scene {
    fn new() -> Result<Self> {
        let (registry, server) = (Registry::start_in_memory()?, FaultyS3::start()?);
        let work = TempDir::new_in("/dev/shm")?;
        let storage = server.url("images", "");
        let publisher = |number: usize| -> Result<Publisher> {
            let dir = work.path().join(format!("publisher{number}"));
            std::fs::create_dir(&dir)?;
            Ok(Publisher::new(&dir, format!("cvmfs+{storage}"))
                .env("DUCC_KEYS", work.path().join("keys"))
                .env("DUCC_CACHE", dir.join("cache"))
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY))
        };
        let publishers = (0..SHARDS).map(publisher).collect::<Result<Vec<_>>>()?;
        run(publishers[0].ducc()?.args(["repository", "create", FQRN, "--storage", &storage]))?;

        let shared = [Entry::dir("usr"), Entry::noise("usr/tool", 50_000, 1)];
        let shared = Layer::build(work.path(), Compression::Gzip, &shared)?;
        for n in 0..IMAGES {
            let own = [Entry::file("number", n.to_string())];
            let own = Layer::build(work.path(), Compression::Gzip, &own)?;
            let layers = [shared.clone(), own];
            let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
            push(&registry, &name(n), &image)?;
        }
        Ok(Self { registry, server, work, publishers })
    }

    /// Replaces the list that all publishers read.
    fn wish(&self, images: std::ops::Range<usize>) -> Result<()> {
        self.publishers[0].wish(images.map(|n| self.registry.source(&name(n))))
    }

    /// A round of all publishers at the same time. Gives their reports on the repository.
    fn rounds(&self) -> Result<Vec<Value>> {
        let list = self.publishers[0].list().display().to_string();
        let round = |number: usize| -> Result<Value> {
            let shard = format!("{number}/{SHARDS}");
            // Small groups, so that they meet each other's revisions.
            let options = ["--json", "--shard", &shard, "--commit-images", "3"];
            let output = self.publishers[number].convert_lists(&[&list], &options)?;
            ensure!(output.status.success(), "shard {shard}: {}", output.both());
            let line = output.stdout.lines().last().context("no report")?;
            Ok(serde_json::from_str::<Value>(line)?["repositories"][0].clone())
        };
        thread::scope(|scope| {
            let rounds: Vec<_> =
                (0..SHARDS).map(|number| scope.spawn(move || round(number))).collect();
            rounds.into_iter().map(|round| round.join().expect("a round panicked")).collect()
        })
    }

    /// The tags below the repository of images.
    fn published(&self) -> Result<BTreeSet<String>> {
        let directory = format!("{}/org", self.registry.host());
        let publisher = &self.publishers[0];
        let locator = publisher.locator();
        let listed =
            run(publisher.ducc()?.args(["repository", "list", locator, &directory]))?.stdout;
        let names = listed.lines().filter_map(|line| line.split(" -> ").next());
        Ok(names.filter_map(|it| it.rsplit_once("/tool:")).map(|(_, tag)| tag.to_owned()).collect())
    }

    fn check(&self) -> Result<()> {
        self.server.heal();
        let publisher = &self.publishers[0];
        let check = ["repository", "check", "--data", publisher.locator()];
        run(publisher.ducc()?.args(check)).map(drop)
    }
}

fn name(n: usize) -> String {
    format!("org/tool:{n}")
}

fn tags(range: std::ops::Range<usize>) -> BTreeSet<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn several_publishers_keep_a_bucket_in_step_with_one_list() -> Result<()> {
    let scene = Scene::new()?;
    scene.wish(0..IMAGES)?;
    let requests = AtomicU32::new(0);
    scene.server.fail(move |_| match requests.fetch_add(1, Ordering::Relaxed) % 150 {
        13 => Some(Fault::Status(503)),
        97 => Some(Fault::HangUp),
        _ => None,
    });
    let reports = scene.rounds()?;
    let mut converted = Vec::new();
    for report in &reports {
        let images = report["converted"].as_array().context("no list of images")?;
        ensure!(!images.is_empty(), "a shard without images: {report}");
        converted.extend(images.iter().map(|image| image["name"].to_string()));
    }
    let once: BTreeSet<&String> = converted.iter().collect();
    ensure!(converted.len() == IMAGES && once.len() == IMAGES, "{converted:?}");
    ensure!(scene.published()? == tags(0..IMAGES), "{:?}", scene.published()?);
    scene.check()?;

    // Only a part is wished for from now on; each of them may note that.
    scene.wish(UNWISHED..IMAGES)?;
    for report in scene.rounds()? {
        ensure!(report["unchanged"] == report["images"], "{report}");
    }
    ensure!(scene.published()? == tags(0..IMAGES), "the grace period is not over");
    let later = in_days(31)?;
    let collected = scene.publishers[SHARDS - 1]
        .on_repository("gc", &["--now", &later, "--objects", "--grace-period", "30"])?;
    ensure!(collected.status.success(), "{}", collected.both());
    ensure!(scene.published()? == tags(UNWISHED..IMAGES), "{:?}", scene.published()?);
    for publisher in &scene.publishers {
        ensure!(publisher.verify()? == IMAGES - UNWISHED);
    }
    scene.check()?;
    // Wished for again, when all of it is gone.
    scene.wish(0..IMAGES)?;
    let again: usize = (scene.rounds()?.iter())
        .map(|report| report["converted"].as_array().map_or(0, Vec::len))
        .sum();
    ensure!(again == UNWISHED, "{again} converted");
    ensure!(scene.publishers[0].verify()? == IMAGES);
    drop(scene.work);
    Ok(())
}
