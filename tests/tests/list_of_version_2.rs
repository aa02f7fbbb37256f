//! What a wish list of version 2 can say of an image, in a round against real registries.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use e2e::image::{
    Compression, Config, Entry, Format, Image, Index, Layer, host_architecture, push,
};
use e2e::paged_registry::PagedRegistry;
use e2e::process::{Output, run_any};
use e2e::registry::{Access, PASSWORD, Registry, USER};
use e2e::rounds::Publisher;
use e2e::{Result, ensure};
use layer_layout::{ChainId, DiffId, path};
use tempfile::TempDir;

/// A registry for everybody, and a repository in a directory.
struct Scene {
    registry: Registry,
    repository: TempDir,
    work: TempDir,
    publisher: Publisher,
}

impl Scene {
    fn new() -> Result<Self> {
        let (registry, work) = (Registry::start_in_memory()?, TempDir::new_in("/dev/shm")?);
        let repository = TempDir::new_in("/dev/shm")?;
        let publisher = Publisher::new(work.path(), repository.path().display().to_string());
        Ok(Self { registry, repository, work, publisher })
    }

    fn image(&self, content: &str, config: Config) -> Result<Image> {
        let layer = [Entry::dir("usr"), Entry::file("usr/name", content)];
        let layer = Layer::build(self.work.path(), Compression::Gzip, &layer)?;
        Image::new(Format::Oci, config, &[layer])
    }

    fn push(&self, registry: &Registry, name: &str) -> Result<Image> {
        let image = self.image(name, Config::with_cmd(["true"]))?;
        push(registry, name, &image)?;
        Ok(image)
    }

    /// One round over a list of these entries, with `defaults`, thin images included.
    fn round(&self, defaults: &str, entries: &str, options: &[&str]) -> Result<Output> {
        let list = format!(
            "version: 2\ncvmfs_repo: {:?}\ndefaults: {defaults}\ninput:\n{entries}",
            self.publisher.locator()
        );
        fs::write(self.publisher.list(), list)?;
        let mut command = self.publisher.ducc()?;
        command.arg("convert").arg(self.publisher.list()).args(options);
        run_any(&mut command, e2e::process::COMMAND_TIMEOUT)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.repository.path().join(path)
    }

