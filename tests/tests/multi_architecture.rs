//! An image for several platforms, with everything that stands beside one in a registry: published, run, removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use e2e::apptainer::{Mode, apptainer};
use e2e::busybox;
use e2e::check_out::check_out;
use e2e::image::{
    Artifact, Blob, Compression, Config, Entry, Format, Image, Index, Layer, host_architecture,
    push,
};
use e2e::native::Native;
use e2e::node::Node;
use e2e::registry::Registry;
use e2e::rounds::Publisher;
use e2e::runc;
use e2e::tree::Tree;
use e2e::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "org/tool:1";
/// Architecture and variant in the index, and the directory below `.multiarch`.
const PLATFORMS: [(&str, &str, &str); 4] = [
    ("amd64", "", "amd64"),
    ("arm64", "", "arm64:v8"),
    ("arm", "v7", "arm:v7"),
    ("ppc64le", "", "ppc64le"),
];
/// What clients of these platforms call themselves (`uname -m`) or were called by DUCC, and the directory.
const ALIASES: [(&str, &str); 7] = [
    ("x86_64", "amd64"),
    ("x86-64", "amd64"),
    ("aarch64", "arm64:v8"),
    ("arm64", "arm64:v8"),
    ("arm", "arm:v7"),
    ("armhf", "arm:v7"),
    ("armv7l", "arm:v7"),
];

/// A registry with the image, and what belongs to it.
struct Scene {
    registry: Registry,
    work: TempDir,
    /// By architecture.
    images: BTreeMap<&'static str, Image>,
    /// The layer that all platforms share.
    shared: String,
    /// Digests of all that is no image of a platform.
    attachments: BTreeSet<String>,
}

/// A manifest with a layer that is not the file system of a container.
fn attachment(work: &Path, name: &str, settings: Config) -> Result<Image> {
    let layer = Layer::build(work, Compression::None, &[Entry::file(name, name)])?;
    Image::new(Format::Oci, settings, &[layer])
}

/// An attachment that names what it belongs to, with the artifact type of a bill of materials.
fn referrer(work: &Path, subject: &Blob) -> Result<Image> {
    let mut image = attachment(work, "sbom", Config::default())?;
    let mut manifest = image.manifest.json()?;
    manifest["subject"] = subject.descriptor();
    manifest["artifactType"] = json!("application/spdx+json");
    image.manifest = Blob::from_json(&image.manifest.media_type, &manifest)?;
    Ok(image)
}

impl Scene {
    fn new() -> Result<Self> {
        let (registry, work) = (Registry::start()?, TempDir::new()?);
        let shared = busybox::layer(work.path())?;
        let mut images = BTreeMap::new();
        let mut attachments = BTreeSet::new();
        let mut listed = Vec::new();
        for (architecture, variant, _) in PLATFORMS {
            let entries = [
                Entry::dir("etc"),
                Entry::file("etc/arch", architecture),
                Entry::whiteout("etc/group"),
            ];
            let own = Layer::build(work.path(), Compression::Gzip, &entries)?;
            let settings = Config {
                architecture: architecture.to_owned(),
                variant: variant.to_owned(),
                env: vec![format!("BUILT_FOR={architecture}"), "PATH=/bin".to_owned()],
                ..Config::with_cmd(["cat", "/etc/arch"])
            };
            let image = Image::new(Format::Oci, settings, &[shared.clone(), own])?;
            listed.push(image.clone());
            images.insert(architecture, image);
        }
        // As BuildKit does it: an attestation for each image, in the index.
        for (architecture, ..) in PLATFORMS {
            let settings = Config {
                os: "unknown".to_owned(),
                architecture: "unknown".to_owned(),
                ..Config::default()
            };
            listed.push(attachment(work.path(), &format!("provenance-{architecture}"), settings)?);
        }
        let mut index = Index::new(Format::Oci, listed)?;
        index.index = with_reference_types(&index)?;
        push(&registry, NAME, &index)?;

        // What cosign and the like put beside it, under tags that are found by whoever lists the tags.
        let hex = index.index.hex();
        let signature = attachment(work.path(), "signature", Config::default())?;
        push(&registry, &format!("org/tool:sha256-{hex}.sig"), &signature)?;
        let referrer = referrer(work.path(), &index.index)?;
        let referrers = Index::new(Format::Oci, vec![referrer.clone()])?;
        push(&registry, &format!("org/tool:sha256-{hex}"), &referrers)?;
        for image in index.images[PLATFORMS.len()..].iter().chain([&signature, &referrer]) {
            attachments.insert(image.manifest.digest.clone());
            attachments.extend(image.blobs().iter().map(|blob| blob.digest.clone()));
        }
        attachments.insert(referrers.index.digest);
        Ok(Self { registry, work, images, shared: shared.blob.digest, attachments })
    }

