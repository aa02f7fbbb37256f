//! A CernVM-FS repository in an S3 bucket: the whole life cycle, even if the server fails, hangs up and stalls.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use e2e::cases::nasty;
use e2e::image::{Compression, Config, Format, Image, Layer, write_layout};
use e2e::native::FQRN;
use e2e::process::{Daemon, run, run_any};
use e2e::{Result, ensure, tools};
use faulty_s3::{ACCESS_KEY, Fault, FaultyS3, SECRET_KEY};
use rustix::process::Signal;
use tempfile::TempDir;

struct Bucket {
    server: FaultyS3,
    dir: TempDir,
    settings: &'static str,
}

impl Bucket {
    fn new(settings: &'static str) -> Result<Self> {
        Ok(Self { server: FaultyS3::start()?, dir: TempDir::new()?, settings })
    }

    fn url(&self) -> String {
        self.server.url("images", self.settings)
    }

    fn ducc(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(tools::ducc()?);
        command
            .args(args)
            .env("DUCC_KEYS", self.dir.path().join("keys"))
            .env("DUCC_CACHE", self.dir.path().join("cache"))
            .env("DUCC_STATE", self.dir.path().join("state"))
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        Ok(command)
    }

    fn create(&self) -> Result<()> {
        let create = ["repository", "create", FQRN, "--storage", &self.url()];
        run(&mut self.ducc(&create)?).map(drop)
    }

    fn publish(&self, name: &str) -> Result<Command> {
        let layers = nasty()
            .into_iter()
            .find(|case| case.name.contains("everything"))
            .map(|case| case.layers)
            .unwrap_or_default()
            .iter()
            .map(|entries| Layer::build(self.dir.path(), Compression::Gzip, entries))
            .collect::<Result<Vec<_>>>()?;
        let layout = self.dir.path().join("layout");
        if !layout.exists() {
            write_layout(
                &layout,
                "t",
                &Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?,
            )?;
        }
        let source = format!("oci:{}:t", layout.display());
        let locator = format!("cvmfs+{}", self.url());
        self.ducc(&["convert-single-image", "--public-name", name, &source, &locator])
    }

    fn check(&self) -> Result<()> {
        let locator = format!("cvmfs+{}", self.url());
        run(&mut self.ducc(&["repository", "check", "--data", &locator])?).map(drop)
    }
}

#[test]
fn created_published_checked_and_collected() -> Result<()> {
    let bucket = Bucket::new("")?;
    bucket.create()?;
    run(&mut bucket.publish("r.io/t:1")?)?;
    bucket.check()?;
    let locator = format!("cvmfs+{}", bucket.url());
    let listed = run(&mut bucket.ducc(&["repository", "list", &locator, "r.io"])?)?;
    ensure!(listed.stdout.contains("/r.io/t:1 -> ../.flat/"), "{}", listed.stdout);
    let gc = ["repository", "gc", &locator, "--grace", "0", "--keep-days", "0"];
    run(&mut bucket.ducc(&gc)?)?;
    bucket.check()
}

#[test]
fn some_failing_requests_do_no_harm() -> Result<()> {
    let bucket = Bucket::new("timeout=2")?;
    bucket.create()?;
    let number = AtomicU32::new(0);
    bucket.server.fail(move |_| match number.fetch_add(1, Ordering::Relaxed) % 12 {
        3 => Some(Fault::Status(503)),
        7 => Some(Fault::HangUp),
        10 => Some(Fault::Status(500)),
        _ => None,
    });
    run(&mut bucket.publish("r.io/t:1")?)?;
    bucket.server.heal();
    bucket.check()
}

#[test]
fn a_dead_server_is_an_error_and_the_repository_stays() -> Result<()> {
    let bucket = Bucket::new("timeout=1&retries=1")?;
    bucket.create()?;
    bucket.server.fail(|request| (request.method == "PUT").then_some(Fault::Status(500)));
    let output = run_any(&mut bucket.publish("r.io/t:1")?, Duration::from_secs(120))?;
    ensure!(!output.status.success(), "published without a server");
    ensure!(output.stderr.contains("s3://"), "the bucket is not named: {}", output.stderr);
    bucket.server.heal();
    bucket.check()?;
    run(&mut bucket.publish("r.io/t:1")?)?;
    bucket.check()
}

/// With the default limits a single request may take half a minute, and its retries three.
#[test]
fn an_interrupted_publisher_does_not_wait_for_a_stalled_server() -> Result<()> {
    const MANIFEST: &str = "/.cvmfspublished";
    /// A phase, which requests stall in it, and what the error says.
    type Case = (&'static str, fn(&str, &str) -> bool, &'static str);
    let bucket = Bucket::new("")?;
    bucket.create()?;
    let cases: [Case; 3] = [
        ("opening", |method, _| method == "GET", "nothing was published"),
        ("unpacking", |method, _| method == "PUT", "nothing was published"),
        (
            "the commit",
            |method, path| method == "PUT" && path.ends_with(MANIFEST),
            "either all of it appears or nothing",
        ),
    ];
    for (phase, stalls, said) in cases {
        let stalled = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&stalled);
        bucket.server.fail(move |request| {
            let stalls = stalls(request.method.as_str(), request.uri.path());
            tell.fetch_or(stalls, Ordering::Relaxed);
            stalls.then_some(Fault::Stall(Duration::from_secs(600)))
        });
        let log = bucket.dir.path().join(phase);
        let mut ducc = Daemon::spawn("ducc", &bucket.publish("r.io/t:1")?, &log)?;
        ducc.wait_until(phase, || stalled.load(Ordering::Relaxed))?;
        let begun = Instant::now();
        ducc.signal(Signal::INT)?;
        let ended = ducc.wait()?;
        let log = ducc.log()?;
        ensure!(ended.code() == Some(130), "{phase}: {ended}\n{log}");
        ensure!(begun.elapsed() < Duration::from_secs(10), "{phase}: {:?}", begun.elapsed());
        ensure!(log.contains("interrupted") && log.contains(said), "{phase}: {log}");
        bucket.server.heal();
        bucket.check()?;
    }
    run(&mut bucket.publish("r.io/t:1")?)?;
    bucket.check()
}
