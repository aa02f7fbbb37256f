//! Podman on an unpacked root file system (`--rootfs`), with a store of its own.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::node::Node;
use crate::process::{Output, run};
use crate::tools;

/// No systemd, no network plugins, and only limits that root may set without CAP_SYS_RESOURCE.
const CONFIG: &str = r#"[containers]
netns = "none"
cgroups = "enabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"#;

/// `podman run --rm --rootfs ROOT:O COMMAND…`; what the container writes is discarded.
pub fn run_rootfs(node: &Node, root: &Path, command: &[&str]) -> Result<Output> {
    let dir = node.make_dir("podman")?;
    let config = dir.join("containers.conf");
    fs::write(&config, CONFIG)?;
    let store = dir.join("storage.conf");
    let directories = format!("graphroot = \"{0}/root\"\nrunroot = \"{0}/run\"\n", dir.display());
    fs::write(&store, format!("[storage]\ndriver = \"overlay\"\n{directories}"))?;
    let mut podman = node.command(tools::host("podman")?)?;
    podman.env("CONTAINERS_CONF", &config).env("HOME", &dir).env("CONTAINERS_STORAGE_CONF", &store);
    podman.arg("--tmpdir").arg(dir.join("tmp"));
    podman.args(["run", "--rm", "--cgroup-parent"]).arg(format!("/{}", node.name()));
    podman.arg("--rootfs").arg(format!("{}:O", root.display())).args(command);
    run(&mut podman)
}
