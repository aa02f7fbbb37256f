//! Points at which a program is killed: before its N-th system call of a kind, as strace(1) counts them.
//!
//! Points in time would rarely be between two renames that take microseconds. Counted are the calls of each thread, so a
//! point is the same place in each run as far as the program's own threads allow.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::process::{DAEMON_TIMEOUT, Daemon};
use crate::tools;

/// The system calls that change files, here or, by a request, elsewhere.
const CALLS: [&str; 21] = [
    "openat",
    "write",
    "pwrite64",
    "ftruncate",
    "mkdir",
    "mkdirat",
    "linkat",
    "symlinkat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "fchmod",
    "fchmodat",
    "utimensat",
    "fsync",
    "fdatasync",
    "syncfs",
    "sendto",
    "writev",
];

/// Points of one command.
#[derive(Debug)]
pub struct KillPoints {
    /// The most calls of each kind that a thread made.
    counts: Vec<(&'static str, usize)>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was killed at the point.
    AtThePoint,
    /// It did not come to the point, and has done its work.
    AfterItsWork,
}

impl KillPoints {
    /// Runs a command that should do the same work as those that are to be killed. `is_done` looks at what it has printed;
    /// if it says that the work is done, the command is ended.
    pub fn count(command: &Command, dir: &Path, is_done: impl Fn(&str) -> bool) -> Result<Self> {
        let calls = dir.join("calls");
        // Not every architecture has all of them.
        let known: Vec<String> = CALLS.iter().map(|call| format!("?{call}")).collect();
        let expression = format!("trace={}", known.join(","));
        let traced = traced(command, &[&expression], &calls)?;
        run(&traced, dir, is_done)?;
        let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
        let text = String::from_utf8_lossy(&std::fs::read(&calls)?).into_owned();
        for line in text.lines() {
            if let Some((thread, rest)) = line.split_once(' ')
                && let Some((call, _)) = rest.trim_start().split_once('(')
            {
                *counts.entry((thread, call)).or_default() += 1;
            }
        }
        let most = |call: &'static str| {
            let of_call = counts.iter().filter(|((_, other), _)| *other == call);
            Some((call, of_call.map(|(_, count)| *count).max()?))
        };
        let counts: Vec<_> = CALLS.into_iter().filter_map(most).collect();
        ensure!(!counts.is_empty(), "no system call was seen: {text}");
        Ok(Self { counts })
    }

    /// Runs a command and kills it at a point chosen at random.
    pub fn kill(
        &self,
        random: &mut fastrand::Rng,
        command: &Command,
        dir: &Path,
        is_done: impl Fn(&str) -> bool,
    ) -> Result<(Ended, String)> {
        let (call, count) = self.counts[random.usize(..self.counts.len())];
        let number = random.usize(1..=count);
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:signal=KILL:when={number}");
        let traced = traced(command, &[&trace, &inject], Path::new("/dev/null"))?;
        Ok((run(&traced, dir, is_done)?, format!("before {call} number {number} of a thread")))
    }
}

/// The command under strace.
fn traced(command: &Command, expressions: &[&str], output: &Path) -> Result<Command> {
    let mut strace = Command::new(tools::host("strace")?);
    strace.args(["-f", "-qq", "--signal=none", "-o"]).arg(output);
    for expression in expressions {
        strace.args(["-e", expression]);
    }
    // If strace itself is killed, the program must not go on.
    strace.arg("--").arg(tools::host("setpriv")?).args(["--pdeathsig", "KILL", "--"]);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    Ok(strace)
}

fn run(command: &Command, dir: &Path, is_done: impl Fn(&str) -> bool) -> Result<Ended> {
    let log = dir.join("killed.log");
    // What an earlier run has printed is none of this one's.
    std::fs::write(&log, "")?;
    let mut daemon = Daemon::spawn("ducc", command, &log)?;
    let deadline = Instant::now() + DAEMON_TIMEOUT;
    while daemon.is_running()? {
        if is_done(&daemon.log()?) {
            return Ok(Ended::AfterItsWork);
        }
        ensure!(Instant::now() < deadline, "neither killed nor done:\n{}", daemon.log_tail());
        thread::sleep(Duration::from_millis(2));
    }
    let status = daemon.wait()?;
    if status.signal() == Some(Signal::KILL.as_raw()) {
        return Ok(Ended::AtThePoint);
    }
    ensure!(status.success(), "ended by itself ({status}):\n{}", daemon.log_tail());
    Ok(Ended::AfterItsWork)
}
