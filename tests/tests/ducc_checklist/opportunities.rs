//! What can be better than in DUCC, area by area, each in a short form; the tests beside this one go deeper.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::ducc::closed_dir;
use e2e::faulty_registry::{Fault, FaultyRegistry};
use e2e::golden::{self, Golden};
use e2e::image::{
    Compression, Config, Entry, Format, Image, Layer, push, write_docker_archive, write_layout,
};
use e2e::process::run;
use e2e::registry::{Access, PASSWORD, Registry, USER};
use e2e::tree::Tree;
use e2e::tree_diff::ensure_same;
use e2e::{Context, Result, ensure, tools, umoci};
use layer_layout::{ChainId, DiffId, path};
use serde_json::{Value, json};

use super::{NAME, Scene, image};

/// A public key (P-384) by which nothing here is signed.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEt2IShiMSuEAsuAgcKnT9zhCuDstCLBiR
rgkBkDNslwMvzjOvCch1eE9nKa2vuH0JryeU8kb2sEiTFFVNvj9gLo3Y0Etvngjv
ETjgb/dr1Vj1t3AWU4asGr2A3al8mfN5
-----END PUBLIC KEY-----
";

#[test]
fn trust() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    // A registry that lies is found out, and nothing of the image appears.
    for fault in [Fault::Flipped, Fault::Short, Fault::Longer(1), Fault::Manifest] {
        let liar = FaultyRegistry::start(&scene.image, fault.clone())?;
        let convert = ["convert-single-image", "-i", "-r", "1", &liar.source(), &repository];
        let output = scene.ducc.run(1, &convert)?;
        ensure!(output.stderr.contains("sha256:"), "{fault:?}: {}", output.both());
        ensure!(fs::read_dir(&repository)?.next().is_none(), "{fault:?}: something is left");
    }
    // What is kept is what the registry has, so it can be checked at any time.
    scene.ducc.run(0, &["convert-single-image", "-i", &scene.source(), &repository])?;
    let metadata = format!("{repository}/.metadata/{}", scene.name());
    ensure!(fs::read(format!("{metadata}/manifest.json"))? == scene.image.manifest.bytes()?);
    ensure!(fs::read(format!("{metadata}/config.json"))? == scene.image.config.bytes()?);
    scene.ducc.run(0, &["verify", &repository])?;
    // A policy: nothing that is not signed with this key.
    let public = scene.ducc.write("cosign.pub", KEY)?;
    let other = scene.ducc.make_dir("signed.example.org")?.display().to_string();
    let convert =
        ["convert-single-image", "-i", "--signature-key", &public, &scene.source(), &other];
    let output = scene.ducc.run(1, &convert)?;
    ensure!(output.stderr.contains("sign") && output.stderr.contains(NAME), "{}", output.both());
    Ok(())
}

#[test]
fn formats() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    let dir = scene.ducc.dir().join("blobs");
    let layers =
        [(Compression::Zstd, "zstd"), (Compression::None, "tar"), (Compression::Gzip, "gzip")]
            .map(|(compression, name)| Layer::build(&dir, compression, &[Entry::file(name, name)]));
    let layers = layers.into_iter().collect::<Result<Vec<_>>>()?;
    let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
    push(&scene.registry, "org/mixed:1", &image)?;
    let (layout, archive) = (scene.ducc.dir().join("layout"), scene.ducc.dir().join("archive.tar"));
    write_layout(&layout, "t", &image)?;
    write_docker_archive(&archive, "org/mixed:1", &image)?;
    for (name, source) in [
        ("r.io/registry:1", scene.registry.source("org/mixed:1")),
        ("r.io/layout:1", format!("oci:{}:t", layout.display())),
        ("r.io/archive:1", format!("docker-archive:{}", archive.display())),
    ] {
        let convert = ["convert-single-image", "-i", "--public-name", name, &source, &repository];
        scene.ducc.run(0, &convert)?;
        for file in ["zstd", "tar", "gzip"] {
            let content = fs::read_to_string(format!("{repository}/{name}/{file}"))?;
            ensure!(content == file, "{name}: {file}: {content}");
        }
    }
    Ok(())
}

