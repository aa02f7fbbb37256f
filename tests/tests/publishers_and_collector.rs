//! Two loops and a collector on one repository at the same time, while tags move and wishes come and go: nobody sees an error,
//! and in the end everything is there that is wished for and nothing else.

use std::collections::BTreeSet;

use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::process::Daemon;
use e2e::registry::Registry;
use e2e::rounds::{Publisher, repeatable_random};
use e2e::target::Target;
use e2e::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

const IMAGES: usize = 6;
const STEPS: usize = 25;
/// On a bucket, where all takes longer.
const STEPS_IN_BUCKET: usize = 10;
const LOOPS: usize = 2;

fn name(n: usize) -> String {
    format!("org/tool:{n}")
}

struct World {
    random: fastrand::Rng,
    registry: Registry,
    shared: Layer,
    versions: [u64; IMAGES],
    /// What each loop's list wishes for.
    wishes: [BTreeSet<usize>; LOOPS],
    publishers: [Publisher; LOOPS],
    target: Target,
    work: TempDir,
}

impl World {
    fn new(target: Target) -> Result<Self> {
        let work = TempDir::new_in("/dev/shm")?;
        let entries = [Entry::dir("usr"), Entry::noise("usr/tool", 50_000, 1)];
        let shared = Layer::build(work.path(), Compression::Gzip, &entries)?;
        let dirs = ["one", "two"].map(|dir| work.path().join(dir));
        for dir in &dirs {
            std::fs::create_dir(dir)?;
        }
        let publishers = dirs.map(|dir| target.publisher(&dir));
        let world = Self {
            random: repeatable_random()?,
            registry: Registry::start_in_memory()?,
            shared,
            versions: [0; IMAGES],
            wishes: [(0..4).collect(), (2..IMAGES).collect()],
            publishers,
            target,
            work,
        };
        for n in 0..IMAGES {
            world.push(n)?;
        }
        for list in 0..LOOPS {
            world.wish(list)?;
        }
        Ok(world)
    }

    fn push(&self, n: usize) -> Result<()> {
        // Only few versions, so that content that is being removed is wanted again.
        let version = self.versions[n] % 3;
        let own = [Entry::file("version", format!("{n}/{version}"))];
        let layers =
            [self.shared.clone(), Layer::build(self.work.path(), Compression::Gzip, &own)?];
        let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
        push(&self.registry, &name(n), &image)
    }

    fn wish(&self, list: usize) -> Result<()> {
        let images = self.wishes[list].iter().map(|&n| self.registry.source(&name(n)));
        self.publishers[list].wish(images)
    }

    fn change(&mut self) -> Result<()> {
        for _ in 0..2 {
            let n = self.random.usize(..IMAGES);
            self.versions[n] += 1;
            self.push(n)?;
        }
        let (list, n) = (self.random.usize(..LOOPS), self.random.usize(..IMAGES));
        if !self.wishes[list].remove(&n) {
            self.wishes[list].insert(n);
        }
        self.wish(list)
    }

    fn run(mut self, steps: usize) -> Result<()> {
        let mut loops = Vec::new();
        for (at, publisher) in self.publishers.iter().enumerate() {
            let log = self.work.path().join(format!("loop-{at}.log"));
            let options = ["--commit-images", "2", "--jobs", "2"];
            let mut ducc = Daemon::spawn("ducc", &publisher.looping(&options)?, &log)?;
            let is_done =
                || std::fs::read_to_string(&log).is_ok_and(|log| log.contains(" unchanged, "));
            ducc.wait_until("done with a round", is_done)?;
            loops.push(ducc);
        }
        let [collector, _] = &self.publishers;
        let collector = collector.clone();
        for step in 0..steps {
            self.change()?;
            let mut options = vec!["--grace-period", "0"];
            if matches!(self.target, Target::Native(_)) && step % 2 == 0 {
                options.push("--objects");
            }
            let collected = collector.on_repository("gc", &options)?;
            ensure!(collected.status.success(), "step {step}: {}", collected.both());
            collector.verify().with_context(|| format!("step {step}"))?;
            for ducc in &mut loops {
                ensure!(ducc.is_running()?, "step {step}: {}", ducc.log_tail());
            }
        }
        for ducc in &mut loops {
            ducc.signal(Signal::TERM)?;
            let status = ducc.wait()?;
            ensure!(status.code() == Some(143), "{status}\n{}", ducc.log_tail());
            let log = ducc.log()?;
            // A warning may be of a request that is tried again: the registry falters when a tag moves at that moment.
            let is_bad = |line: &&str| {
                [" ERROR ", "panicked", "ducc: failed", "ducc: still failing", "ducc: error"]
                    .iter()
                    .any(|word| line.contains(word))
            };
            let bad: Vec<&str> = log.lines().filter(is_bad).collect();
            ensure!(bad.is_empty(), "{}", bad.join("\n"));
        }
        self.check_end()
    }

    fn check_end(&self) -> Result<()> {
        for publisher in &self.publishers {
            let round = publisher.round(&[])?;
            ensure!(round.status == Some(0), "{}", round.output.both());
        }
        for publisher in &self.publishers {
            let collected = publisher.on_repository("gc", &["--grace-period", "0"])?;
            ensure!(collected.status.success(), "{}", collected.both());
            // The other list may have rescued what this one had found unwanted.
            let round = publisher.round(&[])?;
            ensure!(round.status == Some(0), "{}", round.output.both());
        }
        let wished: BTreeSet<usize> = self.wishes.iter().flatten().copied().collect();
        let there = self.publishers[0].verify()?;
        ensure!(there == wished.len(), "{there} images, {} wished for", wished.len());
        for n in wished {
            let found = self.target.read(&self.registry.reference(&name(n)), "version")?;
            let expected = format!("{n}/{}", self.versions[n] % 3);
            ensure!(found.as_ref() == Some(&expected), "{n}: {found:?}, not {expected}");
        }
        self.target.check().context("of the storage")
    }
}

#[test]
fn on_a_directory() -> Result<()> {
    World::new(Target::directory()?)?.run(STEPS)
}

#[test]
fn on_a_native_repository() -> Result<()> {
    World::new(Target::native()?)?.run(STEPS)
}

#[test]
fn on_a_bucket() -> Result<()> {
    World::new(Target::s3()?)?.run(STEPS_IN_BUCKET)
}
