//! containerd's own client and stargz's, which with every generation asks the snapshotter before it downloads.

use std::process::Command;

use anyhow::Result;

use super::Containerd;
use crate::process::{Output, run};
use crate::registry::{PASSWORD, USER};
use crate::tools;

/// Which program pulls an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// `ctr image pull`: lazy from 2.0 on.
    Ctr,
    /// `ctr-remote image rpull`: lazy with every generation.
    CtrRemote,
}

impl Containerd {
    /// `ctr` at this daemon's socket.
    pub(super) fn ctr_command(&self) -> Result<Command> {
        let mut command = self.program(&self.bin.join("ctr"))?;
        command.arg("--address").arg(self.socket());
        Ok(command)
    }

    /// Runs `ctr` in the node's own containerd namespace; any exit status but 0 is an error.
    pub fn ctr(&self, args: &[&str]) -> Result<Output> {
        self.ctr_in(self.node.name(), args)
    }

    /// Runs `ctr` in the namespace `ns`; CRI's is `k8s.io`, Docker's `moby`.
    pub fn ctr_in(&self, ns: &str, args: &[&str]) -> Result<Output> {
        let mut command = self.ctr_command()?;
        command.args(["--namespace", ns]).args(args);
        run(&mut command)
    }

    /// Runs stargz's `ctr-remote`, like [`Containerd::ctr`].
    pub fn ctr_remote(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.program(&tools::runtime("stargz")?.join("usr/bin/ctr-remote"))?;
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", self.node.name()])
            .args(args);
        run(&mut command)
    }

    /// Pulls `reference` for the configured snapshotter.
    pub fn pull(&self, client: Client, reference: &str) -> Result<Output> {
        let snapshotter = self.snapshotter();
        match client {
            Client::Ctr => {
                let hosts = self.hosts_dir();
                let hosts = hosts.to_string_lossy();
                let mut args =
                    vec!["image", "pull", "--snapshotter", snapshotter, "--hosts-dir", &*hosts];
                let user = format!("{USER}:{PASSWORD}");
                args.extend(["--user", user.as_str(), reference]);
                self.ctr(&args)
            }
            Client::CtrRemote => {
                // It does not read a hosts directory, but uses plain HTTP for loopback addresses.
                self.ctr_remote(&[
                    "image",
                    "rpull",
                    "--snapshotter",
                    snapshotter,
                    "--plain-http",
                    reference,
                ])
            }
        }
    }

    /// Runs a container of a pulled image to its end and returns what it printed.
    pub fn run(&self, reference: &str, id: &str, command: &[&str]) -> Result<Output> {
        let mut args = vec!["run", "--rm", "--snapshotter", self.snapshotter()];
        let cgroup = format!("/{}/{id}", self.node.name());
        args.extend(["--cgroup", cgroup.as_str()]);
        args.extend([reference, id]);
        args.extend(command);
        self.ctr(&args)
    }
}
