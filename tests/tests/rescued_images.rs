//! Images that nobody wished for are wished for again when their grace period is just over, with several publishers and a
//! garbage collection at once: whoever is faster, in the end they are there and whole.

use std::thread;
use std::time::Duration;

use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::registry::Registry;
use e2e::rounds::{Publisher, in_days, repeatable_random};
use e2e::target::Target;
use e2e::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

const IMAGES: usize = 9;
/// Those that are always wished for.
const STAY: usize = 2;
const SHARDS: usize = 3;
const TIMES: usize = 8;

struct Scene {
    registry: Registry,
    target: Target,
    work: TempDir,
    publishers: Vec<Publisher>,
}

fn name(n: usize) -> String {
    format!("org/tool:{n}")
}

impl Scene {
    fn new(target: Target) -> Result<Self> {
        let (registry, work) = (Registry::start_in_memory()?, TempDir::new_in("/dev/shm")?);
        let publisher = |number: usize| -> Result<Publisher> {
            let dir = work.path().join(format!("publisher{number}"));
            std::fs::create_dir(&dir)?;
            Ok(target.publisher(&dir))
        };
        let publishers = (0..SHARDS).map(publisher).collect::<Result<Vec<_>>>()?;
        let shared = [Entry::dir("usr"), Entry::noise("usr/tool", 50_000, 1)];
        let shared = Layer::build(work.path(), Compression::Gzip, &shared)?;
        for n in 0..IMAGES {
            let own = Layer::build(
                work.path(),
                Compression::Gzip,
                &[Entry::file("number", n.to_string())],
            )?;
            let layers = [shared.clone(), own];
            let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
            push(&registry, &name(n), &image)?;
        }
        Ok(Self { registry, target, work, publishers })
    }

    /// Replaces the list that all publishers read.
    fn wish(&self, images: usize) -> Result<()> {
        self.publishers[0].wish((0..images).map(|n| self.registry.source(&name(n))))
    }

    fn round(&self, number: usize) -> Result<Value> {
        let (list, shard) = (self.publishers[0].list(), format!("{number}/{SHARDS}"));
        let options = ["--json", "--shard", &shard, "--commit-images", "2"];
        let list = list.display().to_string();
        let output = self.publishers[number].convert_lists(&[&list], &options)?;
        ensure!(output.status.success(), "shard {shard}: {}", output.both());
        let line = output.stdout.lines().last().context("no report")?;
        Ok(serde_json::from_str::<Value>(line)?["repositories"][0].clone())
    }

    /// A round of all publishers, and meanwhile something else.
    fn rounds<T: Send>(
        &self,
        meanwhile: impl FnOnce() -> Result<T> + Send,
    ) -> Result<(Vec<Value>, T)> {
        thread::scope(|scope| {
            let other = scope.spawn(meanwhile);
            let rounds: Vec<_> =
                (0..SHARDS).map(|number| scope.spawn(move || self.round(number))).collect();
            let reports = rounds.into_iter().map(|it| it.join().expect("a round panicked"));
            let reports = reports.collect::<Result<Vec<_>>>();
            let other = other.join().expect("the collection panicked");
            Ok((reports?, other?))
        })
    }

    fn check(&self) -> Result<()> {
        for n in 0..IMAGES {
            let found = self.target.read(&self.registry.reference(&name(n)), "number")?;
            ensure!(found == Some(n.to_string()), "{n}: {found:?}");
        }
        ensure!(self.publishers[0].verify()? == IMAGES);
        Ok(())
    }

    fn run(self) -> Result<()> {
        let mut random = repeatable_random()?;
        self.wish(IMAGES)?;
        self.rounds(|| Ok(()))?;
        self.check()?;
        // How often the collector was faster, and how often it was not.
        let (mut removed, mut rescued) = (0, 0);
        for time in 0..TIMES {
            self.wish(STAY)?;
            self.rounds(|| Ok(()))?;
            self.wish(IMAGES)?;
            let later = in_days(31)?;
            let pause = Duration::from_millis(random.u64(..250));
            let collect = || {
                thread::sleep(pause);
                let collected =
                    self.publishers[0].on_repository("gc", &["--json", "--now", &later])?;
                ensure!(collected.status.success(), "{}", collected.both());
                Ok(serde_json::from_str::<Value>(&collected.stdout)?)
            };
            let (reports, collected) = self.rounds(collect)?;
            let context = || format!("time {time}, after {pause:?}: {collected}");
            // All that was removed is made again, in the same rounds.
            self.check().with_context(context)?;
            let gone = collected["images"].as_array().context("no images")?.len();
            let count = |member: &str| -> usize {
                reports.iter().map(|it| it[member].as_array().map_or(0, Vec::len)).sum()
            };
            ensure!(
                count("converted") == gone && count("failed") == 0,
                "{}: {reports:?}",
                context()
            );
            removed += usize::from(gone > 0);
            rescued += usize::from(gone == 0);
        }
        println!("{removed} times removed before, {rescued} times rescued");
        // Nothing is left that would be removed.
        let later = in_days(62)?;
        let collected = self.publishers[0].on_repository("gc", &["--json", "--now", &later])?;
        let report: Value = serde_json::from_str(&collected.stdout)?;
        ensure!(report["images"] == serde_json::json!([]), "{report}");
        self.check()?;
        self.target.check()?;
        drop(self.work);
        Ok(())
    }
}

#[test]
fn in_a_native_repository() -> Result<()> {
    Scene::new(Target::native()?)?.run()
}

#[test]
fn in_a_directory() -> Result<()> {
    Scene::new(Target::directory()?)?.run()
}
