//! `ducc verify` against a real registry: what is wrong is told, what cannot be known is told apart from that, and what is
//! wrong is mended.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use e2e::ducc::closed_dir;
use e2e::image::{
    Compression, Config, Entry, Format, Image, Index, Layer, host_architecture, push,
};
use e2e::native::Native;
use e2e::registry::Registry;
use e2e::rounds::Publisher;
use e2e::target::Target;
use e2e::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "org/tool:1";

fn image(work: &Path, seed: u64) -> Result<Image> {
    let layers = [
        vec![Entry::dir("usr"), Entry::noise("usr/library", 20_000, 1)],
        vec![
            Entry::dir("usr"),
            Entry::program("usr/tool", format!("#!/bin/sh\n# {seed}\n")).mode(0o4755).owner(7, 8),
            Entry::hard_link("usr/other", "usr/library"),
        ],
    ];
    let layers: Vec<_> = layers
        .iter()
        .map(|entries| Layer::build(work, Compression::Gzip, entries))
        .collect::<Result<_>>()?;
    Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)
}

/// The exit status and the report.
fn verify(publisher: &Publisher, options: &[&str]) -> Result<(Option<i32>, Value)> {
    let output = publisher.on_repository("verify", &[&["--json"], options].concat())?;
    let report = serde_json::from_str(&output.stdout).with_context(|| output.both())?;
    Ok((output.status.code(), report))
}

fn ensure_clean(publisher: &Publisher, options: &[&str], compared: usize) -> Result<()> {
    let (status, report) = verify(publisher, options)?;
    ensure!(status == Some(0) && report["compared"] == json!(compared), "{options:?}: {report}");
    for none in ["faults", "moved", "not_compared"] {
        ensure!(report[none] == json!([]), "{options:?}: {report}");
    }
    Ok(())
}

