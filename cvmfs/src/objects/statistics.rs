//! What was done.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sums over all uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Bytes of content that came in.
    pub content: u64,
    /// Bytes of the objects that were put.
    pub stored: u64,
    /// Objects that were put.
    pub put: u64,
    /// Objects that were there. An object counts each time that it is needed.
    pub found: u64,
    /// Those of the found objects that the index knew, so that their content was not compressed.
    pub known: u64,
    /// The most memory that content took at one time, in bytes.
    pub memory: u64,
}

#[derive(Debug, Default)]
pub(super) struct LiveStatistics {
    content: AtomicU64,
    stored: AtomicU64,
    put: AtomicU64,
    found: AtomicU64,
    known: AtomicU64,
}

impl LiveStatistics {
    pub(super) fn read(&self, content: u64) {
        self.content.fetch_add(content, Ordering::Relaxed);
    }

    pub(super) fn put(&self, stored: u64) {
        self.put.fetch_add(1, Ordering::Relaxed);
        self.stored.fetch_add(stored, Ordering::Relaxed);
    }

    pub(super) fn found(&self) {
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn known(&self) {
        self.known.fetch_add(1, Ordering::Relaxed);
        self.found();
    }

    pub(super) fn snapshot(&self, memory: u64) -> Statistics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            content: get(&self.content),
            stored: get(&self.stored),
            put: get(&self.put),
            found: get(&self.found),
            known: get(&self.known),
            memory,
        }
    }
}
