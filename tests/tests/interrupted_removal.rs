//! SIGINT and SIGTERM while images are removed: a change that is under way is finished, everything else is left, and
//! nothing is half-done.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::ducc::{closed_dir, closed_dir_in};
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::native::{FQRN, Native};
use e2e::process::run;
use e2e::registry::Registry;
use e2e::rounds::Publisher;
use e2e::{Result, ensure};
use faulty_s3::{ACCESS_KEY, Fault, FaultyS3, SECRET_KEY};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const IMAGES: usize = 12;
/// How long it takes at most to end when no change is under way.
const SOON: Duration = Duration::from_secs(30);

fn name(n: usize) -> String {
    format!("org/tool:{n}")
}

/// A registry with images, all of them published.
fn published(publisher: &Publisher, work: &Path, images: usize) -> Result<Registry> {
    let registry = Registry::start()?;
    for n in 0..images {
        let layer = [Entry::dir("usr"), Entry::noise("usr/tool", 10_000, n as u64)];
        let layer = Layer::build(work, Compression::Gzip, &layer)?;
        push(&registry, &name(n), &Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?)?;
    }
    publisher.wish((0..images).map(|n| registry.source(&name(n))))?;
    let round = publisher.round(&[])?;
    ensure!(round.status == Some(0), "{}", round.output.both());
    Ok(registry)
}

