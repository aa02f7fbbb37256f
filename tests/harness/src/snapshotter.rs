//! Our snapshotter on a [`Node`]: started, stopped, killed and started again.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::containerd::Plugin;
use crate::node::{Node, NodeDaemon};
use crate::tools;

/// The name under which containerd knows it.
pub const NAME: &str = "cvmfs-snapshotter";

/// The snapshotter with its own directory and configuration.
#[derive(Debug)]
pub struct Snapshotter {
    daemon: Option<NodeDaemon>,
    dir: PathBuf,
    node: Rc<Node>,
}

impl Snapshotter {
    /// Starts one that uses the repositories in these directories, in this order.
    ///
    /// The repositories are called `one.example.org`, `two.example.org` and so on.
    pub fn start(node: &Rc<Node>, repositories: &[&Path]) -> Result<Self> {
        const NAMES: [&str; 4] = ["one", "two", "three", "four"];
        ensure!(repositories.len() <= NAMES.len(), "at most {} repositories", NAMES.len());
        let dir = node.make_dir("snapshotter")?;
        let mut config = format!(
            "root = \"{0}/root\"\nsocket = \"{0}/snapshotter.sock\"\nlog-format = \"text\"\nlog-level = \"info\"\n\
             repository-retry-s = 1\n",
            dir.display()
        );
        for (name, path) in NAMES.iter().zip(repositories) {
            config += &format!(
                "[[repository]]\nname = \"{name}.example.org\"\npath = \"{}\"\n",
                path.display()
            );
        }
        fs::write(dir.join("config.toml"), config)?;
        let mut snapshotter = Self { daemon: None, dir, node: Rc::clone(node) };
        snapshotter.launch()?;
        Ok(snapshotter)
    }

    /// Starts the program, which itself has to deal with the stale socket of a killed one.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.node.command(tools::cvmfs_snapshotter()?)?;
        command.arg("--config").arg(self.dir.join("config.toml"));
        let mut daemon = self.node.spawn(NAME, &command)?;
        let socket = self.socket();
        daemon.wait_until("listening", || UnixStream::connect(&socket).is_ok())?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Ends the program with `signal` and returns its exit status, if it was running.
    pub fn end(&mut self, signal: Signal) -> Result<Option<ExitStatus>> {
        self.daemon.take().map(|mut daemon| daemon.end(signal)).transpose()
    }

    /// Ends the program with `signal` and starts it again.
    pub fn restart(&mut self, signal: Signal) -> Result<()> {
        self.end(signal)?;
        self.launch()
    }

    /// Its description for containerd's settings.
    pub fn plugin(&self) -> Plugin {
        Plugin { name: NAME.to_owned(), socket: self.socket(), root: self.root() }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("snapshotter.sock")
    }

    /// Its own directory.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The ids of the snapshot directories that exist.
    pub fn snapshot_dirs(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = fs::read_dir(self.root().join("snapshots"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    }

    /// Everything it has logged, across restarts.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.node.dir().join(format!("{NAME}.log")))?)
    }
}