#[test]
fn correctness() -> Result<()> {
    let (golden, work) = (Golden::new()?, closed_dir()?);
    let repository = closed_dir()?;
    let ducc = e2e::cvmfs_ducc::CvmfsDucc::install()?
        .env("CONTAINERS_REGISTRIES_CONF", golden.registries_conf());
    let locator = repository.path().display().to_string();
    ducc.run(0, &["convert-single-image", "-i", &golden.source(), &locator])?;
    let layout = work.path().join("layout");
    write_layout(&layout, "v1", &golden.image)?;
    let unpacked = umoci::unpack(&layout, "v1", &work.path().join("bundle"))?;
    let diff_ids: Vec<DiffId> =
        golden.image.layers.iter().map(|it| it.diff_id.parse()).collect::<Result<_, _>>()?;
    let top = ChainId::of_layers(&diff_ids).pop().expect("the image has layers");
    let merged = repository.path().join(path::chain_rootfs(&top).as_str());
    let read = |root: &Path| Tree::read(root).map(Tree::without_root);
    ensure_same("umoci", &read(&unpacked)?, "ours", &read(&merged)?)
}

#[test]
fn transactions() -> Result<()> {
    let (scene, native) = Scene::with_native()?;
    let names: Vec<String> = (0..5).map(|number| format!("org/tool:{number}")).collect();
    let mut sources = Vec::new();
    for name in &names {
        push(&scene.registry, name, &image(scene.ducc.dir(), name)?)?;
        sources.push(scene.registry.source(name));
    }
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let list = scene.ducc.wish_list("wishes.yaml", &native.locator(), &sources)?;
    let before = native.revision()?;
    scene.ducc.run(0, &["convert", "-i", &list])?;
    // DUCC would need 41 for one image of three layers. One notes the wishes.
    let revisions = native.revision()? - before;
    ensure!(revisions == 2, "{revisions} revisions for five images");
    native.check()
}

#[test]
fn speed() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    // The first layer is the same in all.
    let mut sources = Vec::new();
    let mut blobs = BTreeSet::new();
    for number in 0..4 {
        let (name, image) =
            (format!("org/tool:{number}"), image(scene.ducc.dir(), &number.to_string())?);
        push(&scene.registry, &name, &image)?;
        sources.push(scene.registry.source(&name));
        blobs.extend(image.layers.iter().map(|layer| layer.blob.digest.clone()));
        blobs.insert(image.config.digest);
    }
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let list = scene.ducc.wish_list("wishes.yaml", &repository, &sources)?;
    let (_, traffic) = scene.registry.watch(|| scene.ducc.run(0, &["convert", "-i", &list]))?;
    let fetched = traffic.blobs();
    ensure!(blobs.len() == 9 && fetched.len() == blobs.len(), "{fetched:?}");
    let (_, traffic) = scene.registry.watch(|| scene.ducc.run(0, &["convert", "-i", &list]))?;
    let only_heads = traffic.requests.iter().all(|request| request.method == "HEAD");
    ensure!(only_heads && traffic.requests.len() == 4, "{:?}", traffic.requests);
    Ok(())
}

/// Who looks at `status` only sees when a list or a repository cannot be used.
#[test]
fn operation_with_unusable_lists() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    let ducc = &scene.ducc;
    let errors = |lists: &str| -> Result<Vec<String>> {
        let status = ducc.run(3, &["status", "--json"])?;
        let report: Value = serde_json::from_str(&status.stdout)?;
        let of_lists = report["errors"].as_array().context("an array")?.iter();
        let errors = of_lists.filter(|trouble| trouble["lists"] == json!([lists]));
        Ok(errors.map(|trouble| trouble["errors"].to_string()).collect())
    };
    let list = ducc.wish_list("wishes.yaml", &repository, &[&scene.source()])?;
    ducc.run(0, &["convert", "-i", &list])?;
    ducc.run(0, &["status"])?;

    // A list that never was sound, one that is not there, and one whose repository is not.
    let broken = ducc.write("broken.yaml", "input: [")?;
    let absent = ducc.path("absent.yaml");
    let nowhere = ducc.wish_list("nowhere.yaml", &ducc.path("nowhere"), &[&scene.source()])?;
    let sound = &list;
    for (name, list, status, reason) in [
        ("broken.yaml", &broken, 103, "broken.yaml"),
        ("absent.yaml", &absent, 102, "absent.yaml"),
        ("nowhere.yaml", &nowhere, 104, "no"),
    ] {
        ducc.run(status, &["convert", "-i", list])?;
        // As long as it lasts, also after rounds over other lists.
        ducc.run(0, &["convert", "-i", sound])?;
        let found = errors(list)?;
        ensure!(found.len() == 1 && found[0].contains(reason), "{found:?}");
        let status = ducc.run(3, &["status"])?;
        ensure!(status.stdout.contains(reason), "{}", status.both());
        ducc.wish_list(name, &repository, &[&scene.source()])?;
        ducc.run(0, &["convert", "-i", list])?;
        ducc.run(0, &["status"])?;
    }

    // One whose last good version counts.
    ducc.write("wishes.yaml", "input: [")?;
    ducc.run(3, &["convert", "-i", &list])?;
    let status = ducc.run(3, &["status"])?;
    ensure!(status.stdout.contains("its last good version is used"), "{}", status.both());
    ensure!(errors(&list)?.is_empty(), "it is an error of the repository's round");
    Ok(())
}

