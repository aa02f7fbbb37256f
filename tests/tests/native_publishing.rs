//! Several publishers of one CernVM-FS repository at the same time, and publishers and collectors that are killed: no
//! revision is lost, and everything that is referred to exists.

use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::image::{Compression, Config, Entry, Format, Image, Layer, write_layout};
use e2e::native::Native;
use e2e::process::{COMMAND_TIMEOUT, run, run_any};
use e2e::tree::Tree;
use e2e::tree_diff::ensure_same;
use e2e::{Context, Result, ensure};
use tempfile::TempDir;

const ROUNDS: u32 = 100;
const POINTS: u32 = 100;
const NAME: &str = "r.io/tool:1";

/// A layout with one small image.
fn small_image(dir: &Path, content: &str) -> Result<String> {
    let entries = [
        Entry::dir("./"),
        Entry::dir("d"),
        Entry::file("d/f", content),
        Entry::file("same", "same"),
    ];
    let layer = Layer::build(dir, Compression::Gzip, &entries)?;
    let layout = dir.join(format!("layout-{content}"));
    write_layout(&layout, "t", &Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?)?;
    Ok(format!("oci:{}:t", layout.display()))
}

#[test]
fn two_publishers_lose_nothing() -> Result<()> {
    let native = Native::create()?;
    let dir = TempDir::new()?;
    let before = native.revision()?;
    for round in 0..ROUNDS {
        let mut children = Vec::new();
        for publisher in ["a", "b"] {
            let source = small_image(dir.path(), &format!("{publisher}{round}"))?;
            let mut command = native
                .convert(&source)
                .public_name(&format!("r.io/{publisher}:{round}"))
                .command()?;
            children.push(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
        }
        for child in children {
            let output = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "round {round}: {said}");
        }
    }
    let revisions = native.revision()? - before;
    ensure!(revisions == 2 * u64::from(ROUNDS), "{revisions} revisions of {}", 2 * ROUNDS);
    let snapshot = native.snapshot()?;
    for round in 0..ROUNDS {
        for publisher in ["a", "b"] {
            let flat = e2e::native::tree(&snapshot, format!("r.io/{publisher}:{round}"))?;
            ensure!(flat.get("d/f").is_ok(), "{publisher}:{round} is not complete");
        }
    }
    native.check()
}

/// Two layers and 1,200 files, so that every phase takes a while.
fn image(dir: &Path) -> Result<String> {
    let mut layers = Vec::new();
    for layer in 0..2 {
        let mut entries = vec![Entry::dir("./")];
        for directory in 0..30 {
            entries.push(Entry::dir(format!("d{directory}")).mtime(1_600_000_000 + layer, 0));
            for file in 0..20 {
                let seed = directory * 100 + file;
                entries.push(Entry::noise(format!("d{directory}/l{layer}-{file}"), 2000, seed));
            }
        }
        entries.push(Entry::whiteout("d1/l0-1"));
        layers.push(Layer::build(dir, Compression::Gzip, &entries)?);
    }
    let layout = dir.join("layout");
    write_layout(&layout, "t", &Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?)?;
    Ok(format!("oci:{}:t", layout.display()))
}

/// Runs a command again and again and kills it at points spread over its duration. `prepare` gives each run
/// something to do; `check` examines what the kill has left behind.
fn kill_at_points(
    prepare: &mut dyn FnMut() -> Result<Command>,
    check: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let begun = Instant::now();
    run(&mut prepare()?)?;
    // How long a run takes; shortened if one turns out to be faster.
    let mut whole = begun.elapsed();
    let mut killed = 0;
    for _ in 0..POINTS * 4 {
        if killed == POINTS {
            return Ok(());
        }
        let mut command = prepare()?;
        let begun = Instant::now();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let point = whole.mul_f64((f64::from(killed) + 0.5) / f64::from(POINTS));
        while begun.elapsed() < point && child.try_wait()?.is_none() {
            thread::sleep(Duration::from_micros(200));
        }
        let ran = begun.elapsed();
        child.kill()?;
        if child.wait()?.success() {
            whole = whole.min(ran);
            continue;
        }
        killed += 1;
        check().with_context(|| format!("killed after {ran:?}"))?;
    }
    ensure!(killed == POINTS, "only {killed} runs were killed before their end");
    Ok(())
}

#[test]
fn a_killed_publisher_leaves_a_sound_repository() -> Result<()> {
    let dir = TempDir::new()?;
    let source = image(dir.path())?;
    let keys = Native::create()?;
    keys.convert(&source).public_name(NAME).run()?;
    let expected = keys.tree(NAME)?;
    // Each run publishes into an empty repository.
    let native = RefCell::new(keys.again()?);
    kill_at_points(
        &mut || {
            *native.borrow_mut() = keys.again()?;
            native.borrow().convert(&source).public_name(NAME).command()
        },
        &mut || {
            let native = native.borrow();
            native.check().context("after the kill")?;
            native.convert(&source).public_name(NAME).run().context("the next run")?;
            let published = native.tree(NAME)?;
            ensure_same(
                "undisturbed",
                &stable(&expected),
                "killed and run again",
                &stable(&published),
            )?;
            native.check().context("after the next run")
        },
    )
}

