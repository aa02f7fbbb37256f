//! Registries that are down, slow, overloaded or lie, during a round: the image that they concern is named with the reason
//! and stays what it was, all others are published, and the next round after the fault heals without help.

use e2e::faulty_registry::{Fault, FaultyRegistry};
use e2e::image::{Compression, Config, Entry, Format, Image, Layer};
use e2e::process::{Daemon, Output};
use e2e::rounds::{Publisher, in_days};
use e2e::target::Target;
use e2e::{Context, Result, ensure};
use tempfile::TempDir;

/// The image that something goes wrong with.
const BAD: &str = "org/bad:1";
/// Another one in the same registry.
const NEIGHBOUR: &str = "org/good:1";
/// One in another registry.
const OTHER: &str = "org/other:1";

struct Scene {
    /// Holds [`BAD`] and [`NEIGHBOUR`].
    registry: FaultyRegistry,
    elsewhere: FaultyRegistry,
    target: Target,
    publisher: Publisher,
    version: u32,
    work: TempDir,
}

/// An image of two layers that say its version.
fn image(work: &TempDir, name: &str, version: u32) -> Result<Image> {
    let layers = ["base", "top"].map(|layer| {
        let seed = u64::from(version) * 1000 + (name.len() + layer.len()) as u64;
        let entries = [
            Entry::file(layer, format!("{name} {version}")),
            Entry::noise(format!("noise-{layer}"), 100_000, seed),
        ];
        Layer::build(work.path(), Compression::Gzip, &entries)
    });
    let [base, top] = layers;
    Image::new(Format::Oci, Config::with_cmd(["true"]), &[base?, top?])
}

impl Scene {
    fn new(target: Target) -> Result<Self> {
        let work = TempDir::new_in("/dev/shm")?;
        let publisher = target.publisher(work.path());
        let (registry, elsewhere) = (FaultyRegistry::empty()?, FaultyRegistry::empty()?);
        publisher.wish([
            registry.source_of(BAD),
            registry.source_of(NEIGHBOUR),
            elsewhere.source_of(OTHER),
        ])?;
        Ok(Self { registry, elsewhere, target, publisher, version: 0, work })
    }

    /// All tags move.
    fn move_tags(&mut self) -> Result<()> {
        self.version += 1;
        for (registry, name) in self.images() {
            registry.put(name, &image(&self.work, name, self.version)?);
        }
        Ok(())
    }