fn kinds(report: &Value) -> Vec<&str> {
    let faults = report["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
    faults.iter().filter_map(|fault| fault["kind"].as_str()).collect()
}

/// What is done to a repository in which `layer`, as hex digits, is a layer that has `usr/library`.
type Damage<'a> = dyn Fn(&str) -> Result<()> + 'a;

/// `damaged` are the kinds of faults that `damage` makes.
fn scenes(publisher: &Publisher, damage: &Damage<'_>, damaged: &[&str]) -> Result<()> {
    let (work, registry) = (TempDir::new()?, Registry::start()?);
    let first = image(work.path(), 1)?;
    push(&registry, NAME, &first)?;
    publisher.wish([registry.source(NAME)])?;
    let round = publisher.round(&[])?;
    ensure!(round.status == Some(0), "{}", round.output.both());

    ensure_clean(publisher, &["--offline"], 0)?;
    let (_, traffic) = registry.watch(|| ensure_clean(publisher, &[], 1))?;
    ensure!(traffic.blobs().is_empty() && traffic.requests.len() == 1, "{:?}", traffic.requests);
    let (_, traffic) = registry.watch(|| ensure_clean(publisher, &["--data"], 1))?;
    ensure!(traffic.blobs().len() == 2, "each layer once: {:?}", traffic.requests);

    // Nothing but a reading of the content shows it.
    damage(first.layers[0].blob.hex())?;
    ensure_clean(publisher, &[], 1)?;
    let (status, report) = verify(publisher, &["--data"])?;
    ensure!(status == Some(1) && kinds(&report) == damaged, "{report}");
    let (status, report) = verify(publisher, &["--data", "--repair"])?;
    ensure!(status == Some(0) && report["repaired"].as_array().is_some(), "{report}");
    ensure_clean(publisher, &["--data"], 1)?;

    push(&registry, NAME, &image(work.path(), 2)?)?;
    let (status, report) = verify(publisher, &["--data"])?;
    let moved = &report["moved"][0];
    ensure!(status == Some(0) && kinds(&report).is_empty(), "{report}");
    ensure!(moved["published"] == json!(first.manifest.digest), "{report}");
    ensure!(moved["now"] != moved["published"] && moved["now"].is_string(), "{report}");

    drop(registry);
    let (status, report) = verify(publisher, &[])?;
    ensure!(status == Some(1) && kinds(&report).is_empty() && report["compared"] == 0, "{report}");
    let reason = report["not_compared"][0]["reason"].as_str().context("no reason")?;
    ensure!(reason.contains("org/tool:1"), "{reason}");
    ensure_clean(publisher, &["--offline"], 0)
}

fn flip(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let before = fs::metadata(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    fs::write(path, bytes)?;
    fs::set_permissions(path, before.permissions())?;
    fs::File::options().append(true).open(path)?.set_modified(before.modified()?)?;
    Ok(())
}

#[test]
fn a_directory() -> Result<()> {
    let (repository, dir) = (closed_dir()?, TempDir::new()?);
    let publisher = Publisher::new(dir.path(), repository.path().display().to_string());
    let damage = |layer: &str| {
        let layerfs = repository.path().join(".layers").join(&layer[..2]).join(layer);
        flip(&layerfs.join("layerfs/usr/library"))
    };
    scenes(&publisher, &damage, &["layer"])?;
    let (status, _) = verify(&publisher, &["--offline", "--data"])?;
    ensure!(status == Some(1), "nothing tells what the files of a directory should hold");
    Ok(())
}

#[test]
fn a_native_repository() -> Result<()> {
    native_repository(Native::create()?)
}

#[test]
fn a_native_repository_in_a_bucket() -> Result<()> {
    native_repository(Native::create_in_bucket("")?)
}

fn native_repository(native: Native) -> Result<()> {
    let (target, dir) = (Target::Native(native), TempDir::new()?);
    let publisher = target.publisher(dir.path());
    let Target::Native(native) = &target else { bail!("it is a native one") };
    // The upper layer has the same file under another name.
    let both = ["damaged", "damaged"];
    let damage = |layer: &str| {
        let path = format!("/.layers/{}/{layer}/layerfs/usr/library", &layer[..2]);
        flip(&object(native, &path)?)?;
        ensure_clean(&publisher, &["--offline"], 0)?;
        let (status, report) = verify(&publisher, &["--offline", "--data"])?;
        ensure!(status == Some(1) && kinds(&report) == both, "{report}");
        Ok(())
    };
    scenes(&publisher, &damage, &both)?;
    native.check()
}

/// The file of the only object of a file.
fn object(native: &Native, path: &str) -> Result<PathBuf> {
    use cvmfs_repository::entry::{Content, EntryKind};
    use cvmfs_repository::hash::ObjectKind;
    use cvmfs_repository::path::TreePath;
    let path = TreePath::parse(path.as_bytes()).context("no path")?;
    let entry = native.snapshot()?.lookup(&path)?.with_context(|| format!("no {path}"))?;
    let EntryKind::File(file) = entry.kind else { bail!("{path} is no file") };
    let Content::Whole(hash) = file.content else { bail!("{path} has several objects") };
    Ok(native.storage().join(hash.object(ObjectKind::File).path()))
}

/// The public path of an image for several platforms leads through a directory that clients choose.
#[test]
fn an_image_for_several_platforms() -> Result<()> {
    let (work, registry) = (TempDir::new()?, Registry::start()?);
    let of = |architecture: &str, seed| -> Result<Image> {
        let config = Config { architecture: architecture.to_owned(), ..Config::with_cmd(["true"]) };
        let layer = [Entry::dir("usr"), Entry::noise("usr/library", 1000, seed)];
        Image::new(Format::Oci, config, &[Layer::build(work.path(), Compression::Gzip, &layer)?])
    };
    let images = vec![of(host_architecture(), 1)?, of("s390x", 2)?];
    push(&registry, NAME, &Index::new(Format::Oci, images)?)?;
    let (native, repository, dir) = (Native::create()?, closed_dir()?, TempDir::new()?);
    for locator in [native.locator(), repository.path().display().to_string()] {
        let publisher = Publisher::new(dir.path(), locator)
            .env("DUCC_KEYS", native.keys())
            .env("DUCC_CACHE", dir.path().join("cache"))
            .env("DUCC_STATE", dir.path().join("state"));
        publisher.wish([registry.source(NAME)])?;
        let round = publisher.round(&["--multi-arch"])?;
        ensure!(round.status == Some(0), "{}", round.output.both());
        let (_, traffic) = registry.watch(|| ensure_clean(&publisher, &[], 3))?;
        ensure!(traffic.requests.len() == 1, "{:?}", traffic.requests);
        ensure_clean(&publisher, &["--data"], 3)?;
    }
    Ok(())
}

/// A platform is mended and the public path stays; and where it leads to another platform than it should, that is told.
#[test]
fn one_platform_of_several_in_a_directory() -> Result<()> {
    let (work, registry, repository) = (TempDir::new()?, Registry::start()?, closed_dir()?);
    let of = |architecture: &str, seed| -> Result<Image> {
        let config = Config { architecture: architecture.to_owned(), ..Config::with_cmd(["true"]) };
        let layer = [Entry::dir("usr"), Entry::noise("usr/library", 1000, seed)];
        Image::new(Format::Oci, config, &[Layer::build(work.path(), Compression::Gzip, &layer)?])
    };
    let (other, own) = (of("s390x", 2)?, of(host_architecture(), 1)?);
    push(&registry, NAME, &Index::new(Format::Oci, vec![other.clone(), own.clone()])?)?;
    let publisher = Publisher::new(work.path(), repository.path().display().to_string());
    publisher.wish([registry.source(NAME)])?;
    let round = publisher.round(&["--multi-arch"])?;
    ensure!(round.status == Some(0), "{}", round.output.both());
    let at = |path: &str| repository.path().join(path);
    let (public, of_other) =
        (registry.reference(NAME), format!(".multiarch/s390x/{}", registry.reference(NAME)));
    let leads_to_own = || -> Result<()> {
        let found = fs::read_link(at(&public))?;
        ensure!(found.ends_with(own.config.hex()), "{} is public", found.display());
        let entries = fs::read_to_string(at(".metadata/remove-schedule.json")).unwrap_or_default();
        ensure!(!entries.contains(own.config.hex()), "{entries}");
        Ok(())
    };
    fs::remove_file(at(&of_other))?;
    let (status, report) = verify(&publisher, &["--repair"])?;
    ensure!(status == Some(0) && kinds(&report) == ["missing"], "{report}");
    ensure_clean(&publisher, &[], 3)?;
    leads_to_own()?;

    fs::remove_file(at(&public))?;
    let shown = "../".repeat(public.matches('/').count())
        + &format!(".flat/{}/{}", &other.config.hex()[..2], other.config.hex());
    std::os::unix::fs::symlink(shown, at(&public))?;
    for file in ["manifest.json", "config.json"] {
        let (from, to) =
            (format!(".metadata/{of_other}/{file}"), format!(".metadata/{public}/{file}"));
        fs::remove_file(at(&to))?;
        fs::copy(at(&from), at(&to))?;
    }
    let (status, report) = verify(&publisher, &["--repair"])?;
    ensure!(status == Some(0) && kinds(&report) == ["link"], "{report}");
    ensure_clean(&publisher, &[], 3)?;
    leads_to_own()
}

/// Images without flat roots stay so, and an image is not replaced by the one that has its tag now.
#[test]
fn what_is_mended_stays_what_it_was() -> Result<()> {
    let (work, registry, repository) = (TempDir::new()?, Registry::start()?, closed_dir()?);
    let publisher = Publisher::new(work.path(), repository.path().display().to_string());
    let image = |seed| -> Result<Image> {
        let layers = [("base", 1), ("own", seed)].map(|(name, seed)| {
            let entries = [Entry::dir("usr"), Entry::noise(format!("usr/{name}"), 20_000, seed)];
            Layer::build(work.path(), Compression::Gzip, &entries)
        });
        let layers: Vec<_> = layers.into_iter().collect::<Result<_>>()?;
        Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)
    };
    let first = image(1)?;
    push(&registry, NAME, &first)?;
    push(&registry, "org/tool:2", &image(2)?)?;
    publisher.wish([NAME, "org/tool:2"].map(|name| registry.source(name)))?;
    let round = publisher.round(&["--skip-flat"])?;
    ensure!(round.status == Some(0), "{}", round.output.both());
    let newer = image(3)?;
    push(&registry, NAME, &newer)?;
    let layer = first.layers[0].blob.hex();
    let layer = repository.path().join(".layers").join(&layer[..2]).join(layer);
    flip(&layer.join("layerfs/usr/base"))?;
    // The other image shares the layer, and nobody has looked at it.
    let options = ["--data", "--repair", &registry.reference("org/tool:2")];
    let ((status, report), traffic) = registry.watch(|| verify(&publisher, &options))?;
    ensure!(status == Some(0), "{report}");
    ensure!(report["repaired"].as_array().is_some_and(|it| it.len() == 2), "{report}");
    let fetched =
        traffic.blobs().into_iter().filter(|blob| blob.ends_with(first.layers[0].blob.hex()));
    ensure!(fetched.count() == 3, "to compare, to mend, to compare: {:?}", traffic.requests);
    let (status, report) = verify(&publisher, &["--data"])?;
    ensure!(status == Some(0) && kinds(&report).is_empty(), "{report}");
    ensure!(report["moved"][0]["published"] == json!(first.manifest.digest), "{report}");
    for absent in [".flat".to_owned(), registry.reference(NAME)] {
        ensure!(!repository.path().join(&absent).exists(), "{absent}");
    }
    Ok(())
}

/// Nothing takes the place of an image that its registry does not have any more, or of which nobody knows which it was.
#[test]
fn what_cannot_be_mended_stays_and_is_told() -> Result<()> {
    let (work, registry, repository) = (TempDir::new()?, Registry::start()?, closed_dir()?);
    let publisher = Publisher::new(work.path(), repository.path().display().to_string());
    let (first, newer) = (image(work.path(), 1)?, image(work.path(), 2)?);
    push(&registry, NAME, &first)?;
    publisher.wish([registry.source(NAME)])?;
    let round = publisher.round(&[])?;
    ensure!(round.status == Some(0), "{}", round.output.both());
    let public = repository.path().join(registry.reference(NAME));
    let right = fs::read_link(&public)?;
    let repair = |status: i32, words: &[&str]| -> Result<()> {
        let output = publisher.on_repository("verify", &["--repair"])?;
        ensure!(output.status.code() == Some(status), "{}", output.both());
        for word in words {
            ensure!(output.stderr.contains(word), "nothing of {word:?}: {}", output.both());
        }
        Ok(())
    };
    fs::remove_file(&public)?;
    std::os::unix::fs::symlink("nowhere", &public)?;
    push(&registry, NAME, &newer)?;
    fs::remove_file(registry.blob_file(&first.manifest.digest)?)?;
    let words = [&*first.manifest.digest, "could not be compared", "1 of 1 images could not"];
    repair(1, &words)?;
    ensure!(fs::read_link(&public)? == Path::new("nowhere"), "something was published");
    push(&registry, NAME, &first)?;
    repair(0, &[])?;
    ensure!(fs::read_link(&public)? == right);

    let metadata = repository.path().join(".metadata").join(registry.reference(NAME));
    fs::write(metadata.join("manifest.json"), "{")?;
    fs::remove_file(metadata.join("config.json"))?;
    fs::remove_file(&public)?;
    repair(1, &["ducc delete-image", "1 of 1 images could not"])?;
    ensure!(fs::read_link(&public).is_err(), "something was published");
    Ok(())
}

/// While a publisher is at work an image can seem to be faulty, but its layers are not fetched for every look.
#[test]
fn beside_a_publisher() -> Result<()> {
    let (work, registry, repository) = (TempDir::new()?, Registry::start()?, closed_dir()?);
    let publisher = Publisher::new(work.path(), repository.path().display().to_string());
    let image = image(work.path(), 1)?;
    push(&registry, NAME, &image)?;
    publisher.wish([registry.source(NAME)])?;
    let round = publisher.round(&[])?;
    ensure!(round.status == Some(0), "{}", round.output.both());
    fs::remove_file(repository.path().join(registry.reference(NAME)))?;
    fs::create_dir(repository.path().join(".ducc"))?;
    let lock = fs::File::create(repository.path().join(".ducc/lock"))?;
    lock.lock()?;
    let ((status, report), traffic) = registry.watch(|| verify(&publisher, &["--data"]))?;
    ensure!(status == Some(1) && kinds(&report) == ["missing"], "{report}");
    ensure!(traffic.blobs().len() == 2 * image.layers.len(), "{:?}", traffic.requests);
    Ok(())
}
