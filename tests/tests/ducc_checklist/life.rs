//! What happens to a repository over time: notifications, DUCC beside this program, what is converted already, removal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use e2e::cvmfs_ducc::CvmfsDucc;
use e2e::faulty_registry::{Fault, FaultyRegistry};
use e2e::golden::{self, Golden};
use e2e::image::push;
use e2e::process::{Daemon, run};
use e2e::{Context, Result, ensure, tools};
use rustix::fs::FlockOperation;
use rustix::process::Signal;
use serde_json::Value;

use super::{Scene, image};

/// Whether a text is a time as DUCC writes it: ` 5 Mar 2024 - 14:03:22.123`.
fn is_time(text: &str) -> bool {
    let pattern = "dd Aaa dddd - dd:dd:dd.ddd";
    let fits = |(at, (kind, c)): (usize, (char, char))| match kind {
        'd' => c.is_ascii_digit() || (at == 0 && c == ' '),
        'A' => c.is_ascii_uppercase(),
        'a' => c.is_ascii_lowercase(),
        other => c == other,
    };
    text.len() == pattern.len() && pattern.chars().zip(text.chars()).enumerate().all(fits)
}

/// The lines of a file of notifications, each checked for what all have.
fn notifications(path: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let text = fs::read_to_string(path)?;
    ensure!(text.ends_with('\n'), "the last line is not complete");
    text.lines()
        .map(|line| {
            // All values are texts, and keys are sorted.
            let members: BTreeMap<String, String> =
                serde_json::from_str(line).with_context(|| line.to_owned())?;
            ensure!(serde_json::to_string(&members)? == line, "not as DUCC writes it: {line}");
            ensure!(is_time(&members["time"]) && members.contains_key("action"), "{line}");
            Ok(members)
        })
        .collect()
}

/// The members beside time and action that a line of an action has.
fn members(action: &str) -> Option<&'static [&'static str]> {
    Some(match action {
        "start_ducc" => &["pid"],
        "end_ducc" => &["pid", "time_elapsed_s"],
        "start_flat_conversion" => &["id", "image_request"],
        "end_flat_conversion" => &["id", "image_request", "status", "time_elapsed_s"],
        "start_layer_conversion" => &["id", "image", "layer"],
        "end_layer_conversion" => {
            &["id", "image", "layer", "size_bytes", "status", "time_elapsed_s"]
        }
        "publish_layer" => &["image", "layer_digest"],
        "publish_flat_image" => &["image_request", "private_path", "public_path"],
        _ => return None,
    })
}