    fn link(&self) -> String {
        self.registry.reference(NAME)
    }

    fn flat(&self, architecture: &str) -> Result<String> {
        let hex = self.images.get(architecture).context("no such platform")?.config.hex();
        Ok(format!(".flat/{}/{hex}", &hex[..2]))
    }

    /// One round over a pattern that fits all tags; everything of every platform is fetched once, and nothing else.
    fn publish(&self, publisher: &Publisher) -> Result<()> {
        publisher.wish([self.registry.source("org/tool:*")])?;
        let (round, traffic) = self.registry.watch(|| publisher.round(&["--multi-arch"]))?;
        ensure!(round.status == Some(0), "{}", round.output.both());
        ensure!(round.count("converted") == 1 && round.count("images") == 1, "{}", round.report);
        let mut fetched: BTreeMap<&str, usize> = BTreeMap::new();
        for blob in traffic.blobs() {
            *fetched.entry(blob).or_default() += 1;
        }
        let wanted: BTreeSet<&str> = (self.images.values())
            .flat_map(|image| image.blobs().into_iter().map(|blob| blob.digest.as_str()))
            .collect();
        ensure!(fetched.keys().copied().collect::<BTreeSet<_>>() == wanted, "{fetched:?}");
        ensure!(fetched.get(self.shared.as_str()) == Some(&1), "{fetched:?}");
        ensure!(fetched.values().all(|count| *count == 1), "{fetched:?}");
        let asked = traffic.requests.iter().find(|request| {
            let last = request.path.rsplit('/').next().unwrap_or_default();
            self.attachments.contains(last) || last.starts_with("sha256-")
        });
        ensure!(asked.is_none(), "{asked:?}");

        let (again, traffic) = self.registry.watch(|| publisher.round(&["--multi-arch"]))?;
        ensure!(again.status == Some(0) && again.count("unchanged") == 1, "{}", again.report);
        let manifests = traffic.requests.iter().filter(|request| request.is_manifest()).count();
        ensure!(manifests == 1 && traffic.blobs().is_empty(), "{:?}", traffic.requests);
        let verified = publisher.on_repository("verify", &[])?;
        ensure!(verified.status.success(), "{}", verified.both());
        Ok(())
    }

    /// What is the same on every target. `public` is where the public path leads.
    fn published(&self, tree: &Tree, public: &str) -> Result<()> {
        let target = |path: &str| -> Result<String> {
            let target =
                tree.get(path)?.target.clone().with_context(|| format!("{path}: no link"))?;
            Ok(String::from_utf8(target)?)
        };
        let link = self.link();
        let found = target(&link)?;
        ensure!(found == format!("{}{public}", up(&link)), "the public path leads to {found}");
        let mut layers = BTreeSet::new();
        for (architecture, _, directory) in PLATFORMS {
            let flat = self.flat(architecture)?;
            let place = format!(".multiarch/{directory}/{link}");
            let found = target(&place)?;
            ensure!(found == format!("{}{flat}", up(&place)), "{place} leads to {found}");
            let size = tree.get(format!("{flat}/etc/arch"))?.size;
            ensure!(size == Some(architecture.len() as u64), "{architecture}: {size:?}");
            ensure!(tree.get(format!("{flat}/etc/group")).is_err(), "a whiteout was ignored");
            let metadata = format!(".metadata/.multiarch/{directory}/{link}/manifest.json");
            tree.get(&metadata)?;
            let image = self.images.get(architecture).context("no such platform")?;
            layers.extend(image.layers.iter().map(|layer| layer.blob.hex().to_owned()));
        }
        for (alias, directory) in ALIASES {
            let found = target(&format!(".multiarch/{alias}"))?;
            ensure!(found == directory, ".multiarch/{alias} leads to {found}");
        }
        let directories: BTreeSet<&str> = names_in(tree, ".multiarch").collect();
        let expected = PLATFORMS.iter().map(|(.., directory)| *directory);
        let expected: BTreeSet<&str> = expected.chain(ALIASES.map(|(alias, _)| alias)).collect();
        ensure!(directories == expected, "{directories:?}");
        let kept: BTreeSet<String> = (names_in(tree, ".layers"))
            .flat_map(|shard| {
                names_in(tree, &format!(".layers/{shard}")).map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        ensure!(kept == layers, "layers of something else: {kept:?}");
        let tags: Vec<&str> = names_in(tree, &format!("{}/org", self.registry.host())).collect();
        ensure!(tags == ["tool:1"], "{tags:?}");
        Ok(())
    }

    /// Runs the host's platform from the public path, as users do.
    fn runs(&self, public: &Path) -> Result<()> {
        let node = Node::new()?;
        let own = host_architecture();
        for mode in [Mode::Root, Mode::UserNamespace] {
            let output = apptainer(&node, mode, "run", public, &[])?;
            ensure!(output.stdout == own, "apptainer run, {mode:?}: {}", output.both());
            let output = apptainer(&node, mode, "exec", public, &["env"])?;
            let line = format!("BUILT_FOR={own}");
            ensure!(output.stdout.lines().any(|it| it == line), "{}", output.both());
        }
        let root = fs::canonicalize(public)?;
        let output = runc::run_readonly(&node, &root, "public", &["cat", "/etc/arch"])?;
        ensure!(output.stdout == own, "runc: {}", output.both());
        Ok(())
    }

    /// Nothing of the image is left.
    fn removed(&self, tree: &Tree) -> Result<()> {
        let link = self.link();
        let of_image = |path: &str| {
            let content = [".layers/", ".chains/", ".flat/"];
            // A shard's directory may stay.
            let is_content = content.iter().any(|root| path.starts_with(root)) && path.len() > 12;
            is_content || path.ends_with(&link) || path.contains(&format!("{link}/"))
        };
        let left: Vec<_> = tree.0.keys().map(|path| String::from_utf8_lossy(path)).collect();
        let left: Vec<_> = left.iter().filter(|path| of_image(path)).collect();
        ensure!(left.is_empty(), "{left:?}");
        let dangling: Vec<_> = names_in(tree, ".multiarch").collect();
        ensure!(dangling.is_empty(), "{dangling:?}");
        Ok(())
    }
}

/// The index with BuildKit's annotations on its attestations.
fn with_reference_types(index: &Index) -> Result<Blob> {
    let mut document = index.index.json()?;
    let of: Vec<Value> = index.images.iter().map(|image| json!(image.manifest.digest)).collect();
    let entries = document["manifests"].as_array_mut().context("an index without manifests")?;
    for (entry, digest) in entries.iter_mut().skip(PLATFORMS.len()).zip(of) {
        entry["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": digest,
        });
    }
    Blob::from_json(&index.index.media_type, &document)
}

/// The way from a link to the root of the repository.
fn up(link: &str) -> String {
    "../".repeat(link.matches('/').count())
}

/// The names in a directory, sorted.
fn names_in<'a>(tree: &'a Tree, directory: &str) -> impl Iterator<Item = &'a str> {
    let prefix = format!("{directory}/");
    tree.0.keys().filter_map(move |path| {
        let name = std::str::from_utf8(path).ok()?.strip_prefix(&prefix)?;
        (!name.contains('/')).then_some(name)
    })
}

