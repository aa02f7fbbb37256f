//! A daemon with everything below one temporary directory.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cvmfs-snapshotter");

pub struct Daemon {
    process: Option<Child>,
    config: PathBuf,
    pub client: Client,
    directory: TempDir,
}

pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests mount file systems: run them as root"
    );
}

/// The command that starts a daemon with its log in a file; `within` is the command it is run by, if any.
pub fn command(within: &[&str], config: &Path, log: &Path) -> Command {
    let log = fs::File::options().create(true).append(true).open(log).unwrap();
    let mut words = within.iter().chain([&PROGRAM]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command
}

impl Daemon {
    /// A daemon without repositories.
    pub async fn plain() -> Self {
        Self::with(&[]).await
    }

    /// A daemon with these repositories and short time-outs.
    pub async fn with(repositories: &[(&str, &Path)]) -> Self {
        require_root();
        let directory = tempfile::Builder::new().prefix("snap-").tempdir().unwrap();
        let socket = directory.path().join("run/s.sock");
        let mut daemon = Self {
            process: None,
            config: directory.path().join("config.toml"),
            client: Client::new(&socket),
            directory,
        };
        daemon.configure(repositories);
        daemon.start().await;
        daemon
    }

    /// Writes the configuration, for the next start.
    pub fn configure(&self, repositories: &[(&str, &Path)]) {
        let mut text = format!(
            "root = {:?}\nsocket = {:?}\nlog-format = \"json\"\nlog-level = \"debug\"\n\
             repository-timeout-ms = 1000\nrepository-retry-s = 1\n",
            self.root(),
            self.socket()
        );
        for (name, path) in repositories {
            write!(text, "[[repository]]\nname = {name:?}\npath = {path:?}\n").unwrap();
        }
        fs::write(&self.config, text).unwrap();
    }

    /// Adds lines to the configuration, for the next start.
    pub fn configure_also(&self, lines: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        fs::write(&self.config, format!("{lines}\n{text}")).unwrap();
    }

    pub async fn start(&mut self) {
        self.start_with(&[]).await;
    }

    async fn start_with(&mut self, within: &[&str]) {
        assert!(self.process.is_none());
        self.process = Some(command(within, &self.config, &self.log_file()).spawn().unwrap());
        let started = Instant::now();
        while self.client.list(&[]).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Tells it to read its configuration again.
    pub fn reload(&self) {
        let process = Pid::from_child(self.process.as_ref().unwrap());
        kill_process(process, Signal::HUP).unwrap();
    }

    fn signal(&mut self, signal: Signal) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        kill_process(Pid::from_child(&process), signal).unwrap();
        process.wait().unwrap()
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Its exit status after `signal`, and how long it took to end.
    pub fn stop(&mut self, signal: Signal) -> (ExitStatus, Duration) {
        let started = Instant::now();
        (self.signal(signal), started.elapsed())
    }

    pub async fn restart(&mut self) {
        self.kill();
        self.start().await;
    }

    /// The same, but run by another program.
    pub async fn restart_with(&mut self, within: &[&str]) {
        self.kill();
        self.start_with(within).await;
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/s.sock")
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Number of log lines that contain all these texts.
    pub fn logged(&self, parts: &[&str]) -> usize {
        self.log().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// A new directory for the test, on the same file system.
    pub fn work(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join("work").join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Names in `snapshots/`.
    pub fn directories(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.root().join("snapshots"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The only `snapshots/<id>` that was not there before.
    pub fn new_directory(&self, before: &[String]) -> PathBuf {
        let mut new: Vec<_> =
            self.directories().into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(new.len(), 1, "{new:?}");
        self.root().join("snapshots").join(new.remove(0))
    }

    pub fn trash(&self) -> usize {
        fs::read_dir(self.root().join("trash")).unwrap().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- daemon's log\n{}---", self.log());
        }
        unmount_below(self.directory.path());
    }
}

/// Unmounts everything below a directory, latest first.
fn unmount_below(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines().rev() {
        let target = Path::new(line.split(' ').nth(1).unwrap_or_default());
        if target.starts_with(directory) {
            let _ = rustix::mount::unmount(target, UnmountFlags::DETACH);
        }
    }
}
