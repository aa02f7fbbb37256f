//! Small files that are being stored while their change goes on. Where the storage is far away, waiting for one after the
//! other would take most of the time of a commit.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cvmfs_repository::entry::File;
use cvmfs_repository::objects::Objects;
use cvmfs_repository::{Error, Result};

/// The files that one change stores. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Deferred(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    under_way: usize,
    failure: Option<Error>,
}

impl Deferred {
    /// Begins to store a file.
    pub(super) fn store(&self, objects: &Objects, content: &[u8]) -> File {
        self.state().under_way += 1;
        let told = self.clone();
        objects.store_file_then(content, move |stored| told.done(stored))
    }

    /// Waits until all files are stored.
    ///
    /// # Errors
    /// If one could not be; every later call then fails, too, because nobody stores it again.
    pub(super) fn settle(&self) -> Result<()> {
        let mut state = self.state();
        while state.under_way > 0 {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match &mut state.failure {
            None => Ok(()),
            Some(failure) => {
                let again = Error::Stopped(format!("a file could not be stored: {failure}"));
                Err(std::mem::replace(failure, again))
            }
        }
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
    fn it_waits_for_all_and_remembers_a_failure() {
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
        let again = deferred.settle().unwrap_err().to_string();
        assert!(again.contains("a file could not be stored: a whitelist cannot"), "{again}");
    }
}
