//! The records of all snapshots, in SQLite.
//!
//! One file, `metadata.db`, in WAL mode with `synchronous=FULL`: when a change has been answered with OK it is on
//! disk, and readers see the last committed state without waiting for a writer. All functions here block, so they
//! are not for async threads.

mod read;
mod schema;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

pub use self::schema::OpenError;
pub use self::write::{Commit, LabelChange, NewRemote, NewSnapshot};
use crate::error::Result;
use crate::snapshot::SnapshotId;

/// Connections kept for the next reader.
const IDLE_READERS: usize = 8;

/// The store. To be shared behind an `Arc`.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    new: bool,
}

impl Store {
    /// Opens the store at `path`, or makes an empty one. A new store remembers `existing`, the highest number of a
    /// directory: the directories up to there may belong to a store that was lost, see
    /// [`spared_below`](Self::spared_below).
    ///
    /// # Errors
    /// If the file is damaged, is not a store, or was written by a newer version.
    pub fn open(path: &Path, existing: SnapshotId) -> std::result::Result<Self, OpenError> {
        let (writer, new) = schema::open_writer(path, existing)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers: Mutex::new(Vec::new()),
            new,
        })
    }

    /// Opens the store at `path`, which the daemon may be using, to read from it.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and if there is none.
    pub fn open_existing(path: &Path) -> std::result::Result<Self, OpenError> {
        if path.exists() {
            // Of a store that exists, the number is not used.
            Self::open(path, SnapshotId(0))
        } else {
            Err(OpenError::Missing(path.to_owned()))
        }
    }

    /// Whether [`open`](Self::open) found no store.
    pub fn is_new(&self) -> bool {
        self.new
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // A panic cannot leave half a change, because it rolls the transaction back.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, query: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)?,
        };
        // One transaction, so that a snapshot and its labels are of the same moment.
        let result = query(&connection.transaction()?);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        result
    }
}

#[cfg(test)]
mod tests;