    fn images(&self) -> [(&FaultyRegistry, &'static str); 3] {
        [(&self.registry, BAD), (&self.registry, NEIGHBOUR), (&self.elsewhere, OTHER)]
    }

    fn reference(&self, name: &str) -> String {
        let registry = if name == OTHER { &self.elsewhere } else { &self.registry };
        registry.reference(name)
    }

    /// The version of an image in the repository, which must be the same in both layers; 0 if it is not there.
    fn published(&self, name: &str) -> Result<u32> {
        let read = |file| self.target.read(&self.reference(name), file);
        let (base, top) = (read("base")?, read("top")?);
        ensure!(base == top, "{name} is a mixture of {base:?} and {top:?}");
        let Some(text) = base else { return Ok(0) };
        let version = text.strip_prefix(name).with_context(|| format!("{name} is {text}"))?;
        Ok(version.trim().parse()?)
    }

    fn convert(&self) -> Result<Output> {
        self.publisher.convert(&[
            "--attempts",
            "2",
            "--stall-timeout",
            "0.5",
            "--max-concurrent-downloads",
            "1",
        ])
    }

    /// Every image is whole; `failed` are as old as they were, all others as new as they should be.
    fn check(&self, failed: &[&str], old: u32) -> Result<()> {
        let mut there = 0;
        for (_, name) in self.images() {
            let expected = if failed.contains(&name) { old } else { self.version };
            let version = self.published(name)?;
            ensure!(version == expected, "{name} is version {version}, not {expected}");
            there += usize::from(version > 0);
        }
        let verified = self.publisher.verify()?;
        ensure!(verified == there, "{verified} images, not {there}");
        Ok(())
    }

    /// One round with a fault, and one without. The words are in the line of each image that fails.
    fn round_with(
        &mut self,
        begin: impl FnOnce(&FaultyRegistry),
        end: impl FnOnce(&FaultyRegistry),
        failed: &[&str],
        words: &[&str],
    ) -> Result<()> {
        let old = self.published(BAD)?;
        self.move_tags()?;
        begin(&self.registry);
        let round = self.convert()?;
        ensure!(round.status.code() == Some(3), "{}\n{}", round.status, round.both());
        let last: Vec<&str> = round.stderr.lines().rev().take(failed.len()).collect();
        for name in failed {
            let name = self.reference(name);
            let line = last.iter().find(|line| line.contains(&format!("failed: {name}: ")));
            let line = line.with_context(|| format!("no word of {name}: {}", round.both()))?;
            for word in words {
                ensure!(line.contains(word), "nothing of {word:?} in {line}");
            }
        }
        self.check(failed, old)?;
        let collected = self.publisher.on_repository("gc", &["--now", &in_days(31)?])?;
        ensure!(collected.status.success(), "{}", collected.both());
        self.check(failed, old).context("after a garbage collection")?;
        end(&self.registry);
        let round = self.convert()?;
        ensure!(round.status.success(), "{}", round.both());
        self.check(&[], 0).context("after the fault")
    }
}

fn heal(registry: &FaultyRegistry) {
    registry.fail(BAD, Fault::None);
}

#[test]
fn one_image_fails() -> Result<()> {
    let mut scene = Scene::new(Target::directory()?)?;
    let cases: [(Fault, &[&str]); 9] = [
        // The first one is of an image that was never published.
        (Fault::Flipped, &["layer", "sha256:"]),
        (Fault::Stall, &["layer", "sha256:"]),
        (Fault::Reset, &["layer", "sha256:"]),
        (Fault::Short, &["layer", "sha256:"]),
        (Fault::Longer(7), &["layer", "sha256:"]),
        (Fault::Manifest, &["sha256:"]),
        (Fault::Status(404, "X-Fault: yes"), &["sha256:", "404"]),
        (Fault::Status(500, "X-Fault: yes"), &["500"]),
        (Fault::Status(429, "Retry-After: 1"), &["429"]),
    ];
    for (fault, words) in cases {
        let begin = |registry: &FaultyRegistry| registry.fail(BAD, fault.clone());
        scene.round_with(begin, heal, &[BAD], words).with_context(|| format!("{fault:?}"))?;
    }
    Ok(())
}

#[test]
fn one_image_fails_on_a_native_repository() -> Result<()> {
    one_image_fails_on(Target::native()?, &[Fault::Flipped, Fault::Stall, Fault::Short])
}

#[test]
fn one_image_fails_on_a_bucket() -> Result<()> {
    one_image_fails_on(Target::s3()?, &[Fault::Reset])
}

fn one_image_fails_on(target: Target, faults: &[Fault]) -> Result<()> {
    let mut scene = Scene::new(target)?;
    for fault in faults {
        let begin = |registry: &FaultyRegistry| registry.fail(BAD, fault.clone());
        let words = ["layer", "sha256:"];
        scene.round_with(begin, heal, &[BAD], &words).with_context(|| format!("{fault:?}"))?;
    }
    scene.target.check()
}

#[test]
fn a_registry_is_down() -> Result<()> {
    let mut scene = Scene::new(Target::directory()?)?;
    for _ in 0..2 {
        let begin = |registry: &FaultyRegistry| registry.set_down(true);
        let end = |registry: &FaultyRegistry| registry.set_down(false);
        scene.round_with(begin, end, &[BAD, NEIGHBOUR], &["127.0.0.1"])?;
    }
    Ok(())
}

/// A registry that is overloaded for a while gets the time that it asks for, and nothing fails.
#[test]
fn a_registry_is_overloaded_for_a_while() -> Result<()> {
    let mut scene = Scene::new(Target::directory()?)?;
    scene.move_tags()?;
    scene.registry.fail(BAD, Fault::StatusFor(3, 429, "Retry-After: 1"));
    let round = scene.publisher.convert(&[])?;
    ensure!(round.status.success(), "{}", round.both());
    scene.check(&[], 0)
}

/// The tag moves, and what it led to is deleted, while the first of two layers comes. Nothing is ever mixed.
#[test]
fn a_tag_moves_in_mid_download() -> Result<()> {
    let mut scene = Scene::new(Target::directory()?)?;
    let version = scene.version + 2;
    let newer = image(&scene.work, BAD, version)?;
    let begin = |registry: &FaultyRegistry| registry.move_in_mid_download(BAD, &newer);
    scene.move_tags()?;
    begin(&scene.registry);
    let round = scene.convert()?;
    ensure!(round.status.code() == Some(3), "{}\n{}", round.status, round.both());
    ensure!(round.stderr.contains("404"), "{}", round.both());
    scene.check(&[BAD], 0)?;
    let round = scene.convert()?;
    ensure!(round.status.success(), "{}", round.both());
    ensure!(scene.published(BAD)? == version, "not what the tag leads to");
    ensure!(scene.publisher.verify()? == 3);
    Ok(())
}

/// `loop` does not ask again at once, goes on saying what is missing, and publishes all else that is new.
#[test]
fn a_loop_leaves_a_failing_image_alone_for_a_while() -> Result<()> {
    let mut scene = Scene::new(Target::directory()?)?;
    scene.move_tags()?;
    scene.registry.fail(BAD, Fault::Status(404, "X-Fault: yes"));
    let command = scene.publisher.looping(&["--attempts", "2"])?;
    let mut ducc = Daemon::spawn("ducc", &command, &scene.work.path().join("loop.log"))?;
    let still = format!("still failing: {}: ", scene.reference(BAD));
    let log = scene.work.path().join("loop.log");
    let says = |text: &str| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    ducc.wait_until("telling of the failure again", || says(&still))?;
    scene.check(&[BAD], 0)?;
    let requests = scene.registry.layer_requests();
    let newer = image(&scene.work, NEIGHBOUR, 9)?;
    scene.registry.put(NEIGHBOUR, &newer);
    ducc.wait_until("publishing what is new", || {
        scene.published(NEIGHBOUR).is_ok_and(|version| version == 9)
    })?;
    let more = scene.registry.layer_requests() - requests;
    ensure!(more == 2, "{more} requests for layers, and two are new");
    ducc.signal(rustix::process::Signal::TERM)?;
    let status = ducc.wait()?;
    ensure!(status.code() == Some(143), "{status}\n{}", ducc.log_tail());
    Ok(())
}

/// The time that a registry asks for holds up only its own images.
#[test]
fn a_registry_that_wants_to_be_left_alone_holds_up_no_other() -> Result<()> {
    let mut scene = Scene::new(Target::directory()?)?;
    scene.move_tags()?;
    scene.registry.fail(BAD, Fault::Status(429, "Retry-After: 3600"));
    let command = scene.publisher.looping(&["--commit-interval", "1"])?;
    let mut ducc = Daemon::spawn("ducc", &command, &scene.work.path().join("loop.log"))?;
    ducc.wait_until("publishing the other registry's image", || {
        scene.published(OTHER).is_ok_and(|version| version == 1)
    })?;
    ducc.signal(rustix::process::Signal::TERM)?;
    let status = ducc.wait()?;
    ensure!(status.code() == Some(143), "{status}\n{}", ducc.log_tail());
    ensure!(scene.published(BAD)? == 0);
    scene.publisher.verify().map(drop)
}

/// An image that takes long, but comes on, is waited for, and nobody else waits for it: limits are on the time without
/// progress, and what is ready is published.
#[test]
fn a_slow_but_steady_registry_holds_up_no_other_image() -> Result<()> {
    let mut scene = Scene::new(Target::directory()?)?;
    scene.move_tags()?;
    // Each of its layers takes ten times as long as nothing may come.
    scene.registry.fail(BAD, Fault::Slow(2000));
    let mut command = scene.publisher.ducc()?;
    command.arg("convert").arg(scene.publisher.list()).args(["--skip-thin-image", "--attempts"]);
    command.args(["1", "--stall-timeout", "0.5", "--commit-interval", "0.5"]);
    let log = scene.work.path().join("convert.log");
    let mut ducc = Daemon::spawn("ducc", &command, &log)?;
    ducc.wait_until("publishing the others", || {
        let is_there = |name| scene.published(name).is_ok_and(|version| version == 1);
        is_there(NEIGHBOUR) && is_there(OTHER)
    })?;
    ensure!(ducc.is_running()? && scene.published(BAD)? == 0, "it was not slow");
    let status = ducc.wait()?;
    ensure!(status.success(), "{status}\n{}", ducc.log_tail());
    ensure!(scene.registry.layer_requests() == 4, "a download was begun again");
    scene.check(&[], 0)
}
