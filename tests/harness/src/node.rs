//! A private machine for one test, with its own process and mount namespaces, `/run/containerd` and the like.
//!
//! containerd's shims detach from their parent, keep sockets at fixed paths and hold mounts. Inside a node all that is
//! private: when the node's first process ends, even because the test was killed, the kernel ends every other process
//! of the node and drops its mounts. Tests can therefore use fixed container ids and run side by side. The network is
//! the host's, so that a registry on loopback is reachable.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::{Daemon, child_of};
use crate::{cgroup, tools};

/// Fixed directories where container runtimes keep sockets and state.
const PRIVATE_DIRS: [&str; 7] = [
    "/run/containerd",
    "/run/runc",
    "/run/crun",
    "/run/docker",
    "/run/libpod",
    "/run/containers",
    "/run/netns",
];

/// Process 1 of the node: mounts the private directories and then only reaps dead children.
const INIT: &str = r#"set -e
for dir in "$@"; do mkdir -p "$dir"; mount -t tmpfs -o mode=0755 node "$dir"; done
echo ready
set +e
while :; do sleep 3600; done"#;

/// A machine of its own; everything in it ends when this is dropped.
#[derive(Debug)]
pub struct Node {
    name: String,
    // Order of fields is order of dropping: processes before directories.
    first: Daemon,
    first_pid: Pid,
    dir: TempDir,
}

impl Node {
    /// Starts an empty node.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        tools::require_root()?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{}-{count}", std::process::id());
        // Short, because the path of a unix socket has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir()?;
        let mut command = Command::new(tools::host("unshare")?);
        command
            .args([
                "--mount",
                "--propagation",
                "slave",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["bash", "-c", INIT, "init"])
            .args(PRIVATE_DIRS);
        let log = dir.path().join("node.log");
        let mut first = Daemon::spawn("node", &command, &log)?;
        first.wait_until("ready", || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("ready"))
        })?;
        let first_pid = child_of(first.pid()).context("the node's first process is gone")?;
        Ok(Self { name, first, first_pid, dir })
    }

    /// A name that no other node has, used for the parent of control groups and for a containerd namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's private directory, removed at the end.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new directory below [`Node::dir`].
    pub fn make_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir().join(name);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(dir)
    }

    /// A command that runs `program` inside the node.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let mut command = Command::new(tools::host("nsenter")?);
        command
            .arg(format!("--target={}", self.first_pid.as_raw_nonzero()))
            .args(["--mount", "--pid", "--"]);
        command.arg(program.as_ref()).env("PATH", tools::search_path());
        Ok(command)
    }

    /// Starts `command` (from [`Node::command`]) as a server with a log `<name>.log` in the node's directory.
    pub fn spawn(&self, name: &str, command: &Command) -> Result<NodeDaemon> {
        let mut entry = Daemon::spawn(name, command, &self.dir().join(format!("{name}.log")))?;
        let mut pid = None;
        let parent = entry.pid();
        entry.wait_until("inside its node", || {
            pid = child_of(parent);
            pid.is_some()
        })?;
        let pid = pid.context("a process of the node has no id")?;
        Ok(NodeDaemon { entry, pid })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = kill_process(self.first_pid, Signal::KILL);
        let _ = self.first.wait();
        cgroup::remove(&self.name);
    }
}

/// A server inside a node.
#[derive(Debug)]
pub struct NodeDaemon {
    /// nsenter, which waits for the server and exits with its status.
    entry: Daemon,
    pid: Pid,
}

impl NodeDaemon {
    /// The server's own process id, as the host sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// See [`Daemon::wait_until`].
    pub fn wait_until(&mut self, what: &str, ready: impl FnMut() -> bool) -> Result<()> {
        self.entry.wait_until(what, ready)
    }

    /// Everything the server has printed, across restarts.
    pub fn log(&self) -> Result<String> {
        self.entry.log()
    }

    /// The last lines of the log, for messages.
    pub fn log_tail(&self) -> String {
        self.entry.log_tail()
    }

    /// Whether the server is running.
    pub fn is_running(&mut self) -> Result<bool> {
        self.entry.is_running()
    }

    /// Sends `signal` to the server only, and waits for it to end.
    pub fn end(&mut self, signal: Signal) -> Result<std::process::ExitStatus> {
        if self.entry.is_running()? {
            kill_process(self.pid, signal).context("sending a signal to a server")?;
        }
        self.entry.wait()
    }
}

impl Drop for NodeDaemon {
    fn drop(&mut self) {
        if self.entry.is_running().unwrap_or(false) {
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.entry.wait();
        }
    }
}