#[test]
fn in_a_directory() -> Result<()> {
    let (scene, repository) = (Scene::new()?, TempDir::new()?);
    let publisher = Publisher::new(scene.work.path(), repository.path().display().to_string());
    scene.publish(&publisher)?;
    // Nobody expands a variable there, so the path leads to the publisher's platform.
    let public = scene.flat(host_architecture())?;
    scene.published(&Tree::read(repository.path())?, &public)?;
    scene.runs(&repository.path().join(scene.link()))?;

    // Not wished for any more.
    publisher.wish::<&str>([])?;
    fs::write(
        publisher.list(),
        fs::read_to_string(publisher.list())?.replace("input:\n", "input: []\n"),
    )?;
    let round = publisher.round(&["--multi-arch"])?;
    ensure!(round.status == Some(0), "{}", round.output.both());
    let collected = publisher.on_repository("gc", &["--grace-period", "0"])?;
    ensure!(collected.status.success(), "{}", collected.both());
    scene.removed(&Tree::read(repository.path())?)
}

/// DUCC names directories as indexes name platforms, so a repository of its can have both `arm64` and `arm64:v8`. Clients
/// look into the first, job wrappers into either.
#[test]
fn beside_directories_that_ducc_named() -> Result<()> {
    let (scene, repository) = (Scene::new()?, TempDir::new()?);
    let architectures = repository.path().join(".multiarch");
    for directory in ["arm64", "arm"] {
        fs::create_dir_all(architectures.join(directory))?;
    }
    let publisher = Publisher::new(scene.work.path(), repository.path().display().to_string());
    scene.publish(&publisher)?;
    for (architecture, directories) in
        [("arm64", ["aarch64", "arm64", "arm64:v8"]), ("arm", ["armv7l", "armhf", "arm"])]
    {
        for directory in directories {
            let found = architectures.join(directory).join(scene.link()).join("etc/arch");
            let found = fs::read_to_string(&found).context(found.display().to_string())?;
            ensure!(found == architecture, "{directory}: {found}");
        }
    }

    // A list that names the platforms means these directories, too.
    let list = format!(
        "version: 2\ncvmfs_repo: {:?}\ninput:\n  - image: {}\n    platforms: [linux/amd64, linux/arm64, linux/arm]\n",
        publisher.locator(),
        scene.registry.source(NAME)
    );
    fs::write(publisher.list(), list)?;
    for _ in 0..2 {
        let round = publisher.round(&[])?;
        ensure!(round.status == Some(0), "{}", round.output.both());
        let collected = publisher.on_repository("gc", &["--grace-period", "0"])?;
        ensure!(collected.status.success(), "{}", collected.both());
    }
    for directory in ["arm64", "arm64:v8", "arm", "arm:v7"] {
        let found = architectures.join(directory).join(scene.link()).join("etc/arch");
        ensure!(found.exists(), "{directory} was removed");
    }
    ensure!(!architectures.join("ppc64le").exists(), "ppc64le is not wished for");

    // An alias that leads nowhere, as somebody has left it.
    let alias = architectures.join("aarch64");
    fs::remove_file(&alias)?;
    std::os::unix::fs::symlink("arm64:v9", &alias)?;
    let verified = publisher.on_repository("verify", &[])?;
    ensure!(verified.status.code() == Some(1), "{}", verified.both());
    ensure!(verified.stdout.contains(".multiarch/aarch64"), "{}", verified.both());
    let repaired = publisher.on_repository("verify", &["--repair"])?;
    ensure!(repaired.status.success(), "{}", repaired.both());
    ensure!(fs::read_link(&alias)? == Path::new("arm64"), "{alias:?} was not mended");

    let deleted = publisher.on_repository("delete-image", &[&scene.link()])?;
    ensure!(deleted.status.success(), "{}", deleted.both());
    scene.removed(&Tree::read(repository.path())?)
}

