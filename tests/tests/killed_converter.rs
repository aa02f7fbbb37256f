//! kill -9 of the converter at 50 points of a conversion: no image is ever half visible, and the next run completes
//! it.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use e2e::ducc::Convert;
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, write_layout};
use e2e::tree::Tree;
use e2e::tree_diff::ensure_same;
use e2e::{Context, Result, ensure};
use tempfile::TempDir;

const POINTS: u32 = 50;
const NAME: &str = "r.io/tool:1";

/// Enough names for every phase to take a while: two layers and 1,200 files.
fn image(work: &Path) -> Result<Image> {
    let mut layers = Vec::new();
    for layer in 0..2 {
        let mut entries = Vec::new();
        for dir in 0..30 {
            entries.push(Entry::dir(format!("d{dir}")).mtime(1_600_000_000 + layer, 0));
            for file in 0..20 {
                entries.push(Entry::noise(
                    format!("d{dir}/l{layer}-{file}"),
                    2000,
                    dir * 100 + file,
                ));
            }
        }
        entries.push(Entry::whiteout("d1/l0-1"));
        layers.push(Layer::build(work, Compression::Gzip, &entries)?);
    }
    Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)
}

/// The published trees, without what differs from run to run: DUCC's own records, and times outside of root file
/// systems.
fn published(repository: &Path) -> Result<Tree> {
    let mut tree = Tree::read(repository)?;
    tree.0.retain(|path, _| !path.ends_with(b"/.metadata/layers.json"));
    for (path, facts) in &mut tree.0 {
        let text = String::from_utf8_lossy(path);
        let is_of_layers = text.contains("/layerfs/") || text.contains("/rootfs/");
        if !is_of_layers {
            facts.mtime = (0, 0);
        }
    }
    Ok(tree)
}

#[test]
fn at_fifty_points() -> Result<()> {
    let work = TempDir::new()?;
    let image = image(work.path())?;
    let layout = work.path().join("layout");
    write_layout(&layout, "tool", &image)?;
    let source = format!("oci:{}:tool", layout.display());
    let convert = |repository: &Path| Convert::new(&source, repository).public_name(NAME);

    let reference = repository()?;
    let begun = Instant::now();
    convert(reference.path()).run()?;
    // How long a run takes; shortened if one turns out to be faster.
    let mut whole = begun.elapsed();
    let reference = published(reference.path())?;

    let mut killed = 0;
    for attempt in 0..POINTS * 4 {
        if killed == POINTS {
            break;
        }
        let repository = repository()?;
        let begun = Instant::now();
        let mut child = convert(repository.path())
            .command()?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
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
        check_after_kill(
            repository.path(),
            || convert(repository.path()).run().map(drop),
            &reference,
        )
        .with_context(|| format!("attempt {attempt}, killed after {ran:?}"))?;
    }
    ensure!(killed == POINTS, "only {killed} runs were killed before their end");
    Ok(())
}

/// A repository in memory, so that making it durable does not wait for whatever else keeps the machine's disk busy.
fn repository() -> Result<TempDir> {
    Ok(TempDir::new_in("/dev/shm")?)
}

fn check_after_kill(
    repository: &Path,
    again: impl FnOnce() -> Result<()>,
    reference: &Tree,
) -> Result<()> {
    // What is visible is complete: a public name leads to the whole image.
    let public = repository.join(NAME);
    if fs::symlink_metadata(&public).is_ok() {
        let seen = Tree::read(&fs::canonicalize(&public)?)?;
        ensure!(
            seen.get("d29/l1-19").is_ok() && seen.get("d1/l0-1").is_err(),
            "half an image is visible"
        );
    }
    again().context("the next run")?;
    ensure_same("undisturbed", reference, "killed and run again", &published(repository)?)?;
    ensure!(!repository.join(".ducc").exists(), "the staging area is still there");
    Ok(())
}
