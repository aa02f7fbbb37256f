//! The generation of a repository: how many garbage collections there have been, and whether one removes objects
//! now. It is kept in a state file, which the collector writes and publishers read.

use std::fs::File;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::storage::{Expected, Storage, Version};
use crate::unix_time::unix_seconds;
use crate::{Error, Result};

/// The state file. Neither clients nor stock tools read it.
const STATE: &str = ".ducc-gc";
/// Locked by a collector of a directory as long as it is running.
const LOCK: &str = ".ducc-gc.lock";

/// A collector in a bucket that has shown no sign of life for this long counts as dead.
const DEAD: Duration = Duration::from_secs(15 * 60);
/// How often a publisher checks whether a collection has ended.
const POLL: Duration = Duration::from_millis(200);

/// What the state file holds.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectionState {
    /// How many garbage collections there have been.
    pub(crate) generation: u64,
    /// Whether one removes objects now.
    pub(crate) sweeping: bool,
    /// Its last sign of life, in seconds since 1970.
    pub(crate) heartbeat: i64,
}

/// How many garbage collections there have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// The generation, after waiting for a collection that is under way.
    pub(crate) fn settled(storage: &Storage) -> Result<Self> {
        let mut reported = false;
        loop {
            let (state, version) = read_state(storage)?;
            if !state.sweeping {
                return Ok(Self(state.generation));
            }
            if is_dead(storage, &state)? {
                let ended = CollectionState { sweeping: false, ..state };
                write_state(storage, &ended, version.map_or(Expected::Absent, Expected::Version))?;
                continue;
            }
            if !reported {
                tracing::info!(storage = storage.name(), "waiting for a garbage collection to end");
                reported = true;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Whether there has been no collection since.
    ///
    /// # Errors
    /// [`Error::Collected`] if there has.
    pub(crate) fn check(self, storage: &Storage) -> Result<()> {
        match Self::settled(storage)? == self {
            true => Ok(()),
            false => Err(Error::Collected),
        }
    }
}

pub(crate) fn read_state(storage: &Storage) -> Result<(CollectionState, Option<Version>)> {
    let Some((bytes, version)) = storage.read_file(STATE)? else {
        return Ok((CollectionState::default(), None));
    };
    let state = serde_json::from_slice(&bytes).map_err(|error| Error::Corrupt {
        what: format!("{STATE} in {}", storage.name()),
        reason: format!("{error}; remove it when no garbage collection runs"),
    })?;
    Ok((state, Some(version)))
}

pub(crate) fn write_state(
    storage: &Storage,
    state: &CollectionState,
    expected: Expected,
) -> Result<Option<Version>> {
    let bytes =
        serde_json::to_vec(state).expect("numbers and a truth value can be written as JSON");
    storage.replace_file(STATE, Bytes::from(bytes), expected)
}

pub(crate) fn is_dead(storage: &Storage, state: &CollectionState) -> Result<bool> {
    match storage.local_directory() {
        Some(_) => Ok(lock(storage)?.is_some()),
        None => {
            let age = unix_seconds(SystemTime::now()).saturating_sub(state.heartbeat);
            Ok(u64::try_from(age).is_ok_and(|age| age > DEAD.as_secs()))
        }
    }
}

/// The lock of a directory's collector; `None` if another one holds it.
pub(crate) fn lock(storage: &Storage) -> Result<Option<File>> {
    let Some(directory) = storage.local_directory() else { return Ok(None) };
    let failed = |cause| Error::System { action: "lock", path: directory.join(LOCK), cause };
    let Some(file) = storage.lock_file(LOCK).map_err(failed)? else { return Ok(None) };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}
