//! How far an upload has come: what its caller and the workers share.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::entry::File;
use crate::{Error, Result};

/// What workers and caller share.
#[derive(Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
    /// Nobody wants the results any more, or something has failed.
    stopped: AtomicBool,
    /// Jobs that are not done.
    jobs: AtomicUsize,
}

#[derive(Default)]
struct State {
    finished: Vec<(u64, File)>,
    failure: Option<Error>,
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Takes note of what became of a job. Who waits is woken at the end only, that takes a system call.
    pub(super) fn tell(&self, outcome: Result<Option<(u64, File)>>) {
        match outcome {
            Ok(Some(file)) => self.state().finished.push(file),
            Ok(None) => {}
            Err(error) => {
                let mut state = self.state();
                // What fails after the first is most likely for the same reason.
                if !self.stopped.swap(true, Ordering::Relaxed) {
                    state.failure = Some(error);
                    self.changed.notify_all();
                }
            }
        }
        if self.jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Who is about to wait has looked before or will look after this.
            drop(self.state());
            self.changed.notify_all();
        }
    }

    /// A part more is to be stored.
    pub(super) fn begin_part(&self) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nobody wants the results any more, or something has failed.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The files that were stored since the last call, in no order.
    pub(super) fn take_finished(&self) -> Vec<(u64, File)> {
        mem::take(&mut self.state().finished)
    }

    /// Waits for all parts.
    pub(super) fn wait(&self) -> Result<()> {
        let mut state = self.state();
        while self.jobs.load(Ordering::Acquire) > 0 && state.failure.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.check()
    }

    /// Fails if something has failed.
    pub(super) fn check(&self) -> Result<()> {
        if !self.is_stopped() {
            return Ok(());
        }
        Err(self.state().failure.take().unwrap_or_else(told))
    }
}

/// The error of a session that has told its failure already.
fn told() -> Error {
    Error::Stopped("the upload has failed before".to_owned())
}
