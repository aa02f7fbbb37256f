//! Jobs that run side by side, and one line that says how far each of them is.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often the line is written over on a terminal.
const REDRAW: Duration = Duration::from_millis(200);
/// How often a line is written to a log.
const REPORT: Duration = Duration::from_secs(15);
/// Longer lines would wrap on an ordinary terminal and could not be written over.
const WIDTH: usize = 79;

/// A job: what it is called, and what it does.
pub(crate) type Job<'a> = (&'static str, Box<dyn FnOnce(&Progress) -> Result<()> + Send + 'a>);

/// How far a job is, for the one who watches.
pub(crate) struct Progress {
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    text: String,
    ended: bool,
    /// Lines that are to be shown once, above the line.
    said: Vec<String>,
}

impl Progress {
    fn new(name: &'static str) -> Self {
        Self { name, state: Mutex::new(State::default()) }
    }

    /// What it does right now, in place of what it did before.
    pub(crate) fn set(&self, text: String) {
        self.lock().text = text;
    }

    /// Something that is worth a line of its own.
    pub(crate) fn say(&self, line: String) {
        self.lock().said.push(line);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Runs `jobs` side by side to their ends, and fails if one of them did.
pub(crate) fn side_by_side(jobs: Vec<Job<'_>>) -> Result<()> {
    let begun = Instant::now();
    let (board, jobs): (Vec<_>, Vec<_>) =
        jobs.into_iter().map(|(name, job)| (Progress::new(name), job)).unzip();
    let failed = thread::scope(|scope| {
        let threads: Vec<_> = (board.iter().zip(jobs))
            .map(|(progress, job)| scope.spawn(move || run(progress, job)))
            .collect();
        watch(&board, begun, || threads.iter().all(thread::ScopedJoinHandle::is_finished));
        let ends: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ends.iter().any(|end| !matches!(end, Ok(true)))
    });
    if failed {
        bail!("not all of it worked, see above");
    }
    Ok(())
}

/// Whether it went well.
fn run(progress: &Progress, job: impl FnOnce(&Progress) -> Result<()>) -> bool {
    let begun = Instant::now();
    let result = job(progress);
    let mut state = progress.lock();
    state.ended = true;
    let name = progress.name;
    state.said.push(match &result {
        Ok(()) => format!("    {name}: done after {}", clock(begun.elapsed())),
        Err(error) => format!("error: {name}: {error:#}"),
    });
    result.is_ok()
}

fn watch(board: &[Progress], begun: Instant, all_ended: impl Fn() -> bool) {
    let terminal = std::io::stderr().is_terminal();
    let mut errors = std::io::stderr();
    let (mut last_line, mut last_report) = (String::new(), Instant::now());
    loop {
        let ended = all_ended();
        let clear = if terminal { "\r\x1b[K" } else { "" };
        for line in board.iter().flat_map(|progress| std::mem::take(&mut progress.lock().said)) {
            eprintln!("{clear}{line}");
        }
        if ended {
            return;
        }
        let line = line(board, begun.elapsed());
        if terminal {
            let short: String = line.chars().take(WIDTH).collect();
            // Nothing is lost if the line cannot be written.
            let _ = write!(errors, "{clear}{short}").and_then(|()| errors.flush());
        } else if last_report.elapsed() >= REPORT && line != last_line {
            eprintln!("{line}");
            (last_line, last_report) = (line, Instant::now());
        }
        thread::sleep(REDRAW);
    }
}

fn line(board: &[Progress], time: Duration) -> String {
    let jobs = board.iter().filter_map(|progress| {
        let state = progress.lock();
        (!state.ended).then(|| format!("{}: {}", progress.name, state.text))
    });
    format!("    {}  {}", clock(time), jobs.collect::<Vec<_>>().join("; "))
}

fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}
