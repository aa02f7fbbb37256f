//! What a publisher does and experiences: sources, credentials, a second run, two runs at once, thin images,
//! signals, exit statuses, a full disk.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::ducc::Convert;
use e2e::faulty_registry::{Fault, FaultyRegistry};
use e2e::image::{
    Blob, Compression, Config, Entry, Format, Image, Index, Layer, host_architecture, push,
    write_layout,
};
use e2e::process::run;
use e2e::registry::{Access, PASSWORD, Registry, USER};
use e2e::tree::Tree;
use e2e::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "org/tool:1";

fn image_of(work: &Path, format: Format, config: Config, seed: u64) -> Result<Image> {
    let layers = [
        Layer::build(
            work,
            Compression::Gzip,
            &[Entry::dir("d"), Entry::noise("d/a", 50_000, seed)],
        )?,
        Layer::build(
            work,
            Compression::Gzip,
            &[Entry::dir("d"), Entry::whiteout("d/a"), Entry::file("b", "b")],
        )?,
    ];
    Image::new(format, config, &layers)
}

fn image(work: &Path) -> Result<Image> {
    image_of(work, Format::Oci, Config::with_cmd(["true"]), 1)
}

#[test]
fn a_second_run_asks_for_the_manifest_and_nothing_else() -> Result<()> {
    let (work, repository, registry) = (TempDir::new()?, TempDir::new()?, Registry::start()?);
    push(&registry, NAME, &image(work.path())?)?;
    let convert = Convert::new(&registry.source(NAME), repository.path());
    let (first, traffic) = registry.watch(|| convert.report())?;
    ensure!(first["status"] == "converted" && first["layers_fetched"] == 2, "{first}");
    ensure!(traffic.blobs().len() == 3, "two layers and a configuration: {:?}", traffic.blobs());

    let before = Tree::read(repository.path())?;
    let (second, traffic) = registry.watch(|| convert.report())?;
    ensure!(second["status"] == "up-to-date" && second["layers_skipped"] == 2, "{second}");
    ensure!(
        traffic.requests.len() == 1 && traffic.requests[0].is_manifest(),
        "{:?}",
        traffic.requests
    );
    ensure!(Tree::read(repository.path())? == before, "the second run changed something");

    // What another tool has removed is restored, without fetching what is still there.
    fs::remove_file(repository.path().join(registry.reference(NAME)))?;
    let (third, traffic) = registry.watch(|| convert.report())?;
    ensure!(
        third["status"] == "converted" && traffic.requests.len() == 1,
        "{third} {:?}",
        traffic.requests
    );
    ensure!(Tree::read(repository.path())?.0.len() == before.0.len(), "the link was not restored");
    Ok(())
}

