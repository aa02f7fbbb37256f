//! Remembering as well as it goes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Failure, Result, State};
use jiff::Timestamp;

/// A [`State`] of a publisher, who goes on without: what cannot be read was never known, what cannot be written is
/// forgotten, and [`Self::take_trouble`] tells of it.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    place: Mutex<Place>,
    trouble: Mutex<Option<String>>,
}

/// Where something is remembered.
#[derive(Debug, Clone)]
enum Place {
    Database(Arc<State>),
    /// As long as the process runs, because the database cannot be used.
    Process(Arc<State>),
}

impl Memory {
    /// Remembers in the database at a path, and only as long as the process runs if that cannot be used.
    pub fn at(path: &Path) -> Self {
        let (place, error) = match State::open_at(path) {
            Ok(state) => (Place::Database(Arc::new(state)), None),
            Err(error) => {
                let state = State::in_memory().expect("a database in memory needs no place");
                (Place::Process(Arc::new(state)), Some(error))
            }
        };
        let memory =
            Self { path: path.to_owned(), place: Mutex::new(place), trouble: Mutex::default() };
        error.into_iter().for_each(|error| memory.note(error));
        memory
    }

    /// Tries the database again if it could not be used, and puts documents there that were remembered meanwhile. If it
    /// still cannot be used, that is trouble again.
    pub fn try_again(&self) {
        let mut place = self.place();
        let Place::Process(remembered) = &*place else { return };
        let moved = State::open_at(&self.path).and_then(|state| {
            for (name, json) in remembered.documents()? {
                state.put_document(&name, &json)?;
            }
            Ok(state)
        });
        match moved {
            Ok(state) => *place = Place::Database(Arc::new(state)),
            Err(error) => self.note(error),
        }
    }

    /// What comes of `ask`, or nothing if that fails.
    pub fn ask<T: Default>(&self, ask: impl FnOnce(&State) -> Result<T>) -> T {
        let (Place::Database(state) | Place::Process(state)) = self.place().clone();
        ask(&state).unwrap_or_else(|error| {
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

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_place_that_comes_back_is_used() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("states");
        std::fs::write(&directory, "in the way").unwrap();
        let path = directory.join("r.state");
        let memory = Memory::at(&path);
        for _ in 0..3 {
            let trouble = memory.take_trouble().expect("told each time");
            assert!(trouble.starts_with("cannot make the directory "), "{trouble}");
            memory.try_again();
        }
        memory.ask(|state| state.put_document("a", "1"));
        std::fs::remove_file(&directory).unwrap();
        memory.take_trouble();
        memory.try_again();
        assert_eq!(memory.take_trouble(), None);
        memory.ask(|state| state.put_document("b", "2"));
        drop(memory);
        let state = State::open_at(&path).unwrap();
        for (name, json) in [("a", "1"), ("b", "2")] {
            assert_eq!(state.document(name).unwrap().as_deref(), Some(json));
        }
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
