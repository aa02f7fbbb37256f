//! containerd in every generation that is unpacked, on a [`Node`] of its own.

mod config;
mod ctr;
mod version;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result};
use rustix::process::Signal;

pub use config::{Plugin, Settings, write_hosts};
pub use ctr::Client;
pub use version::Version;

use crate::node::{Node, NodeDaemon};
use crate::process::run;
use crate::tools;

/// A running containerd.
#[derive(Debug)]
pub struct Containerd {
    daemon: Option<NodeDaemon>,
    /// containerd's own programs.
    bin: PathBuf,
    dir: PathBuf,
    settings: Settings,
    node: Rc<Node>,
}

impl Containerd {
    /// Starts one on `node`.
    pub fn start(node: &Rc<Node>, settings: Settings) -> Result<Self> {
        let dir = node.make_dir(&format!("containerd-{}", settings.version))?;
        let bin = tools::runtime(&format!("containerd-{}", settings.version))?.join("usr/bin");
        fs::create_dir_all(dir.join("certs.d"))?;
        for (host, authority, url) in &settings.registries {
            write_hosts(&dir.join("certs.d"), host, url, authority.as_deref())?;
        }
        fs::write(dir.join("config.toml"), settings.render(&dir))?;
        let mut containerd = Self { daemon: None, bin, dir, settings, node: Rc::clone(node) };
        containerd.launch()?;
        Ok(containerd)
    }

    fn launch(&mut self) -> Result<()> {
        let mut command = self.node.command(self.bin.join("containerd"))?;
        command.arg("--config").arg(self.dir.join("config.toml")).env("PATH", self.path()?);
        let name = format!("containerd-{}", self.settings.version);
        let mut daemon = self.node.spawn(&name, &command)?;
        // Answers only once all plugins are loaded.
        let mut probe = self.ctr_command()?;
        probe.args(["--connect-timeout", "1s", "version"]);
        daemon.wait_until("serving", || {
            self.dir.join("containerd.sock").exists() && run(&mut probe).is_ok()
        })?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Kills it (SIGKILL); its containers keep running.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.end(Signal::KILL)?;
        }
        Ok(())
    }

    /// Stops it (SIGTERM) if it is running, and starts it again with the same state.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.end(Signal::TERM)?;
        }
        self.launch()
    }

    /// `PATH` with this containerd's shim first.
    fn path(&self) -> Result<std::ffi::OsString> {
        let host = tools::search_path();
        let paths = std::iter::once(self.bin.clone()).chain(std::env::split_paths(&host));
        std::env::join_paths(paths).context("making PATH")
    }

    /// The gRPC socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// Where it keeps content, database and built-in snapshotters.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The snapshotter that clients should name.
    pub fn snapshotter(&self) -> &str {
        self.settings.plugin.as_ref().map_or("overlayfs", |plugin| &plugin.name)
    }

    /// Directory for `hosts.toml` files, for clients that resolve references themselves.
    pub fn hosts_dir(&self) -> PathBuf {
        self.dir.join("certs.d")
    }

    /// The node that it runs on.
    pub fn node(&self) -> &Rc<Node> {
        &self.node
    }

    /// The daemon's log so far.
    pub fn log(&self) -> Result<String> {
        let file = self.node.dir().join(format!("containerd-{}.log", self.settings.version));
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }

    /// The keys of the snapshots that containerd knows in the namespace `ns`.
    pub fn snapshots(&self, ns: &str) -> Result<Vec<String>> {
        let list =
            self.ctr_in(ns, &["snapshots", "--snapshotter", self.snapshotter(), "ls"])?.stdout;
        Ok(list
            .lines()
            .skip(1)
            .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
            .collect())
    }

    fn program(&self, program: &Path) -> Result<Command> {
        let mut command = self.node.command(program)?;
        command.env("PATH", self.path()?);
        Ok(command)
    }
}