/// Without the times of Singularity's files, which are those of the run.
fn stable(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for (path, facts) in &mut tree.0 {
        if !path.starts_with(b"d") || path.starts_with(b"dev") {
            facts.mtime = (0, 0);
        }
    }
    tree
}

#[test]
fn a_killed_collector_leaves_a_sound_repository() -> Result<()> {
    let dir = TempDir::new()?;
    let source = image(dir.path())?;
    let native = Native::create()?;
    native.convert(&source).public_name("r.io/kept:1").run()?;
    let kept = native.tree("r.io/kept:1")?;
    let mut number = 0;
    let grace = ["--grace", "0", "--keep-days", "0", "--keep-revisions", "0"];
    kill_at_points(
        &mut || {
            // Every publish turns catalogs of the previous revision into garbage.
            number += 1;
            let source = small_image(dir.path(), &format!("c{number}"))?;
            native.convert(&source).public_name("r.io/changing:1").run()?;
            let mut command = native.ducc()?;
            command.args(["repository", "gc", &native.locator()]).args(grace);
            Ok(command)
        },
        &mut || native.check().context("after the kill"),
    )?;
    native.repository("gc", &grace)?;
    native.check()?;
    ensure_same("before", &kept, "after", &native.tree("r.io/kept:1")?)
}

#[test]
fn publishing_beside_a_collector() -> Result<()> {
    let dir = TempDir::new()?;
    let native = Native::create()?;
    let grace = ["--grace", "0", "--keep-days", "0", "--keep-revisions", "0"];
    for round in 0..20 {
        let mut collector = native.ducc()?;
        collector.args(["repository", "gc", &native.locator()]).args(grace);
        let mut collector = collector.stdout(Stdio::null()).spawn()?;
        let source = small_image(dir.path(), &format!("r{}", round % 3))?;
        native.convert(&source).public_name(&format!("r.io/t:{round}")).run()?;
        ensure!(collector.wait()?.success(), "round {round}: the collector failed");
    }
    native.check()
}

/// What `ducc repository` says, for programs.
#[test]
fn reports_for_programs() -> Result<()> {
    let native = Native::create()?;
    let report = |output: &str| -> Result<serde_json::Value> { Ok(serde_json::from_str(output)?) };
    let info = report(&native.repository("info", &["--json"])?.stdout)?;
    ensure!(info["name"] == e2e::native::FQRN && info["revision"] == native.revision()?, "{info}");
    ensure!(info["catalogs"] == 1 && info["garbage_collectable"] == true, "{info}");
    let gc = report(&native.repository("gc", &["--json", "--dry-run"])?.stdout)?;
    ensure!(gc["dry_run"] == true && gc["objects"] == 0, "{gc}");
    let check = report(&native.repository("check", &["--json"])?.stdout)?;
    ensure!(check["faults"] == serde_json::json!([]) && check["catalogs"] == 1, "{check}");

    // Also if there are faults: the tag database is gone.
    let mut removing = Command::new("find");
    removing.arg(native.storage().join("data")).args(["-name", "*H", "-print", "-delete"]);
    ensure!(!run(&mut removing)?.stdout.is_empty(), "there is no tag database");
    let mut check = native.ducc()?;
    check.args(["repository", "check", "--json", &native.locator()]);
    let check = run_any(&mut check, COMMAND_TIMEOUT)?;
    let told = report(&check.stdout)?;
    ensure!(check.status.code() == Some(1), "{}", check.both());
    ensure!(told["faults"].to_string().contains("tag database"), "{told}");
    ensure!(told["error"].to_string().contains(" faults (revision"), "{told}");

    // And if there is nothing to look at, or nobody who may: the storage is gone, the keys are.
    let absent = native.dir().join("absent");
    let nowhere = format!("cvmfs+file://{}", absent.display());
    for (locator, keys, status, word) in
        [(&nowhere, native.keys(), 104, "absent"), (&native.locator(), absent.clone(), 1, "absent")]
    {
        for command in ["check", "info", "gc"] {
            let mut ducc = native.ducc()?;
            ducc.args(["repository", command, "--json", locator]).env("DUCC_KEYS", &keys);
            let output = run_any(&mut ducc, COMMAND_TIMEOUT)?;
            ensure!(output.status.code() == Some(status), "{command}: {}", output.both());
            let told = report(&output.stdout).with_context(|| output.both())?;
            ensure!(told["error"].to_string().contains(word), "{command}: {told}");
            let first = told["error"].as_str().unwrap_or_default();
            ensure!(output.stderr.contains(first), "{command}: {}", output.both());
        }
    }
    Ok(())
}