#[test]
fn operation() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    let ducc = &scene.ducc;
    let absent = scene.registry.source("org/tool:absent");
    let list = ducc.wish_list("wishes.yaml", &repository, &[&absent, &scene.source()])?;
    // One report for each run; the images that failed are remembered with the reason.
    let output = ducc.run(3, &["convert", "-i", "--json", &list])?;
    let report: Value = serde_json::from_str(output.stdout.trim())?;
    let report = &report["repositories"][0];
    ensure!(report["converted"][0]["name"] == json!(scene.name()), "{report}");
    ensure!(report["failed"][0]["name"] == json!(scene.registry.reference("org/tool:absent")));
    let status = ducc.run(3, &["status"])?;
    ensure!(status.stdout.contains("org/tool:absent"), "{}", status.both());
    // Trials change nothing.
    let before = Tree::read(Path::new(&repository))?;
    ducc.run(0, &["gc", &repository, "--dry-run", "--grace-period", "0"])?;
    ducc.run(0, &["delete-image", &repository, &scene.name(), "--dry-run"])?;
    let empty = ducc.write("empty.yaml", "images: []\n")?;
    let prune = ["prune-images", &repository, "--expanded-images", &empty, "--dry-run"];
    let output = ducc.run(0, &prune)?;
    ensure!(output.stdout.contains("would mark 1 images"), "{}", output.both());
    ensure_same("before", &before, "after trials", &Tree::read(Path::new(&repository))?)?;
    // The unit that comes with it is one.
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/systemd/ducc.service");
    let text = fs::read_to_string(unit)?;
    ensure!(text.contains("ExecStart=/usr/bin/ducc loop $WISH_LISTS") && text.contains("Restart="));
    Ok(())
}

#[test]
fn credentials() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    let secured = Registry::start_with(Access::Token, false)?;
    push(&secured, NAME, &scene.image)?;
    let source = secured.source(NAME);
    let convert = ["convert-single-image", "-i", "-r", "1", &source, &repository];
    // DUCC sends a password to every registry in whose name it finds the label's.
    let mut alike = scene.ducc.command(&convert);
    alike
        .env("DUCC_AUTH_REGISTRIES", "A")
        .env("DUCC_A_IDENT", "localhost")
        .env("DUCC_A_USER", USER)
        .env("DUCC_A_PASS", PASSWORD);
    let refused = e2e::process::run_any(&mut alike, e2e::process::COMMAND_TIMEOUT)?;
    ensure!(refused.status.code() == Some(1), "{}", refused.both());
    // What `docker login` writes.
    let docker = scene.ducc.make_dir("docker")?;
    let auth = base64(&format!("{USER}:{PASSWORD}"))?;
    let config = json!({"auths": {secured.host(): {"auth": auth}}});
    fs::write(docker.join("config.json"), config.to_string())?;
    run(scene.ducc.command(&convert).env("DOCKER_CONFIG", &docker))?;
    Ok(())
}

fn base64(text: &str) -> Result<String> {
    let script = "printf %s \"$1\" | base64 -w0";
    Ok(run(Command::new("/bin/sh").args(["-c", script, "sh", text]))?.stdout)
}

