//! Child processes that never outlive a test.
//!
//! Every long-running process is started through `setpriv --pdeathsig KILL`: when the test's thread ends for whatever
//! reason, the kernel kills the child. A [`Daemon`] must therefore be started and dropped on the same thread.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::tools;

/// How long a single command may take before it counts as hung.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a daemon may take to become ready or to end.
pub const DAEMON_TIMEOUT: Duration = Duration::from_secs(30);

/// What a finished command printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
}

/// Runs a command to its end and returns what it printed, whatever its exit status.
///
/// Fails only if it cannot be started or takes longer than `timeout`; then its whole process group is killed.
pub fn run_any(command: &mut Command, timeout: Duration) -> Result<Output> {
    let line = show(command);
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {line}"))?;
    let mut group = Group { child };
    let status = group.wait(timeout)?;
    let mut output = Output {
        status: ExitStatus::default(),
        stdout: text(&mut stdout)?,
        stderr: text(&mut stderr)?,
    };
    match status {
        Some(status) => output.status = status,
        None => bail!("{line}: not done after {timeout:?}\n{}", output.both()),
    }
    Ok(output)
}

/// Runs a command to its end; an exit status other than 0 is an error that shows everything it printed.
pub fn run(command: &mut Command) -> Result<Output> {
    let line = show(command);
    let output = run_any(command, COMMAND_TIMEOUT)?;
    if !output.status.success() {
        bail!("{line}: {}\n{}", output.status, output.both());
    }
    Ok(output)
}

impl Output {
    /// The ends of standard output and standard error under headings, for messages.
    pub fn both(&self) -> String {
        format!(
            "--- stdout\n{}\n--- stderr\n{}",
            last_lines(&self.stdout),
            last_lines(&self.stderr)
        )
    }
}

/// As much of a log as a message should contain.
fn last_lines(text: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}

/// The command as one would type it, for messages.
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A child that leads a process group; the group is killed when this is dropped.
#[derive(Debug)]
struct Group {
    child: Child,
}

impl Group {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// `None` if it still runs after `timeout`.
    fn wait(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The group may already be gone; then there is nothing to do.
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A running server process with its log.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    group: Group,
}

impl Daemon {
    /// Starts `command` with its output appended to `log`.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut guarded = Command::new(tools::host("setpriv")?);
        guarded
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(key, value),
                None => guarded.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            guarded.current_dir(dir);
        }
        let child = guarded
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}: {}", show(command)))?;
        Ok(Self { name: name.to_owned(), log: log.to_path_buf(), group: Group { child } })
    }

    /// The process id on the host.
    pub fn pid(&self) -> Pid {
        self.group.pid()
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> Result<String> {
        let bytes =
            fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until `ready` returns true; fails if the process ends first, or after [`DAEMON_TIMEOUT`].
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + DAEMON_TIMEOUT;
        while !ready() {
            if let Some(status) = self.group.child.try_wait()? {
                bail!("{} ended ({status}) before {what}:\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{}: not {what} after {DAEMON_TIMEOUT:?}:\n{}", self.name, self.log_tail());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The last lines of the log, for messages.
    pub fn log_tail(&self) -> String {
        last_lines(&self.log().unwrap_or_default())
    }

    /// Whether the process is running.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.group.child.try_wait()?.is_none())
    }

    /// Sends `signal` to the process only.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid(), signal)
            .with_context(|| format!("sending a signal to {}", self.name))
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        match self.group.wait(DAEMON_TIMEOUT)? {
            Some(status) => Ok(status),
            None => {
                bail!(
                    "{} is still running after {DAEMON_TIMEOUT:?}:\n{}",
                    self.name,
                    self.log_tail()
                )
            }
        }
    }
}

/// The process id, on the host, of the first child process of `parent`.
pub fn child_of(parent: Pid) -> Option<Pid> {
    let parent = parent.as_raw_nonzero().get();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The command name is in parentheses and may contain blanks; state and parent follow it.
        let ppid: i32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (ppid == parent).then(|| Pid::from_raw(pid)).flatten()
    })
}
