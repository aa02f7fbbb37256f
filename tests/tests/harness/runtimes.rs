//! Every runtime runs the realistic image.

use std::collections::BTreeSet;
use std::rc::Rc;

use e2e::apptainer::{Mode, apptainer};
use e2e::busybox;
use e2e::containerd::{Client, Containerd, Settings, Version};
use e2e::cri::{self, Cri};
use e2e::debian::{Debian, GREETING, PRINT_VERSION};
use e2e::docker::Docker;
use e2e::image::push;
use e2e::node::Node;
use e2e::registry::Registry;
use e2e::{Context, Result, podman, runc, umoci};

/// A registry with the Debian image and a sandbox image.
struct World {
    debian: Debian,
    registry: Registry,
    sandbox: String,
    node: Rc<Node>,
}

impl World {
    fn new() -> Result<Self> {
        let debian = Debian::get()?;
        let registry = Registry::start()?;
        let node = Rc::new(Node::new()?);
        push(&registry, "debian:numpy", &debian.docker_image()?)?;
        let sandbox = busybox::push_sandbox(&registry, &node.make_dir("images")?)?;
        Ok(Self { debian, registry, sandbox, node })
    }

    fn settings(&self, version: Version) -> Settings {
        Settings::new(version).with_registry(&self.registry)
    }

    fn image(&self) -> String {
        self.registry.reference("debian:numpy")
    }

    /// Every blob of the Debian image, once.
    fn layers(&self) -> BTreeSet<&str> {
        self.debian.image.layers.iter().map(|layer| layer.blob.digest.as_str()).collect()
    }
}

fn run_with_cri(version: Version) -> Result<()> {
    let world = World::new()?;
    let containerd = cri::start(&world.node, world.settings(version).with_sandbox(&world.sandbox))?;
    let cri = Cri::of(&containerd)?.with_retries(3);
    let (_, traffic) = world.registry.watch(|| cri.pull(&world.image(), None))?;
    assert!(
        world.layers().is_subset(&traffic.blobs().into_iter().collect()),
        "not all layers fetched: {traffic:?}"
    );
    let own = cri.run("greeting", &world.image(), &[])?;
    assert_eq!(
        (own.code, own.stdout.as_str(), own.stderr.as_str()),
        (0, format!("{GREETING}\n").as_str(), "")
    );
    let version = cri.run("version", &world.image(), &["python3", "-c", PRINT_VERSION])?;
    assert_eq!(version.stdout.trim(), world.debian.numpy);
    cri.remove_image(&world.image())
}

#[test]
fn cri_on_every_containerd_runs_the_debian_image() -> Result<()> {
    for version in Version::all()? {
        run_with_cri(version).with_context(|| format!("containerd {version}"))?;
    }
    Ok(())
}

#[test]
fn ctr_pulls_and_runs_the_debian_image() -> Result<()> {
    let world = World::new()?;
    let containerd = Containerd::start(&world.node, world.settings(Version::newest()?))?;
    containerd.pull(Client::Ctr, &world.image())?;
    let output = containerd.run(&world.image(), "version", &["python3", "-c", PRINT_VERSION])?;
    assert_eq!(output.stdout.trim(), world.debian.numpy);
    Ok(())
}

#[test]
fn ctr_remote_pulls_and_runs_the_debian_image_on_every_containerd() -> Result<()> {
    for version in Version::all()? {
        let world = World::new()?;
        let containerd = Containerd::start(&world.node, world.settings(version))?;
        containerd.pull(Client::CtrRemote, &world.image())?;
        let output =
            containerd.run(&world.image(), "version", &["python3", "-c", PRINT_VERSION])?;
        assert_eq!(output.stdout.trim(), world.debian.numpy, "containerd {version}");
    }
    Ok(())
}

#[test]
fn docker_runs_the_debian_image() -> Result<()> {
    let world = World::new()?;
    let docker = Docker::start(&world.node, world.settings(Version::newest()?))?;
    docker.docker(&["pull", &world.image()])?;
    assert_eq!(docker.run(&world.image(), &[])?.stdout, format!("{GREETING}\n"));
    let output = docker.run(&world.image(), &["python3", "-c", PRINT_VERSION])?;
    assert_eq!(output.stdout.trim(), world.debian.numpy);
    Ok(())
}

#[test]
fn apptainer_podman_and_runc_run_the_unpacked_debian_image() -> Result<()> {
    let debian = Debian::get()?;
    let node = Node::new()?;
    let root = umoci::unpack(&debian.layout, e2e::debian::TAG, &node.dir().join("bundle"))?;
    let version = ["python3", "-c", PRINT_VERSION];
    for mode in [Mode::Root, Mode::UserNamespace] {
        let output = apptainer(&node, mode, "exec", &root, &version)?;
        assert_eq!(output.stdout.trim(), debian.numpy, "apptainer as {mode:?}");
    }
    assert_eq!(podman::run_rootfs(&node, &root, &version)?.stdout.trim(), debian.numpy, "podman");
    assert_eq!(
        runc::run_readonly(&node, &root, "version", &version)?.stdout.trim(),
        debian.numpy,
        "runc"
    );
    Ok(())
}
