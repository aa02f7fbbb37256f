//! Images that are only partly in a repository, or not at all, or in another form.

use std::collections::BTreeSet;
use std::fs;

use e2e::Result;
use e2e::busybox;
use e2e::containerd::{Client, Settings, Version};
use e2e::cri::{self, Cri};
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::node::Node;
use e2e::registry::Traffic;
use e2e::site::{Site, thin_name};
use std::rc::Rc;

const BASE: &str = "mixed/base:1";

/// A published image: busybox and a layer with a file.
fn base(site: &Site) -> Result<Image> {
    let entries = [
        Entry::dir("etc"),
        Entry::file("etc/base", "from the base\n"),
        Entry::file("etc/both", "base\n"),
    ];
    let layers =
        [busybox::layer(&site.blobs())?, Layer::build(&site.blobs(), Compression::Gzip, &entries)?];
    let image = Image::new(Format::Oci, Config::with_cmd(["cat", "/etc/base"]), &layers)?;
    site.publish(BASE, &image)?;
    Ok(image)
}

/// An image with one more layer than `base`, pushed but not published.
fn derived(site: &Site, name: &str, base: &Image) -> Result<Image> {
    let entries = [
        Entry::dir("etc"),
        Entry::file("etc/own", "my own\n"),
        Entry::file("etc/both", "derived\n"),
    ];
    let own = Layer::build(&site.blobs(), Compression::Gzip, &entries)?;
    let image =
        base.derive(Config::with_cmd(["cat", "/etc/base", "/etc/own", "/etc/both"]), &[own])?;
    push(&site.registry, name, &image)?;
    Ok(image)
}

fn fetched(traffic: &Traffic) -> BTreeSet<String> {
    traffic.blobs().into_iter().map(str::to_owned).collect()
}

fn digests(image: &Image, layers: &[Layer]) -> BTreeSet<String> {
    layers
        .iter()
        .map(|layer| &layer.blob)
        .chain([&image.config])
        .map(|blob| blob.digest.clone())
        .collect()
}

#[test]
fn a_derived_image_downloads_only_its_own_layers() -> Result<()> {
    let site = Site::new()?;
    let base = base(&site)?;
    let image = derived(&site, "mixed/derived:1", &base)?;
    let reference = site.registry.reference("mixed/derived:1");
    for version in Version::all()? {
        let worker = site.worker(version)?;
        let cri = Cri::of(&worker.containerd)?.with_retries(3);
        let (ended, traffic) = site.registry.watch(|| {
            cri.pull(&reference, None)?;
            cri.run("derived", &reference, &[])
        })?;
        assert_eq!(ended.stdout, "from the base\nmy own\nderived\n", "{version}");
        assert_eq!(
            fetched(&traffic),
            digests(&image, &image.layers[2..]),
            "{version}: blobs fetched"
        );
    }
    Ok(())
}

#[test]
fn a_recompressed_image_is_found_by_its_chain() -> Result<()> {
    let site = Site::new()?;
    let image = base(&site)?;
    let layers = [
        Layer::build(&site.blobs(), Compression::Zstd, &busybox::entries()?)?,
        Layer::build(
            &site.blobs(),
            Compression::None,
            &[
                Entry::dir("etc"),
                Entry::file("etc/base", "from the base\n"),
                Entry::file("etc/both", "base\n"),
            ],
        )?,
    ];
    let other = Image::new(Format::Oci, Config::with_cmd(["cat", "/etc/both"]), &layers)?;
    assert_ne!(image.layers[0].blob.digest, other.layers[0].blob.digest);
    push(&site.registry, "mixed/zstd:1", &other)?;
    let reference = site.registry.reference("mixed/zstd:1");
    let worker = site.worker(Version::newest()?)?;
    let (output, traffic) = site.registry.watch(|| {
        worker.containerd.pull(Client::Ctr, &reference)?;
        worker.containerd.run(&reference, "zstd", &[])
    })?;
    assert_eq!(output.stdout, "base\n");
    assert_eq!(fetched(&traffic), digests(&other, &[]));
    Ok(())
}

#[test]
fn a_thin_image_without_its_repository_fails_cleanly() -> Result<()> {
    let site = Site::new()?;
    base(&site)?;
    let thin = site.registry.reference(&thin_name(BASE));
    let empty = site.blobs().join("empty-repository");
    fs::create_dir(&empty)?;
    for version in Version::all()? {
        let worker = site.worker_with(site.settings(version), &[&empty])?;
        let overlayfs = cri::start(&Rc::new(Node::new()?), site.settings(version))?;
        for containerd in [&worker.containerd, &overlayfs] {
            let what = format!("{version} with {}", containerd.snapshotter());
            let cri = Cri::of(containerd)?;
            let error = cri.pull(&thin, None).expect_err(&what).to_string();
            assert!(error.contains("wrong diff id"), "{what}: {error}");
            assert!(cri.run("thin", &thin, &[]).is_err(), "{what}: a container of a failed pull");
            // The node has not suffered.
            let full = site.registry.reference(BASE);
            let cri = cri.with_retries(3);
            cri.pull(&full, None)?;
            assert_eq!(cri.run("full", &full, &[])?.stdout, "from the base\n", "{what}");
        }
    }
    Ok(())
}