    /// What an image says its name is, read through a path that leads to a root.
    fn name_below(&self, path: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.at(path).join("usr/name")) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn ensure_status(output: &Output, status: i32) -> Result<()> {
    ensure!(output.status.code() == Some(status), "{}\n{}", output.status, output.both());
    Ok(())
}

/// One after the other, so that there is an order.
const ONE_BY_ONE: [&str; 6] = ["--jobs", "1", "--checks", "1", "--max-concurrent-downloads", "1"];

#[test]
fn images_with_a_higher_priority_come_first() -> Result<()> {
    let scene = Scene::new()?;
    let mut layers = Vec::new();
    let mut entries = String::new();
    // In the order of the list, each with its place in the round. Without a priority it is 0.
    let images = [("late", "-1", 6), ("c", "0", 3), ("a", "0", 4), ("first", "10", 1)];
    for (tag, priority, place) in images.into_iter().chain([("b", "", 5), ("second", "7", 2)]) {
        let name = format!("org/tool:{tag}");
        let image = scene.push(&scene.registry, &name)?;
        layers.push((place, image.layers[0].blob.digest.clone()));
        entries += &format!("  - image: {}\n", scene.registry.source(&name));
        if !priority.is_empty() {
            entries += &format!("    priority: {priority}\n");
        }
    }
    layers.sort();
    let round = || scene.round("{}", &entries, &ONE_BY_ONE);
    let (output, traffic) = scene.registry.watch(round)?;
    ensure_status(&output, 0)?;
    let expected: Vec<_> = layers.iter().map(|(_, digest)| digest.as_str()).collect();
    let mut fetched = traffic.blobs();
    fetched.retain(|blob| expected.contains(blob));
    ensure!(fetched == expected, "{fetched:?}, not {expected:?}");
    Ok(())
}

/// Of several logins for a registry, an image is fetched with the one that its entry names.
#[test]
fn logins_by_their_names() -> Result<()> {
    let mut scene = Scene::new()?;
    let closed = Registry::start_with(Access::Token, false)?;
    for (name, value) in [
        ("DUCC_AUTH_REGISTRIES", "WRONG,RIGHT"),
        ("DUCC_WRONG_IDENT", &closed.host()),
        ("DUCC_WRONG_USER", "somebody"),
        ("DUCC_WRONG_PASS", "something"),
        ("DUCC_RIGHT_IDENT", &closed.host()),
        ("DUCC_RIGHT_USER", USER),
        ("DUCC_RIGHT_PASS", PASSWORD),
    ] {
        scene.publisher = scene.publisher.clone().env(name, value);
    }
    let names = ["org/named:1", "org/unnamed:1"];
    for name in names {
        scene.push(&closed, name)?;
    }
    let entries = format!(
        "  - image: {}\n    credentials: RIGHT\n  - {}\n",
        closed.source(names[0]),
        closed.source(names[1])
    );
    let output = scene.round("{}", &entries, &["--attempts", "1"])?;
    ensure_status(&output, 3)?;
    let failed = format!("failed: {}: ", closed.reference(names[1]));
    ensure!(output.stderr.contains(&failed), "{}", output.both());
    ensure!(!output.both().contains(PASSWORD), "the password is shown");
    let found = names.map(|name| scene.name_below(&closed.reference(name)));
    let [named, unnamed] = found;
    ensure!(named?.as_deref() == Some(names[0]) && unnamed?.is_none());

    // For all.
    let entries = format!("  - {}\n", closed.source(names[1]));
    ensure_status(&scene.round("{credentials: RIGHT}", &entries, &["--attempts", "1"])?, 0)?;
    ensure!(scene.name_below(&closed.reference(names[1]))?.as_deref() == Some(names[1]));
    Ok(())
}

#[test]
fn thin_images_without_flat_roots() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.publisher = scene.publisher.clone().env("DUCC_OUTPUT_REGISTRY_PASS", "password");
    let image = scene.push(&scene.registry, "org/thin:1")?;
    scene.push(&scene.registry, "org/whole:1")?;
    let entries = format!(
        "  - image: {}\n    thin: '{}/thin/$(image)'\n    flat: false\n  - {}\n",
        scene.registry.source("org/thin:1"),
        scene.registry.url(),
        scene.registry.source("org/whole:1"),
    );
    let (output, traffic) = scene.registry.watch(|| scene.round("{}", &entries, &[]))?;
    ensure_status(&output, 0)?;
    let pushed: Vec<_> = traffic
        .requests
        .iter()
        .filter(|it| {
            it.method == "PUT" && it.path.contains("/manifests/") && !it.path.contains("sha256")
        })
        .map(|it| it.path.as_str())
        .collect();
    ensure!(pushed == ["/v2/thin/org/thin/manifests/1"], "{pushed:?}");
    ensure!(scene.name_below(&scene.registry.reference("org/thin:1"))?.is_none());
    let whole = scene.name_below(&scene.registry.reference("org/whole:1"))?;
    ensure!(whole.as_deref() == Some("org/whole:1"), "{whole:?}");
    // Nodes start it from here.
    let diff_ids: Vec<DiffId> =
        image.layers.iter().map(|layer| layer.diff_id.parse()).collect::<Result<_, _>>()?;
    let chains = ChainId::of_layers(&diff_ids);
    let root = path::chain_rootfs(&chains[chains.len() - 1]);
    ensure!(scene.name_below(root.as_str())?.as_deref() == Some("org/thin:1"));
    let flat = image.config.hex();
    ensure!(!scene.at(&format!(".flat/{}/{flat}", &flat[..2])).exists(), "it has a flat root");
    ensure!(scene.publisher.verify()? == 2);

    // A second round pushes nothing, and a flat root is made as soon as it is wanted.
    let (output, traffic) = scene.registry.watch(|| scene.round("{}", &entries, &[]))?;
    ensure_status(&output, 0)?;
    ensure!(traffic.requests.iter().all(|it| it.method == "HEAD"), "{:?}", traffic.requests);
    ensure_status(&scene.round("{}", &entries.replace("    flat: false\n", ""), &[])?, 0)?;
    let flat = scene.name_below(&scene.registry.reference("org/thin:1"))?;
    ensure!(flat.as_deref() == Some("org/thin:1"), "{flat:?}");
    Ok(())
}