#[test]
fn two_runs_at_once_serialize() -> Result<()> {
    let (work, repository) = (TempDir::new()?, TempDir::new()?);
    let image = image(work.path())?;
    let slow = FaultyRegistry::start(&image, Fault::Stall)?;
    let mut first = Convert::new(&slow.source(), repository.path())
        .option("--stall-timeout", "3")
        .option("--attempts", "1")
        .command()?
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let lock = repository.path().join(".ducc/lock");
    wait_for("the lock", || lock.exists() && slow.layer_requests() > 0)?;

    let layout = work.path().join("layout");
    write_layout(&layout, "t", &image)?;
    let source = format!("oci:{}:t", layout.display());
    let second = Convert::new(&source, repository.path()).public_name("r.io/second:1").run_any()?;
    ensure!(second.status.success(), "{}", second.both());
    let pid = first.id().to_string();
    for word in ["another ducc", &pid, "waiting"] {
        ensure!(second.stderr.contains(word), "nothing of {word:?}: {}", second.both());
    }
    ensure!(first.wait()?.code() == Some(1), "the stalled run succeeded");
    ensure!(repository.path().join("r.io/second:1/b").exists(), "not published");
    ensure!(!repository.path().join(".ducc").exists(), "the staging area is still there");
    Ok(())
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ready() {
        ensure!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn signals_end_it_cleanly() -> Result<()> {
    let work = TempDir::new()?;
    let image = image(work.path())?;
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let repository = TempDir::new()?;
        let slow = FaultyRegistry::start(&image, Fault::Stall)?;
        let mut child = Convert::new(&slow.source(), repository.path())
            .flag("--json")
            .command()?
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        wait_for("a layer's download", || slow.layer_requests() > 0)?;
        let begun = Instant::now();
        kill_process(Pid::from_child(&child), signal)?;
        let ended = child.wait()?;
        ensure!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
        ensure!(ended.code() == Some(status), "{signal:?}: {ended}");
        let mut report = String::new();
        child.stdout.take().context("no output")?.read_to_string(&mut report)?;
        let report: Value = serde_json::from_str(&report).with_context(|| report.clone())?;
        ensure!(report["status"] == "failed" && report["error"].is_string(), "{report}");
        ensure!(
            fs::read_dir(repository.path())?.next().is_none(),
            "something is left behind in the repository"
        );
    }
    Ok(())
}

#[test]
fn exit_statuses_and_their_words() -> Result<()> {
    let (work, repository, registry) = (TempDir::new()?, TempDir::new()?, Registry::start()?);
    push(&registry, NAME, &image(work.path())?)?;
    let here = repository.path();
    let nowhere = here.join("nowhere");
    let source = registry.source(NAME);
    let cases: [(&str, &Path, i32, &[&str]); 8] = [
        (&source, &nowhere, 104, &["nowhere", "create"]),
        ("ubuntu:22.04", here, 2, &["registry.hub.docker.com"]),
        ("localhost:1/UPPER:1", here, 2, &["lower-case"]),
        ("http://localhost:1/a/b", here, 2, &["no default tag"]),
        ("http://localhost:1/a/b:*", here, 1, &["wildcard"]),
        (&registry.source("org/tool:absent"), here, 1, &["org/tool:absent"]),
        ("http://localhost:1/a/b:1", here, 1, &["localhost:1"]),
        ("docker-archive:/nonexistent.tar", here, 1, &["/nonexistent.tar"]),
    ];
    for (image, repository, status, words) in cases {
        let convert = Convert::new(image, repository).option("--attempts", "1");
        let output = convert.run_any()?;
        ensure!(
            output.status.code() == Some(status),
            "{image}: {}\n{}",
            output.status,
            output.both()
        );
        for word in words {
            ensure!(
                output.stderr.contains(word),
                "{image}: nothing of {word:?}\n{}",
                output.both()
            );
        }
    }
    ensure!(fs::read_dir(here)?.next().is_none(), "a failed run left something behind");

    let help = run(Convert::new("--help", here).command()?.args(["--help"]))?.stdout;
    ensure!(
        help.contains("Exit status") && help.contains("104") && help.contains("Examples"),
        "{help}"
    );
    let quiet = Convert::new(&source, here).flag("--quiet").run()?;
    ensure!(quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{}", quiet.both());
    Ok(())
}

#[test]
fn platforms_of_an_index() -> Result<()> {
    let (work, repository, registry) = (TempDir::new()?, TempDir::new()?, Registry::start()?);
    let config = |architecture: &str| Config {
        architecture: architecture.to_owned(),
        ..Config::with_cmd([architecture])
    };
    for format in [Format::Oci, Format::Docker] {
        let images = [("s390x", 1), (host_architecture(), 2)]
            .map(|(architecture, seed)| image_of(work.path(), format, config(architecture), seed));
        let [other, host] = images;
        let (other, host) = (other?, host?);
        let name = format!("org/{format:?}:1").to_lowercase();
        push(&registry, &name, &Index::new(format, vec![other.clone(), host.clone()])?)?;
        let convert = Convert::new(&registry.source(&name), repository.path());
        let digest =
            |convert: Convert| -> Result<Value> { Ok(convert.report()?["config_digest"].clone()) };
        ensure!(
            digest(convert.clone())? == json!(host.config.digest),
            "{format:?}: not the host's"
        );
        ensure!(
            digest(convert.clone().platform("linux/s390x"))? == json!(other.config.digest),
            "{format:?}"
        );
        let output = convert.platform("linux/riscv64").run_any()?;
        ensure!(output.status.code() == Some(1), "{}", output.both());
        for word in ["linux/riscv64", "linux/s390x", host_architecture()] {
            ensure!(output.stderr.contains(word), "nothing of {word}: {}", output.both());
        }
    }
    Ok(())
}

#[test]
fn credentials_from_auth_files_and_helpers() -> Result<()> {
    let work = TempDir::new()?;
    let image = image(work.path())?;
    for (access, tls) in [
        (Access::Basic, false),
        (Access::Token, false),
        (Access::Basic, true),
        (Access::Token, true),
    ] {
        let registry = Registry::start_with(access, tls)?;
        push(&registry, NAME, &image)?;
        let repository = TempDir::new()?;
        let docker = TempDir::new()?;
        let authority =
            registry.authority().map(|path| path.as_os_str().to_owned()).unwrap_or_default();
        let convert = Convert::new(&registry.source(NAME), repository.path())
            .option("--attempts", "1")
            .env("DOCKER_CONFIG", docker.path())
            .env("SSL_CERT_FILE", authority);

        let refused = convert.run_any()?;
        ensure!(refused.status.code() == Some(1), "{access:?} {tls}: {}", refused.both());
        ensure!(refused.stderr.contains("docker login"), "{}", refused.both());
        ensure!(!refused.both().contains(PASSWORD), "the password is shown");

        let helper = work.path().join("docker-credential-e2e");
        let secret =
            json!({"ServerURL": registry.host(), "Username": USER, "Secret": PASSWORD}).to_string();
        fs::write(&helper, format!("#!/bin/sh\ncat > /dev/null\ncat <<'END'\n{secret}\nEND\n"))?;
        run(Command::new("chmod").arg("0755").arg(&helper))?;
        let path = format!("{}:{}", work.path().display(), std::env::var("PATH")?);
        let config = json!({"credHelpers": {registry.host(): "e2e"}});
        fs::write(docker.path().join("config.json"), config.to_string())?;
        let thin = registry.source("org/tool:thin");
        let report = convert
            .env("PATH", path)
            .thin(&thin)
            .report()
            .with_context(|| format!("{access:?} {tls}"))?;
        ensure!(report["status"] == "converted" && report["thin"]["pushed"] == true, "{report}");
    }
    Ok(())
}

#[test]
fn thin_images_in_both_forms() -> Result<()> {
    for format in [Format::Oci, Format::Docker] {
        let (work, repository, registry) = (TempDir::new()?, TempDir::new()?, Registry::start()?);
        let image = image_of(work.path(), format, Config::with_cmd(["true"]), 1)?;
        push(&registry, NAME, &image)?;
        let convert = Convert::new(&registry.source(NAME), repository.path())
            .option("--repository-name", "unpacked.example.org")
            .thin(&registry.source("thin/tool:1"));
        let report = convert.report()?;
        let thin = read(&registry, &report)?;
        ensure!(thin["config"]["digest"] == json!(image.config.digest), "another image ID: {thin}");
        ensure!(thin["mediaType"] == json!(image.manifest.media_type), "{thin}");
        ensure!(thin["subject"]["digest"] == json!(image.manifest.digest), "{thin}");
        ensure!(report["thin"]["pushed"] == true, "{report}");
        let again = convert.report()?;
        ensure!(again["thin"]["pushed"] == false && again["status"] == "up-to-date", "{again}");

        let driver = Convert::new(&registry.source(NAME), repository.path())
            .option("--repository-name", "unpacked.example.org")
            .option("--thin-format", "graphdriver")
            .thin(&registry.source("thin/tool:driver"))
            .report()?;
        let layers = read(&registry, &driver)?["layers"].as_array().context("no layers")?.clone();
        ensure!(layers.len() == 1, "{layers:?}");
        let blob = registry.blob_file(layers[0]["digest"].as_str().context("no digest")?)?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(blob)?));
        let entry = archive.entries()?.next().context("an empty layer")??;
        let described: Value = serde_json::from_reader(entry)?;
        let hex = image.layers[0].blob.hex();
        let url = format!("cvmfs://unpacked.example.org/.layers/{}/{hex}/layerfs", &hex[..2]);
        ensure!(described["layers"][0] == json!({"digest": hex, "url": url}), "{described}");
    }
    Ok(())
}

/// The manifest of the thin image in a report.
fn read(registry: &Registry, report: &Value) -> Result<Value> {
    let digest = report["thin"]["digest"].as_str().context("no thin digest")?;
    Blob::from_file("", digest.to_owned(), 0, registry.blob_file(digest)?).json()
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left() -> Result<()> {
    let work = TempDir::new()?;
    let layer = Layer::build(work.path(), Compression::Gzip, &[Entry::noise("big", 20 << 20, 1)])?;
    let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?;
    let layout = work.path().join("layout");
    write_layout(&layout, "t", &image)?;
    let disk = work.path().join("disk");
    fs::create_dir(&disk)?;
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m,mode=0755", "e2e"]).arg(&disk))?;
    let output = Convert::new(&format!("oci:{}:t", layout.display()), &disk).run_any();
    let left = fs::read_dir(&disk)?.count();
    run(Command::new("umount").arg(&disk))?;
    let output = output?;
    ensure!(output.status.code() == Some(1), "{}", output.both());
    ensure!(output.stderr.contains("full") && output.stderr.contains("big"), "{}", output.both());
    ensure!(left == 0, "{left} names are left behind");
    Ok(())
}
