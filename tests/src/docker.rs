//! Docker 28 with the containerd image store, on an external containerd 2.1.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use anyhow::Result;
use serde_json::json;

use crate::containerd::{Containerd, Settings};
use crate::node::{Node, NodeDaemon};
use crate::process::{Output, run};
use crate::tools;

/// A running dockerd with its containerd.
#[derive(Debug)]
pub struct Docker {
    // Order of fields is order of dropping.
    daemon: NodeDaemon,
    containerd: Containerd,
    bin: PathBuf,
    dir: PathBuf,
    node: Rc<Node>,
}

impl Docker {
    /// Starts containerd with `settings` and dockerd with the snapshotter that they name.
    pub fn start(node: &Rc<Node>, settings: Settings) -> Result<Self> {
        let containerd = Containerd::start(node, settings)?;
        let dir = node.make_dir("docker")?;
        let bin = tools::newest_runtime("docker")?.join("usr");
        let shims = tools::runtime(&format!("containerd-{}", containerd.settings().version))?
            .join("usr/bin");
        let config = json!({
            "features": {"containerd-snapshotter": true},
            "storage-driver": containerd.snapshotter(),
            "containerd": containerd.socket(),
            "data-root": dir.join("data"),
            "exec-root": dir.join("exec"),
            "pidfile": dir.join("docker.pid"),
            "hosts": [format!("unix://{}", dir.join("docker.sock").display())],
            "bridge": "none", "iptables": false, "ip6tables": false,
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": format!("/{}", node.name()),
        });
        fs::write(dir.join("daemon.json"), serde_json::to_vec_pretty(&config)?)?;
        let host = tools::search_path();
        let paths = [bin.join("sbin"), bin.join("bin"), shims]
            .into_iter()
            .chain(std::env::split_paths(&host));
        let mut command = node.command(bin.join("sbin/dockerd"))?;
        command
            .arg("--config-file")
            .arg(dir.join("daemon.json"))
            .env("PATH", std::env::join_paths(paths)?);
        let mut daemon = node.spawn("dockerd", &command)?;
        let mut probe = client(node, &bin, &dir)?;
        probe.arg("version");
        daemon.wait_until("serving", || run(&mut probe).is_ok())?;
        Ok(Self { daemon, containerd, bin, dir, node: Rc::clone(node) })
    }

    /// Runs `docker`; any exit status but 0 is an error.
    pub fn docker(&self, args: &[&str]) -> Result<Output> {
        run(client(&self.node, &self.bin, &self.dir)?.args(args))
    }

    /// Runs a container of an image to its end, without a network, and returns what it printed.
    pub fn run(&self, image: &str, command: &[&str]) -> Result<Output> {
        let mut args = vec!["run", "--rm", "--network", "none", image];
        args.extend(command);
        self.docker(&args)
    }

    /// The containerd behind it.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The daemon's log so far.
    pub fn log(&self) -> Result<String> {
        self.daemon.log()
    }
}

fn client(node: &Node, usr: &std::path::Path, dir: &std::path::Path) -> Result<Command> {
    let mut command = node.command(usr.join("bin/docker"))?;
    // Keeps out the credentials of the user who runs the tests.
    command.arg("--config").arg(dir.join("client"));
    command.arg("--host").arg(format!("unix://{}", dir.join("docker.sock").display()));
    Ok(command)
}