#[test]
fn platforms_of_each_image() -> Result<()> {
    let scene = Scene::new()?;
    let architectures = [host_architecture(), "s390x", "riscv64"];
    for name in ["org/default:1", "org/some:1", "org/all:1", "org/host:1"] {
        let images = architectures.map(|architecture| {
            let config =
                Config { architecture: architecture.to_owned(), ..Config::with_cmd(["true"]) };
            scene.image(&format!("{name} {architecture}"), config)
        });
        let images = images.into_iter().collect::<Result<Vec<_>>>()?;
        push(&scene.registry, name, &Index::new(Format::Oci, images)?)?;
    }
    let [default, some, all, host] =
        ["default", "some", "all", "host"].map(|it| scene.registry.source(&format!("org/{it}:1")));
    let entries = format!(
        "  - {default}\n  - image: {some}\n    platforms: linux/riscv64\n  - image: {all}\n    platforms: all\n  - \
         image: {host}\n    platforms: host\n"
    );
    let defaults = format!("{{platforms: [linux/{}, linux/s390x]}}", architectures[0]);
    ensure_status(&scene.round(&defaults, &entries, &[])?, 0)?;
    for (name, expected) in [
        ("org/default:1", &architectures[..2]),
        ("org/some:1", &architectures[2..]),
        ("org/all:1", &architectures),
        ("org/host:1", &[]),
    ] {
        let reference = scene.registry.reference(name);
        let of = |platform: &str| -> Result<Option<String>> {
            let mut found = None;
            for variant in ["", ":v8"] {
                let path = format!(".multiarch/{platform}{variant}/{reference}");
                found = found.or(scene.name_below(&path)?);
            }
            Ok(found)
        };
        for architecture in architectures {
            let text = format!("{name} {architecture}");
            let should = expected.contains(&architecture).then_some(text);
            let found = of(architecture)?;
            ensure!(found == should, "{name} for {architecture}: {found:?}");
        }
        // The public path leads to this machine's platform, or else to the first.
        let is_host = expected.is_empty() || expected.contains(&architectures[0]);
        let public = if is_host { architectures[0] } else { "riscv64" };
        let found = scene.name_below(&reference)?;
        ensure!(found == Some(format!("{name} {public}")), "{name}: {found:?}");
    }
    Ok(())
}

/// Tags come in pages, and what a pattern does not mean is not published.
#[test]
fn tags_by_version_and_number_without_exclusions() -> Result<()> {
    let scene = Scene::new()?;
    let front = PagedRegistry::start(&scene.registry)?;
    let tags = [
        "1.1.0",
        "1.2.0",
        "1.2.1",
        "1.10.0",
        "2.0.0",
        "2.1.0",
        "2.1.0-rc.1",
        "2.1.1",
        "3.0.0",
        "latest",
        "nightly-1",
        "nightly-2",
        "nightly-debug",
        "v2.2.0",
    ];
    for tag in tags {
        scene.push(&scene.registry, &format!("org/tool:{tag}"))?;
    }
    let image = front.source("org/tool");
    let defaults = "{exclude: ['*-debug', '2.1.1']}";
    let mut published = BTreeSet::new();
    for (selection, expected) in [
        ("    tags: {semver: '>=1.2, <3', newest: 3}\n", &["v2.2.0", "2.1.0", "2.0.0"][..]),
        ("    tags: {glob: 'nightly-*'}\n", &["nightly-1", "nightly-2"]),
        (
            "    tags: {semver: '>=1.2, <3', newest: 3}\n    exclude: 'v*'\n",
            &["2.1.1", "2.1.0", "2.0.0"],
        ),
        ("    tags: ['1.2.*', 'latest']\n", &["1.2.0", "1.2.1", "latest"]),
    ] {
        let pages = front.pages();
        let output = scene.round(defaults, &format!("  - image: {image}\n{selection}"), &[])?;
        ensure_status(&output, 0)?;
        ensure!(front.pages() - pages == tags.len().div_ceil(3), "{} pages", front.pages() - pages);
        published.extend(expected.iter().map(|tag| (*tag).to_owned()));
        for tag in tags {
            let name = scene.name_below(&front.reference(&format!("org/tool:{tag}")))?;
            let should = published.contains(tag).then(|| format!("org/tool:{tag}"));
            ensure!(name == should, "{selection}: {tag}: {name:?}");
        }
        // Those of the last list that this one does not mean are unwished from now on, and go at once.
        let gc = ["--grace-period", "0"];
        let collected = scene.publisher.on_repository("gc", &gc)?;
        ensure_status(&collected, 0)?;
        published = expected.iter().map(|tag| (*tag).to_owned()).collect();
        ensure!(scene.publisher.verify()? == published.len(), "{published:?}");
    }
    Ok(())
}