#[test]
fn selection() -> Result<()> {
    let (scene, _) = Scene::with_directory()?;
    for tag in ["1.0.0", "1.5.0", "2.0.0", "2.1.0", "3.0.0", "1a", "nightly"] {
        push(&scene.registry, &format!("org/many:{tag}"), &scene.image)?;
    }
    let expand = |name: &str, entry: &str| -> Result<BTreeSet<String>> {
        let image = scene.registry.source("org/many");
        let text = format!(
            "version: 2\ncvmfs_repo: r.example.org\ninput:\n  - image: {image}\n    tags: {entry}\n"
        );
        let list = scene.ducc.write(name, &text)?;
        let output = scene.ducc.run(0, &["expand-wildcard", "--lines", "-w", &list])?;
        Ok(output
            .stdout
            .lines()
            .filter_map(|line| Some(line.rsplit_once(':')?.1.to_owned()))
            .collect())
    };
    for (entry, tags) in [
        ("{semver: '>=1.2, <3'}", &["1.5.0", "2.0.0", "2.1.0"][..]),
        ("{semver: '>=1', newest: 2}", &["2.1.0", "3.0.0"]),
        ("{glob: ['2.*', 'night*']}", &["2.0.0", "2.1.0", "nightly"]),
    ] {
        let found = expand("list.yaml", entry)?;
        ensure!(found == tags.iter().map(|tag| (*tag).to_owned()).collect(), "{entry}: {found:?}");
    }
    // In DUCC's lists only the star is special.
    let output = scene.ducc.run(0, &["expand-wildcard", &scene.registry.source("org/many:1.*")])?;
    let many = scene.registry.source("org/many");
    ensure!(
        output.stdout == format!("images:\n- {many}:1.0.0\n- {many}:1.5.0\n"),
        "{}",
        output.both()
    );
    let wrong =
        scene.ducc.write("wrong.yaml", "version: 2\ncvmfs_repo: r\ninput:\n  - imgae: x\n")?;
    let output = scene.ducc.run(1, &["wishlist", "check", &wrong])?;
    ensure!(output.both().contains("wrong.yaml:4:5"), "{}", output.both());
    Ok(())
}

#[test]
fn removal() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    let ducc = &scene.ducc;
    push(&scene.registry, "org/other:1", &image(ducc.dir(), "other")?)?;
    let other = scene.registry.source("org/other:1");
    let public = format!("{repository}/{}", scene.registry.reference("org/other:1"));
    let list = ducc.wish_list("wishes.yaml", &repository, &[&scene.source(), &other])?;
    ducc.run(0, &["convert", "-i", &list])?;
    // A registry that does not answer makes nothing unwanted.
    let down = ["http://localhost:1/org/other:*", &scene.source()];
    ducc.wish_list("wishes.yaml", &repository, &down)?;
    ducc.run(3, &["convert", "-i", "-r", "1", &list])?;
    // Nobody wishes for it; it goes when the grace period is over, and not before.
    ducc.wish_list("wishes.yaml", &repository, &[&scene.source()])?;
    ducc.run(0, &["convert", "-i", &list])?;
    ducc.run(0, &["gc", &repository])?;
    ensure!(fs::symlink_metadata(&public).is_ok(), "removed before its time");
    // Wished for again, it stays.
    ducc.wish_list("wishes.yaml", &repository, &[&scene.source(), &other])?;
    ducc.run(0, &["convert", "-i", &list])?;
    ducc.run(0, &["gc", &repository, "--grace-period", "0"])?;
    ensure!(fs::symlink_metadata(&public).is_ok(), "removed although it is wished for");
    ducc.wish_list("wishes.yaml", &repository, &[&scene.source()])?;
    ducc.run(0, &["convert", "-i", &list])?;
    ducc.run(0, &["gc", &repository, "--grace-period", "0"])?;
    ensure!(fs::symlink_metadata(&public).is_err(), "not removed");
    ducc.run(0, &["verify", &repository])?;
    Ok(())
}

/// Labels, which DUCC does not write, so that `apptainer inspect` shows them.
#[test]
fn engines() -> Result<()> {
    let (golden, repository) = (Golden::new()?, closed_dir()?);
    let ducc = e2e::cvmfs_ducc::CvmfsDucc::install()?
        .env("CONTAINERS_REGISTRIES_CONF", golden.registries_conf());
    let locator = repository.path().display().to_string();
    ducc.run(0, &["convert-single-image", "-i", &golden.source(), &locator])?;
    let public = repository.path().join(golden::NAME);
    let apptainer = tools::runtime("apptainer")?.join("usr/bin/apptainer");
    let shown = run(Command::new(apptainer).args(["inspect", "--labels", "--json"]).arg(public))?;
    ensure!(shown.stdout.contains("yes \\\"quoted\\\""), "{}", shown.both());
    Ok(())
}
