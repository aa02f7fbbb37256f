//! What waits for the workers.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs in the order in which they came. The memory budget limits how many there can be.
///
/// They come in batches: handing one over takes locks and may wake a thread, which costs more than storing a file of a
/// few KiB.
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
}

struct State<J> {
    batches: VecDeque<Vec<J>>,
    /// Threads that wait for a batch.
    idle: usize,
    closed: bool,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        let state = State { batches: VecDeque::new(), idle: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<J> Queue<J> {
    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, batch: Vec<J>) {
        let mut state = self.state();
        if !state.closed && !batch.is_empty() {
            state.batches.push_back(batch);
            // Waking a thread takes a system call, and usually all threads are busy.
            let wake = state.idle > 0;
            drop(state);
            if wake {
                self.changed.notify_one();
            }
        }
    }

    /// Waits for jobs; `None` when there will be no more.
    pub(super) fn pop(&self) -> Option<Vec<J>> {
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

    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let batches = std::mem::take(&mut state.batches);
        drop(state);
        drop(batches);
        self.changed.notify_all();
    }
}