#[test]
fn row_08_notifications() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    let (ducc, source, name) = (&scene.ducc, scene.source(), scene.name());
    let absent = scene.registry.source("org/tool:absent");
    let list = ducc.wish_list("wishes.yaml", &repository, &[&absent, &source])?;
    let other = ducc.make_dir("other.example.org")?.display().to_string();
    // Both ways to convert tell the same.
    for (log, status, command) in [
        ("of-list", 3, vec!["convert", "-i", &list]),
        ("of-image", 0, vec!["convert-single-image", "-i", &source, &other]),
        ("of-absent", 1, vec!["convert-single-image", "-i", &absent, &other]),
    ] {
        let path = ducc.path(log);
        ducc.run(status, &[&command[..], &["-n", &path]].concat())?;
        let lines = notifications(&path)?;
        for line in &lines {
            let expected = members(&line["action"]).with_context(|| format!("{line:?}"))?;
            let error = line.get("status").is_some_and(|status| status == "error");
            let expected: BTreeSet<&str> =
                expected.iter().chain(error.then_some(&"error")).copied().collect();
            let found = line.keys().map(String::as_str);
            let found: BTreeSet<&str> =
                found.filter(|key| !matches!(*key, "time" | "action")).collect();
            ensure!(found == expected, "{line:?}");
        }
        let of = |action: &str, member: &str| -> Vec<&str> {
            let found = lines.iter().filter(|line| line["action"] == action);
            found.filter_map(|line| line.get(member).map(String::as_str)).collect()
        };
        ensure!(lines[0]["action"] == "start_ducc", "{lines:?}");
        ensure!(lines[lines.len() - 1]["action"] == "end_ducc", "{lines:?}");
        // What begins ends, with the same id.
        for (start, end) in [
            ("start_flat_conversion", "end_flat_conversion"),
            ("start_layer_conversion", "end_layer_conversion"),
        ] {
            let sorted = |action: &str| of(action, "id").into_iter().collect::<BTreeSet<_>>();
            ensure!(sorted(start) == sorted(end), "{log}: {lines:?}");
        }
        let converts = log != "of-absent";
        let layers: BTreeSet<&str> =
            scene.image.layers.iter().map(|layer| layer.blob.hex()).filter(|_| converts).collect();
        let told: BTreeSet<&str> = of("publish_layer", "layer_digest").into_iter().collect();
        ensure!(told == layers, "{log}: {told:?}");
        ensure!(of("publish_layer", "image").iter().all(|image| *image == name), "{log}");
        let sizes = of("end_layer_conversion", "size_bytes");
        ensure!(sizes.iter().all(|size| size.parse::<u64>().is_ok_and(|size| size > 512)));
        let public = of("publish_flat_image", "public_path");
        ensure!(public == if converts { vec![name.as_str()] } else { vec![] }, "{log}: {public:?}");
        // This is what the listener of DUCC's webhook looks for.
        let failed = fs::read_to_string(&path)?.contains("\"status\":\"error\"");
        ensure!(failed == (log != "of-image"), "{log}: {lines:?}");
    }

    // Every command begins and ends, and a repair tells what it publishes.
    let layer = scene.image.layers[0].blob.hex();
    fs::remove_dir_all(format!("{other}/.layers/{}/{layer}", &layer[..2]))?;
    for (log, status, command) in [
        ("of-version", 0, &["version"][..]),
        ("of-status", 3, &["status"]),
        ("of-check", 1, &["check-image-syntax", "nothing"]),
        ("of-gc", 0, &["gc", &other]),
        ("of-repair", 0, &["verify", &other, "--repair"]),
    ] {
        let path = ducc.path(log);
        ducc.run(status, &[command, &["-n", &path]].concat())?;
        let lines = notifications(&path)?;
        let actions: Vec<&str> = lines.iter().map(|line| line["action"].as_str()).collect();
        ensure!(
            actions[0] == "start_ducc" && actions[actions.len() - 1] == "end_ducc",
            "{lines:?}"
        );
        let repairs = log == "of-repair";
        for action in ["start_layer_conversion", "publish_layer", "publish_flat_image"] {
            ensure!(actions.contains(&action) == repairs, "{log}: {lines:?}");
        }
        ensure!(repairs || lines.len() == 2, "{log}: {lines:?}");
    }
    let unusable = ducc.run(1, &["version", "-n", "/nonexistent/log"])?;
    ensure!(unusable.both().contains("/nonexistent/log"), "{}", unusable.both());

    // Several programs append to one file.
    let shared = ducc.path("shared");
    let mut children = Vec::new();
    for number in 0..4 {
        let into = ducc.make_dir(&format!("{number}.example.org"))?.display().to_string();
        let arguments = ["convert-single-image", "-i", &source, &into, "-n", &shared];
        let mut command = ducc.command(&arguments);
        children.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    }
    for mut child in children {
        ensure!(child.wait()?.success());
    }
    let lines = notifications(&shared)?;
    let ends = lines.iter().filter(|line| line["action"] == "end_ducc").count();
    let published = lines.iter().filter(|line| line["action"] == "publish_layer").count();
    ensure!((ends, published) == (4, 8), "{lines:?}");
    Ok(())
}

/// As DUCC takes it: a record lock on the whole file.
fn take(lock: &File) -> rustix::io::Result<()> {
    rustix::fs::fcntl_lock(lock, FlockOperation::NonBlockingLockExclusive)
}

#[test]
fn row_09_the_lock_of_ducc() -> Result<()> {
    let (mut scene, repository) = Scene::with_directory()?;
    scene.ducc = scene.ducc.with_lock();
    let ducc = &scene.ducc;
    let path = ducc.private_tmp().join("DUCC.lock");
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let convert = ["convert-single-image", "-i", &scene.source(), &repository];

    // DUCC is at work, so this waits, says so, and goes on when DUCC is done.
    let held = open()?;
    take(&held)?;
    let log = ducc.dir().join("waiting.log");
    let mut waiting = Daemon::spawn("cvmfs_ducc", &ducc.command(&convert), &log)?;
    waiting.wait_until("waiting", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("DUCC is publishing"))
    })?;
    ensure!(!Path::new(&repository).join(".layers").exists(), "something was published meanwhile");
    drop(held);
    ensure!(waiting.wait()?.success(), "{}", waiting.log_tail());
    ensure!(Path::new(&repository).join(scene.name()).exists(), "not published");

    // While this is at work, DUCC waits.
    let slow = FaultyRegistry::start(&image(ducc.dir(), "slow")?, Fault::Stall)?;
    let log = ducc.dir().join("slow.log");
    let stalled = ["convert-single-image", "-i", "-r", "1", &slow.source(), &repository];
    let mut working = Daemon::spawn("cvmfs_ducc", &ducc.command(&stalled), &log)?;
    working.wait_until("fetching a layer", || slow.layer_requests() > 0)?;
    let other = open()?;
    ensure!(take(&other).is_err(), "DUCC could write at the same time");
    working.signal(Signal::TERM)?;
    ensure!(working.wait()?.code() == Some(143), "{}", working.log_tail());
    take(&other).context("the lock is still held")?;

    // Under its own name the program does not care, and under DUCC's it trusts no file that others can choose.
    symlink(tools::ducc()?, ducc.dir().join("bin/ducc"))?;
    run(&mut ducc.called_as("ducc", &["delete-image", &repository, &scene.name()]))?;
    drop(other);
    fs::remove_file(&path)?;
    let target = ducc.dir().join("elsewhere");
    symlink(&target, &path)?;
    let refused = ducc.run(1, &convert)?;
    ensure!(refused.stderr.contains("/tmp/DUCC.lock"), "{}", refused.both());
    ensure!(!target.exists() && !Path::new(&repository).join(scene.name()).exists());
    Ok(())
}

