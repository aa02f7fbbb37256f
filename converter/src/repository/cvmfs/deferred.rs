//! Small files that are stored when they are published, many at a time: where the storage is far away, waiting for one
//! after the other would take most of the time of a commit. What was written over before is not stored at all.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cvmfs_repository::objects::{Objects, PackedFile};
use cvmfs_repository::{Error, Result};

/// The files that are being stored for one commit. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Deferred(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    under_way: usize,
    failure: Option<Error>,
}

impl Deferred {
    /// Begins to store a file.
    pub(super) fn store(&self, objects: &Objects, packed: &PackedFile) {
        self.state().under_way += 1;
        let told = self.clone();
        objects.store_packed_then(packed, move |stored| told.done(stored));
    }

    /// Waits until all files are stored.
    ///
    /// # Errors
    /// If one could not be.
    pub(super) fn settle(&self) -> Result<()> {
        let mut state = self.state();
        while state.under_way > 0 {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.take().map_or(Ok(()), Err)
    }

    fn done(&self, stored: Result<()>) {
        let mut state = self.state();
        state.under_way -= 1;
        if let Err(error) = stored {
            state.failure.get_or_insert(error);
        }
        if state.under_way == 0 {
            self.0.1.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_all_and_tells_a_failure() {
        let deferred = Deferred::default();
        deferred.settle().unwrap();
        deferred.state().under_way = 3;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                deferred.done(Ok(()));
                deferred.done(Err(Error::InvalidDate));
                deferred.done(Err(Error::ExternalContent));
            });
            assert!(matches!(deferred.settle(), Err(Error::InvalidDate)));
        });
    }
}