fn ducc(publisher: &Publisher, args: &[&str]) -> Result<Child> {
    let mut command = publisher.ducc()?;
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// Waits for the end of a process, and gives its status.
fn ended(mut child: Child, limit: Duration) -> Result<Option<i32>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            e2e::bail!("it did not end within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        ensure!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Who waits for another publisher ends at once, and has changed nothing.
#[test]
fn while_waiting() -> Result<()> {
    let (repository, work) = (closed_dir()?, TempDir::new()?);
    let locator = repository.path().display().to_string();
    let publisher = Publisher::new(work.path(), locator.clone());
    let registry = published(&publisher, work.path(), 1)?;
    fs::create_dir(repository.path().join(".ducc"))?;
    let lock = File::create(repository.path().join(".ducc/lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let image = registry.reference(&name(0));
    let empty = work.path().join("empty.yaml");
    fs::write(&empty, "input: []\n")?;
    let empty = empty.display().to_string();
    for (args, signal, status) in [
        (vec!["gc", &locator, "--grace-period", "0", "--json"], Signal::TERM, 143),
        (vec!["delete-image", &locator, &image, "--json"], Signal::INT, 130),
        (vec!["prune-images", &locator, &empty, "--json"], Signal::TERM, 143),
    ] {
        let mut command = publisher.ducc()?;
        command.args(&args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut output = child.stdout.take().expect("it was piped");
        let mut log = std::io::BufReader::new(child.stderr.take().expect("it was piped"));
        let mut line = String::new();
        while !line.contains("waiting") {
            line.clear();
            let count = std::io::BufRead::read_line(&mut log, &mut line)?;
            ensure!(count > 0, "{args:?} did not wait");
        }
        kill_process(Pid::from_child(&child), signal)?;
        ensure!(ended(child, SOON)? == Some(status), "{args:?}");
        let report: serde_json::Value = serde_json::from_reader(&mut output)?;
        ensure!(report["changes"] == 0, "{args:?}: {report}");
        ensure!(report["error"].as_str().is_some_and(|error| !error.is_empty()), "{report}");
        ensure!(repository.path().join(&image).exists(), "{args:?} removed something");
    }
    drop(lock);
    let verified = publisher.on_repository("verify", &[])?;
    ensure!(verified.status.success(), "{}", verified.both());
    Ok(())
}

/// At points that are spread over the time that a removal takes.
fn at_any_time(publisher: &Publisher, locator: &str, work: &Path) -> Result<()> {
    let registry = published(publisher, work, IMAGES)?;
    let begun = Instant::now();
    let trial = publisher.on_repository("gc", &["--grace-period", "0", "--dry-run"])?;
    ensure!(trial.status.success(), "{}", trial.both());
    let whole = begun.elapsed() * 2;
    for n in (1..IMAGES).rev() {
        publisher.wish((0..n).map(|n| registry.source(&name(n))))?;
        let round = publisher.round(&[])?;
        ensure!(round.status == Some(0), "{}", round.output.both());
        let child = ducc(publisher, &["gc", locator, "--grace-period", "0"])?;
        let point = whole.mul_f64((n as f64 + 0.5) / IMAGES as f64);
        std::thread::sleep(point);
        let (signal, status) = if n % 2 == 0 { (Signal::INT, 130) } else { (Signal::TERM, 143) };
        // It may have ended before, or not be there yet to take a signal: then the signal ends it.
        kill_process(Pid::from_child(&child), signal)?;
        let ended = ended(child, SOON + Duration::from_secs(60))?;
        ensure!([None, Some(0), Some(status)].contains(&ended), "{n}: {ended:?}");
        let verified = publisher.on_repository("verify", &[])?;
        ensure!(verified.status.success(), "{n}: {}", verified.both());
    }
    let rest = publisher.on_repository("gc", &["--grace-period", "0"])?;
    ensure!(rest.status.success(), "{}", rest.both());
    let trial = publisher.on_repository("gc", &["--grace-period", "0", "--dry-run", "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&trial.stdout)?;
    ensure!(report["paths"] == serde_json::json!([]) && report["found"] == 0, "{report}");
    Ok(())
}

#[test]
fn at_any_time_in_a_directory() -> Result<()> {
    let (repository, work) = (closed_dir_in("/dev/shm")?, TempDir::new()?);
    let locator = repository.path().display().to_string();
    let publisher = Publisher::new(work.path(), locator.clone());
    at_any_time(&publisher, &locator, work.path())?;
    ensure!(!repository.path().join(".ducc").exists(), "something of a publisher is left");
    Ok(())
}

#[test]
fn at_any_time_in_a_native_repository() -> Result<()> {
    let (native, work) = (Native::create()?, TempDir::new()?);
    let publisher = Publisher::new(work.path(), native.locator())
        .env("DUCC_KEYS", native.keys())
        .env("DUCC_CACHE", work.path().join("cache"));
    at_any_time(&publisher, &native.locator(), work.path())?;
    native.check()
}

/// A repository in a bucket whose server takes its time with the manifest.
struct Slow {
    server: FaultyS3,
    /// Where the keys are, and what was remembered.
    _work: TempDir,
    publisher: Publisher,
    locator: String,
    /// The name of the image.
    image: String,
    /// How many manifests were about to be written.
    commits: Arc<AtomicUsize>,
}

impl Slow {
    fn new(delay: Duration) -> Result<Self> {
        let (server, work) = (FaultyS3::start()?, TempDir::new()?);
        let url = server.url("images", "");
        let locator = format!("cvmfs+{url}");
        let publisher = Publisher::new(work.path(), locator.clone())
            .env("DUCC_KEYS", work.path().join("keys"))
            .env("DUCC_CACHE", work.path().join("cache"))
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        let mut create: Command = publisher.ducc()?;
        run(create.args(["repository", "create", FQRN, "--storage", &url]))?;
        let registry = published(&publisher, work.path(), 1)?;
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&commits);
        server.fail(move |request| {
            let is_commit =
                request.method == "PUT" && request.uri.path().ends_with(".cvmfspublished");
            is_commit.then(|| {
                counted.fetch_add(1, Ordering::SeqCst);
                Fault::Stall(delay)
            })
        });
        let image = registry.reference(&name(0));
        Ok(Self { server, _work: work, publisher, locator, image, commits })
    }

    /// A removal whose commit is under way.
    fn committing(&self) -> Result<Child> {
        let child = ducc(&self.publisher, &["delete-image", &self.locator, &self.image])?;
        wait_for("the commit", || self.commits.load(Ordering::SeqCst) > 0)?;
        Ok(child)
    }

    /// A round that is just noting that nobody wishes for the image any more.
    fn noting(&self) -> Result<Child> {
        self.publisher.wish([""; 0])?;
        let list = self.publisher.list().display().to_string();
        let child = ducc(&self.publisher, &["convert", &list])?;
        wait_for("the commit", || self.commits.load(Ordering::SeqCst) > 0)?;
        Ok(child)
    }

    /// Whether the books say that the image is not wished for.
    fn is_noted(&self) -> Result<bool> {
        self.server.heal();
        let trial = self.publisher.on_repository("gc", &["--grace-period", "0", "--dry-run"])?;
        ensure!(trial.status.success(), "{}", trial.both());
        Ok(trial.stdout.contains(&self.image))
    }

    fn has_image(&self) -> Result<bool> {
        self.server.heal();
        let verified = self.publisher.on_repository("verify", &["--json", "--offline"])?;
        ensure!(verified.status.success(), "{}", verified.both());
        let report: serde_json::Value = serde_json::from_str(&verified.stdout)?;
        Ok(report["images"] == 1)
    }
}

#[test]
fn a_commit_that_is_under_way_is_finished() -> Result<()> {
    let slow = Slow::new(Duration::from_secs(3))?;
    let child = slow.committing()?;
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    ensure!(ended(child, Duration::from_secs(60))? == Some(143), "the status tells of the signal");
    ensure!(!slow.has_image()?, "what was being committed is done");
    Ok(())
}

#[test]
fn what_a_round_is_noting_is_noted() -> Result<()> {
    let slow = Slow::new(Duration::from_secs(3))?;
    let child = slow.noting()?;
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    ensure!(ended(child, Duration::from_secs(60))? == Some(143), "the status tells of the signal");
    ensure!(slow.is_noted()?, "what was being committed is done");
    slow.has_image().map(drop)
}

#[test]
fn a_second_signal_ends_it_at_once() -> Result<()> {
    let slow = Slow::new(Duration::from_secs(600))?;
    ends_at_the_second_signal(slow.committing()?)?;
    slow.has_image().map(drop)
}

#[test]
fn a_second_signal_ends_a_round_that_is_noting_something_at_once() -> Result<()> {
    let slow = Slow::new(Duration::from_secs(600))?;
    ends_at_the_second_signal(slow.noting()?)?;
    slow.has_image().map(drop)
}

fn ends_at_the_second_signal(mut child: Child) -> Result<()> {
    let mut log = std::io::BufReader::new(child.stderr.take().expect("it was piped"));
    kill_process(Pid::from_child(&child), Signal::INT)?;
    // The handler of the second is there when the first has been told.
    let mut line = String::new();
    while !line.contains("once more") {
        line.clear();
        ensure!(std::io::BufRead::read_line(&mut log, &mut line)? > 0, "it has ended");
    }
    wait_for("the end", || {
        let _sent = kill_process(Pid::from_child(&child), Signal::INT);
        matches!(child.try_wait(), Ok(Some(_)))
    })?;
    ensure!(child.wait()?.code() == Some(130), "the status tells of the signal");
    Ok(())
}
