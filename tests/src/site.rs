//! A whole installation in miniature: a registry, a repository that images are published into, and worker nodes.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use layer_layout::{ChainId, ConfigDigest, DiffId, path};
use serde_json::Value;
use tempfile::TempDir;

use crate::containerd::{Containerd, Settings, Version};
use crate::docker::Docker;
use crate::ducc::{Convert, closed_dir};
use crate::image::{Artifact, Image, push};
use crate::node::Node;
use crate::registry::Registry;
use crate::snapshotter::Snapshotter;
use crate::{busybox, cri};

/// Registry and repository, both empty at first.
#[derive(Debug)]
pub struct Site {
    /// The registry; plain HTTP for everybody.
    pub registry: Registry,
    sandbox: String,
    dir: TempDir,
}

/// A worker node that runs our snapshotter under a containerd.
#[derive(Debug)]
pub struct Worker {
    // Order of fields is order of dropping.
    /// The containerd, configured to use the snapshotter.
    pub containerd: Containerd,
    /// The snapshotter.
    pub snapshotter: Snapshotter,
    /// The machine.
    pub node: Rc<Node>,
}

impl Site {
    /// Starts the registry and makes the repository.
    pub fn new() -> Result<Self> {
        let registry = Registry::start()?;
        let dir = closed_dir()?;
        fs::create_dir(dir.path().join("repository"))?;
        let sandbox = busybox::push_sandbox(&registry, &dir.path().join("blobs"))?;
        Ok(Self { registry, sandbox, dir })
    }

    /// The repository's directory.
    pub fn repository(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    /// A directory for layers that tests build.
    pub fn blobs(&self) -> PathBuf {
        self.dir.path().join("blobs")
    }

    /// The sandbox image's reference. It is in no repository.
    pub fn sandbox(&self) -> &str {
        &self.sandbox
    }

    /// Pushes `artifact` as `name` (`repository:tag`) and publishes it, with the thin image [`thin_name`]. Returns
    /// the converter's report.
    pub fn publish(&self, name: &str, artifact: &dyn Artifact) -> Result<Value> {
        push(&self.registry, name, artifact)?;
        Convert::new(&self.registry.source(name), &self.repository())
            .thin(&self.registry.source(&thin_name(name)))
            .report()
            .with_context(|| format!("publishing {name}"))
    }

    /// The public path of a published image.
    pub fn public_path(&self, name: &str) -> PathBuf {
        self.repository().join(self.registry.reference(name))
    }

    /// The merged root file system of a published image.
    pub fn merged_root(&self, image: &Image) -> Result<PathBuf> {
        let diff_ids: Vec<DiffId> =
            image.layers.iter().map(|layer| layer.diff_id.parse()).collect::<Result<_, _>>()?;
        let chains = ChainId::of_layers(&diff_ids);
        let top = chains.last().context("an image without layers")?;
        Ok(self.repository().join(path::chain_rootfs(top).as_str()))
    }

    /// The flat root file system of a published image.
    pub fn flat_root(&self, image: &Image) -> Result<PathBuf> {
        let config: ConfigDigest = image.config.digest.parse()?;
        Ok(self.repository().join(path::flat(&config).as_str()))
    }

    /// Settings with the registry and the sandbox image.
    pub fn settings(&self, version: Version) -> Settings {
        Settings::new(version).with_registry(&self.registry).with_sandbox(&self.sandbox)
    }

    /// A new node with the site's repository.
    pub fn worker(&self, version: Version) -> Result<Worker> {
        self.worker_with(self.settings(version), &[&self.repository()])
    }

    /// A new node with these repositories; the snapshotter is added to `settings`.
    pub fn worker_with(&self, settings: Settings, repositories: &[&Path]) -> Result<Worker> {
        let node = Rc::new(Node::new()?);
        let snapshotter = Snapshotter::start(&node, repositories)?;
        let containerd = cri::start(&node, settings.with_plugin(Some(snapshotter.plugin())))?;
        Ok(Worker { containerd, snapshotter, node })
    }

    /// A new node with Docker on the site's repository.
    pub fn docker(&self) -> Result<(Docker, Snapshotter)> {
        let node = Rc::new(Node::new()?);
        let snapshotter = Snapshotter::start(&node, &[&self.repository()])?;
        let settings = Settings::new(Version::newest()?).with_registry(&self.registry);
        let docker = Docker::start(&node, settings.with_plugin(Some(snapshotter.plugin())))?;
        Ok((docker, snapshotter))
    }
}

/// The name of the thin image of `name` (`repository:tag`).
pub fn thin_name(name: &str) -> String {
    format!("thin/{name}")
}