#[test]
fn an_image_outside_the_repository_is_as_with_overlayfs() -> Result<()> {
    let site = Site::new()?;
    let entries =
        [Entry::dir("data"), Entry::file("data/lower", "lower\n"), Entry::whiteout("etc/group")];
    // Not the sandbox's busybox layer, because containerd would already have its blob.
    let mut bottom = busybox::entries()?;
    bottom.push(Entry::file("etc/image", "local\n"));
    let layers = [bottom.as_slice(), &entries]
        .map(|entries| Layer::build(&site.blobs(), Compression::Gzip, entries));
    let [bottom, top] = layers;
    let layers = [bottom?, top?];
    let script = "cat /data/lower; test ! -e /etc/group && rm /data/lower && echo upper > /data/upper && ls /data";
    let image = Image::new(Format::Oci, Config::with_cmd(["sh", "-c", script]), &layers)?;
    push(&site.registry, "mixed/local:1", &image)?;
    let reference = site.registry.reference("mixed/local:1");
    for version in Version::all()? {
        let worker = site.worker(version)?;
        let containerd = &worker.containerd;
        let (_, traffic) =
            site.registry.watch(|| containerd.pull(Client::CtrRemote, &reference))?;
        assert_eq!(fetched(&traffic), digests(&image, &image.layers), "{version}: blobs fetched");
        for id in ["first", "second"] {
            // One container does not see what another one deletes and writes.
            assert_eq!(
                containerd.run(&reference, id, &[])?.stdout,
                "lower\nupper\n",
                "{version}, {id}"
            );
        }
        // CRI's sandbox image stays; nothing of this one may.
        let kept = containerd.snapshots("k8s.io")?.len();
        containerd.ctr(&["images", "rm", "--sync", &reference])?;
        assert_eq!(
            worker.snapshotter.snapshot_dirs()?.len(),
            kept,
            "{version}: snapshots after removal"
        );
    }
    Ok(())
}

#[test]
fn repositories_are_asked_in_order() -> Result<()> {
    let site = Site::new()?;
    let image = base(&site)?;
    let reference = site.registry.reference(BASE);
    let (missing, empty) = (site.blobs().join("not-mounted"), site.blobs().join("empty"));
    fs::create_dir(&empty)?;
    let worker = site.worker_with(
        Settings::new(Version::newest()?).with_registry(&site.registry),
        &[&missing, &empty, &site.repository()],
    )?;
    let (output, traffic) = site.registry.watch(|| {
        worker.containerd.pull(Client::Ctr, &reference)?;
        worker.containerd.run(&reference, "third", &[])
    })?;
    assert_eq!(output.stdout, "from the base\n");
    assert_eq!(fetched(&traffic), digests(&image, &[]));
    Ok(())
}

#[test]
fn an_image_of_127_layers_starts_lazily_and_below_a_local_layer() -> Result<()> {
    const LAYERS: usize = 127;
    let site = Site::new()?;
    let mut layers = vec![busybox::layer(&site.blobs())?];
    for number in 1..LAYERS {
        // Every seventh layer has been there before.
        let number = if number % 7 == 0 { number / 7 } else { number };
        let entries = [Entry::dir("n"), Entry::file(format!("n/{number}"), format!("{number}\n"))];
        layers.push(Layer::build(&site.blobs(), Compression::Gzip, &entries)?);
    }
    let files: BTreeSet<usize> = (1..LAYERS).map(|n| if n % 7 == 0 { n / 7 } else { n }).collect();
    let script = "ls /n | wc -l; cat /n/1 /n/125";
    let image = Image::new(Format::Oci, Config::with_cmd(["sh", "-c", script]), &layers)?;
    site.publish("mixed/many:1", &image)?;
    let own = Layer::build(
        &site.blobs(),
        Compression::Gzip,
        &[Entry::dir("n"), Entry::file("n/own", "")],
    )?;
    push(&site.registry, "mixed/many-derived:1", &image.derive(image.settings.clone(), &[own])?)?;
    for version in Version::all()? {
        // CRI lists the layers of an image in a label of each, and a label holds 56 digests.
        let reference = site.registry.reference("mixed/many:1");
        let worker = site.worker(version)?;
        let cri = Cri::of(&worker.containerd)?.with_retries(3);
        let (ended, traffic) = site.registry.watch(|| {
            cri.pull(&reference, None)?;
            cri.run("many", &reference, &[])
        })?;
        assert_eq!(ended.stdout, format!("{}\n1\n125\n", files.len()), "{version}, CRI");
        assert_eq!(traffic.blobs().len(), 1, "{version}, CRI: blobs fetched");
        for (name, more) in [("mixed/many:1", 0), ("mixed/many-derived:1", 1)] {
            let reference = site.registry.reference(name);
            let worker = site.worker(version)?;
            let (output, traffic) = site.registry.watch(|| {
                worker.containerd.pull(Client::CtrRemote, &reference)?;
                worker.containerd.run(&reference, "many", &[])
            })?;
            assert_eq!(
                output.stdout,
                format!("{}\n1\n125\n", files.len() + more),
                "{version}, {name}"
            );
            assert_eq!(traffic.blobs().len(), 1 + more, "{version}, {name}: blobs fetched");
        }
    }
    Ok(())
}
