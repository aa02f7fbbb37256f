//! The threads that hash and compress.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::{Error, Result};

use super::Core;
use super::compressor::Compressor;
use super::job::Job;

/// What is to be done, in order. It has no limit of its own, the memory budget is its limit.
///
/// Jobs come in batches: to hand one over takes locks and may wake a thread, which costs more than a file of a few
/// KiB.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Vec<Job>>,
    /// Threads that wait for a batch.
    idle: usize,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, batch: Vec<Job>) {
        let mut state = self.state();
        if !state.closed && !batch.is_empty() {
            state.batches.push_back(batch);
            // Waking takes a system call, and mostly all are busy.
            let wake = state.idle > 0;
            drop(state);
            if wake {
                self.changed.notify_one();
            }
        }
    }

    /// Waits for jobs; `None` when there will be no more.
    fn pop(&self) -> Option<Vec<Job>> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(batch) = state.batches.pop_front() {
                return Some(batch);
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let batches = std::mem::take(&mut state.batches);
        drop(state);
        drop(batches);
        self.changed.notify_all();
    }
}

/// The threads, started when they are first needed. They end when this is dropped.
pub(super) struct Workers {
    core: Arc<Core>,
    started: Mutex<bool>,
}

impl Workers {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), started: Mutex::new(false) }
    }

    /// Starts the threads unless they run already.
    pub(super) fn start(&self) -> Result<()> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if *started {
            return Ok(());
        }
        for number in 0..self.core.settings.threads.max(1) {
            let core = Arc::clone(&self.core);
            let thread = thread::Builder::new().name(format!("objects-{number}"));
            match thread.spawn(move || work(&core)) {
                Ok(_) => {}
                // Fewer do as well.
                Err(error) if number > 0 => {
                    tracing::warn!(%error, "only {number} threads compress");
                    break;
                }
                Err(cause) => {
                    let path = "/proc/self/task".into();
                    return Err(Error::System { action: "start a thread in", path, cause });
                }
            }
        }
        *started = true;
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.core.queue.close();
    }
}

fn work(core: &Arc<Core>) {
    let mut compressor = Compressor::new();
    while let Some(batch) = core.queue.pop() {
        super::job::run(batch, core, &mut compressor);
    }
}
