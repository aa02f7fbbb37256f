//! What the memory budget waits with. Its tests also run with other threads and locks in place of these, see `explored`.

pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub(super) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[cfg(test)]
pub(super) use std::{sync::mpsc, thread};

/// Runs a test once.
#[cfg(test)]
pub(super) fn explore(test: fn()) {
    test();
}

#[cfg(test)]
pub(super) use explore as explore_all;
