//! The latest revision that somebody has read.

use std::sync::{Mutex, PoisonError};

use cvmfs_repository::snapshot::Snapshot;

/// A revision that is replaced by later ones.
pub(super) struct Latest(Mutex<Snapshot>);

impl Latest {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self(Mutex::new(snapshot))
    }

    pub(super) fn get(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a revision, unless it is older than the one that is there.
    pub(super) fn advance(&self, snapshot: Snapshot) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshot.manifest().revision >= latest.manifest().revision {
            *latest = snapshot;
        }
    }
}