#[test]
fn row_10_what_ducc_has_converted() -> Result<()> {
    let (golden, native) = (Golden::new()?, golden::native()?);
    let ducc = CvmfsDucc::install()?
        .env("DUCC_KEYS", native.keys())
        .env("CONTAINERS_REGISTRIES_CONF", golden.registries_conf());
    let (source, locator) = (golden.source(), native.locator());
    let before = native.revision()?;
    let single = ducc.run(0, &["convert-single-image", "-i", "--json", &source, &locator])?;
    let report: Value = serde_json::from_str(single.stdout.trim())?;
    ensure!(report["status"] == "up-to-date" && report["layers_fetched"] == 0, "{report}");
    ensure!(native.revision()? == before, "a revision without a change");

    // Another image under the tag is not the same.
    let moved = image(ducc.dir(), "moved")?;
    push(&golden.registry, "library/golden:v1", &moved)?;
    let single = ducc.run(0, &["convert-single-image", "-i", "--json", &source, &locator])?;
    let report: Value = serde_json::from_str(single.stdout.trim())?;
    ensure!(report["status"] == "converted" && report["layers_fetched"] == 2, "{report}");
    ensure!(native.tree(golden::NAME)?.get("etc/version")?.size == Some(5));
    native.check()
}

#[test]
fn row_11_garbage_collection_and_data_of_ducc() -> Result<()> {
    let repository = golden::directory()?;
    let (root, ducc) = (repository.path(), CvmfsDucc::install()?);
    let locator = root.display().to_string();
    let flat = root.join(fs::read_link(root.join(golden::NAME))?.strip_prefix("../..")?);
    let manifest = root.join(".metadata").join(golden::NAME).join("manifest.json");
    let layers = |root: &Path| -> Result<usize> {
        let mut count = 0;
        for shard in fs::read_dir(root.join(".layers"))? {
            let shard = shard?.path();
            if shard.is_dir() {
                count += fs::read_dir(shard)?
                    .filter(|it| it.as_ref().is_ok_and(|it| it.path().is_dir()))
                    .count();
            }
        }
        Ok(count)
    };
    let collect = |options: &[&str]| -> Result<Value> {
        let gc = ["gc", &locator, "--json", "--grace-period", "0"];
        Ok(serde_json::from_str(ducc.run(0, &[&gc[..], options].concat())?.stdout.trim())?)
    };
    // All that DUCC has made is in use: by the public link, by the metadata, by its store for Podman.
    let report = collect(&[])?;
    ensure!(report["paths"] == serde_json::json!([]) && report["found"] == 0, "{report}");

    // Somebody's own link keeps the flat root, the store keeps the layers; names and metadata go.
    symlink(Path::new(".flat/ce").join(flat.file_name().context("a name")?), root.join("latest"))?;
    ducc.run(0, &["delete-image", &locator, golden::NAME])?;
    ensure!(fs::symlink_metadata(root.join(golden::NAME)).is_err() && !manifest.exists());
    ensure!(flat.is_dir() && layers(root)? == 3);
    // Without the link and the store, nothing holds the content any more.
    fs::remove_file(root.join("latest"))?;
    fs::remove_dir_all(root.join("podmanStore"))?;
    let noticed = collect(&[])?;
    ensure!(noticed["error"].is_null(), "{noticed}");
    let trial = collect(&["--dry-run"])?;
    let report = collect(&[])?;
    let gone = |report: &Value| -> Vec<String> {
        let paths = report["paths"].as_array().into_iter().flatten();
        paths.filter_map(|path| path.as_str().map(str::to_owned)).collect()
    };
    // They go at once, or when they have been noticed.
    let all: Vec<String> = gone(&noticed).into_iter().chain(gone(&report)).collect();
    ensure!(gone(&trial) == gone(&report) && all.len() == 4, "{noticed} {trial} {report}");
    ensure!(!flat.exists() && layers(root)? == 0);
    ensure!(root.join("new_repository").exists() && root.join(".chains").exists());
    Ok(())
}
