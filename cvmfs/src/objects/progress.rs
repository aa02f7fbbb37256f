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
    /// Whether nobody wants the results any more, or something has failed.
    stopped: AtomicBool,
    /// Parts that are not stored yet.
    parts: AtomicUsize,
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

    /// Takes note of what became of a part. The caller is woken only at the end, because that takes a system call.
    pub(super) fn finish_part(&self, outcome: Result<Option<(u64, File)>>) {
        match outcome {
            Ok(Some(file)) => self.state().finished.push(file),
            Ok(None) => {}
            Err(error) => {
                let mut state = self.state();
                // Later failures most likely have the same reason as the first.
                if !self.stopped.swap(true, Ordering::Relaxed) {
                    state.failure = Some(error);
                    self.changed.notify_all();
                }
            }
        }
        if self.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A caller that is about to wait holds the lock until it sleeps, or sees the new count.
            drop(self.state());
            self.changed.notify_all();
        }
    }

    /// Counts one more part that is to be stored.
    pub(super) fn begin_part(&self) {
        self.parts.fetch_add(1, Ordering::Relaxed);
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
        while self.parts.load(Ordering::Acquire) > 0 && state.failure.is_none() {
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
        Err(self.state().failure.take().unwrap_or_else(reported))
    }
}

/// The error of an upload whose failure has been reported already.
fn reported() -> Error {
    Error::Stopped("the upload has failed before".to_owned())
}
