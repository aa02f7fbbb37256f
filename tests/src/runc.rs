//! runc directly on a root file system, read-only: the simplest way to run an unpacked image.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::node::Node;
use crate::process::{Output, run};
use crate::tools;

/// Runs `command` in a container called `id` on `root`, which is not changed.
pub fn run_readonly(node: &Node, root: &Path, id: &str, command: &[&str]) -> Result<Output> {
    let bundle = node.make_dir(&format!("runc-{id}"))?;
    let capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_NET_RAW"];
    let mount = |kind: &str, destination: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "args": command, "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": root, "readonly": true},
        "mounts": [
            mount("proc", "/proc", &[]),
            mount("tmpfs", "/dev", &["nosuid", "mode=755"]),
            mount("tmpfs", "/tmp", &["nosuid", "mode=1777"]),
        ],
        "linux": {
            "cgroupsPath": format!("/{}/{id}", node.name()),
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
        },
    });
    fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
    let mut runc = node.command(tools::host("runc")?)?;
    runc.arg("--root")
        .arg(node.make_dir("runc-state")?)
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(id);
    run(&mut runc)
}
