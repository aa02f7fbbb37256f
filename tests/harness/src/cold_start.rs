//! What a user waits for on a new node: the pull, and the first output of a container.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::containerd::{Client, Containerd, Settings, Version};
use crate::node::Node;
use crate::registry::Registry;
use crate::snapshotter::Snapshotter;

/// What a start cost.
#[derive(Debug, Clone, Copy)]
pub struct ColdStart {
    /// From the beginning of the pull to the end of the container.
    pub time: Duration,
    /// Bytes that the registry sent.
    pub bytes: u64,
    /// Number of layer, placeholder and configuration blobs that the registry sent.
    pub blobs: usize,
}

impl ColdStart {
    /// Pulls `name` from `registry` on a new node with the newest containerd and runs `command`, which must print
    /// `expected`. The node has our snapshotter if there is a `repository`, otherwise containerd's overlayfs.
    pub fn measure(
        registry: &Registry,
        repository: Option<&Path>,
        name: &str,
        command: &[&str],
        expected: &str,
    ) -> Result<Self> {
        let node = Rc::new(Node::new()?);
        let snapshotter = repository.map(|path| Snapshotter::start(&node, &[path])).transpose()?;
        let plugin = snapshotter.as_ref().map(Snapshotter::plugin);
        let settings =
            Settings::new(Version::newest()?).with_plugin(plugin).with_registry(registry);
        let containerd = Containerd::start(&node, settings)?;
        let reference = registry.reference(name);
        let begun = Instant::now();
        let (output, traffic) = registry.watch(|| {
            containerd.pull(Client::Ctr, &reference)?;
            containerd.run(&reference, "cold", command)
        })?;
        let time = begun.elapsed();
        let printed = output.stdout.trim();
        ensure!(printed == expected, "{name}: the container printed {printed:?}, not {expected:?}");
        Ok(Self { time, bytes: traffic.bytes(), blobs: traffic.blobs().len() })
    }
}
