//! Remembering as well as it goes.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{Failure, Result, State};
use jiff::Timestamp;

/// A [`State`] of a publisher, who goes on without: what cannot be read was never known, what cannot be written is
/// forgotten, and [`Self::take_trouble`] tells of it.
#[derive(Debug)]
pub struct Memory {
    state: State,
    trouble: Mutex<Option<String>>,
}

impl Memory {
    /// Remembers in the database at a path, and only as long as the process runs if that cannot be used.
    pub fn at(path: &Path) -> Self {
        match State::open_at(path) {
            Ok(state) => Self { state, trouble: Mutex::default() },
            Err(error) => {
                let state = State::in_memory().expect("a database in memory needs no place");
                let memory = Self { state, trouble: Mutex::default() };
                memory.note(error);
                memory
            }
        }
    }

    /// What comes of `ask`, or nothing if that fails.
    pub fn ask<T: Default>(&self, ask: impl FnOnce(&State) -> Result<T>) -> T {
        ask(&self.state).unwrap_or_else(|error| {
            self.note(error);
            T::default()
        })
    }

    /// Remembers that an image failed at `now`, and returns what is known of its failures.
    pub fn add_failure(&self, name: &str, reason: &str, now: Timestamp) -> Failure {
        let before = self.ask(|state| state.failure(name));
        let failure = Failure::after(before, name, reason, now);
        self.ask(|state| state.put_failure(&failure));
        failure
    }

    /// The first thing since the last call that could not be read or remembered.
    pub fn take_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: super::Error) {
        let told = format!("{:#}", anyhow::Error::from(error));
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_place_remembers_until_the_end() {
        let memory = Memory::at(Path::new("/proc/no/such/r.state"));
        let trouble = memory.take_trouble().unwrap();
        assert!(trouble.starts_with("cannot make the directory /proc/no/such: "), "{trouble}");
        assert_eq!(memory.take_trouble(), None);
        let now = Timestamp::UNIX_EPOCH;
        memory.add_failure("r.io/a:1", "gone", now);
        assert_eq!(memory.add_failure("r.io/a:1", "gone", now).count, 2);
        assert_eq!(memory.take_trouble(), None);
    }

    #[test]
    fn what_cannot_be_written_is_told_once() {
        let place = tempfile::tempdir().unwrap();
        let memory = Memory::at(&place.path().join("r.state"));
        memory.ask(|state| state.put_document("a", "1"));
        memory.ask(|state| state.run(|database| database.pragma_update(None, "query_only", true)));
        for _ in 0..2 {
            assert_eq!(memory.add_failure("r.io/a:1", "gone", Timestamp::UNIX_EPOCH).count, 1);
        }
        assert_eq!(memory.ask(|state| state.document("a")).as_deref(), Some("1"));
        let trouble = memory.take_trouble().unwrap();
        assert!(trouble.contains("r.state") && trouble.contains("readonly"), "{trouble}");
    }
}