#[test]
fn in_a_native_repository() -> Result<()> {
    let (scene, native) = (Scene::new()?, Native::create()?);
    let publisher = Publisher::new(scene.work.path(), native.locator())
        .env("DUCC_KEYS", native.keys())
        .env("DUCC_CACHE", native.dir().join("cache"))
        .env("DUCC_STATE", native.dir().join("state"));
    scene.publish(&publisher)?;
    let link = scene.link();
    // To a client that has no value for the variable.
    let public = format!(".multiarch/{}/{link}", host_architecture());
    scene.published(&native.tree("")?, &public)?;
    native.check()?;

    // What clients on several machines see at the public path.
    for (machine, architecture) in
        [("x86_64", "amd64"), ("aarch64", "arm64"), ("armv7l", "arm"), ("ppc64le", "ppc64le")]
    {
        let shown = TempDir::new_in("/dev/shm")?;
        check_out(&native.snapshot()?, machine, shown.path())?;
        let found = fs::read_to_string(shown.path().join(&link).join("etc/arch"))
            .with_context(|| format!("on {machine}"))?;
        ensure!(found == architecture, "{machine} gets {found}");
        if architecture == host_architecture() {
            scene.runs(&shown.path().join(&link))?;
        }
    }

    let deleted = publisher.on_repository("delete-image", &[&link])?;
    ensure!(deleted.status.success(), "{}", deleted.both());
    scene.removed(&native.tree("")?)?;
    native.check()
}

/// An image that is no list, and a list of one: with `--multi-arch`, both have a place for their platform, so that the
/// public path leads somewhere.
#[test]
fn of_a_single_platform() -> Result<()> {
    let (registry, native, work) = (Registry::start()?, Native::create()?, TempDir::new()?);
    let layer = Layer::build(work.path(), Compression::Gzip, &[Entry::file("name", "single")])?;
    let settings = Config { architecture: "arm64".to_owned(), ..Config::with_cmd(["true"]) };
    let image = Image::new(Format::Docker, settings, &[layer])?;
    push(&registry, "org/image:1", &image)?;
    push(&registry, "org/list:1", &Index::new(Format::Docker, vec![image])?)?;
    let publisher = Publisher::new(work.path(), native.locator())
        .env("DUCC_KEYS", native.keys())
        .env("DUCC_CACHE", native.dir().join("cache"))
        .env("DUCC_STATE", native.dir().join("state"));
    let names = ["org/image:1", "org/list:1"];
    publisher.wish(names.map(|name| registry.source(name)))?;
    let round = publisher.round(&["--multi-arch"])?;
    ensure!(round.status == Some(0) && round.count("converted") == 2, "{}", round.output.both());
    let shown = TempDir::new_in("/dev/shm")?;
    check_out(&native.snapshot()?, "aarch64", shown.path())?;
    for name in names.map(|name| registry.reference(name)) {
        let own = format!(".multiarch/arm64:v8/{name}");
        for path in [name, own] {
            let content = fs::read_to_string(shown.path().join(&path).join("name"))
                .with_context(|| path.clone())?;
            ensure!(content == "single", "{path}: {content}");
        }
    }
    let verified = publisher.on_repository("verify", &[])?;
    ensure!(verified.status.success(), "{}", verified.both());
    native.check()
}
