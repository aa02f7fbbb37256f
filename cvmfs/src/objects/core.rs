//! What the threads that store content share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::Result;
use crate::compression::Compression;
use crate::hash::{ContentHash, ObjectKind};
use crate::storage::Storage;

use super::budget::Budget;
use super::buffers::Buffers;
use super::chunking::Chunking;
use super::compressor::{self, Compressor};
use super::index::Index;
use super::job::Job;
use super::queue::Queue;
use super::settings::Settings;
use super::statistics::LiveStatistics;

/// What threads and requests share.
pub(super) struct Core {
    pub(super) storage: Storage,
    pub(super) settings: Settings,
    pub(super) index: Option<Index>,
    /// For large files and chunks.
    pub(super) budget: Arc<Budget>,
    /// For small files: thousands of them need not wait to keep the threads busy.
    small: Arc<Budget>,
    pub(super) buffers: Arc<Buffers>,
    pub(super) queue: Queue<Job>,
    pub(super) statistics: LiveStatistics,
    /// Compressors for databases that are not in use. Making one for each small catalog would be a good part of
    /// that catalog's cost.
    idle_compressors: Mutex<Vec<Compressor>>,
}

impl Core {
    pub(super) fn new(storage: Storage, settings: Settings, index: Option<Index>) -> Self {
        Self {
            budget: Budget::new(settings.memory - settings.memory / SMALL),
            small: Budget::new(settings.memory / SMALL),
            buffers: Arc::default(),
            storage,
            settings,
            index,
            queue: Queue::default(),
            statistics: LiveStatistics::default(),
            idle_compressors: Mutex::default(),
        }
    }

    pub(super) fn idle_compressors(&self) -> MutexGuard<'_, Vec<Compressor>> {
        self.idle_compressors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the stored form of content that has `read` bytes, unless it is there.
    pub(super) fn put(&self, kind: ObjectKind, stored: Bytes, read: u64) -> Result<ContentHash> {
        let id = self.settings.algorithm.hash(&stored).object(kind);
        let size = stored.len() as u64;
        self.statistics.read(read);
        self.count(self.storage.put_if_absent(id, stored)?, size);
        Ok(id.hash)
    }

    /// The same without waiting for a slow storage: `done` is told the result.
    pub(super) fn put_then(
        self: &Arc<Self>,
        kind: ObjectKind,
        stored: Bytes,
        read: u64,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let id = self.settings.algorithm.hash(&stored).object(kind);
        let size = stored.len() as u64;
        self.statistics.read(read);
        let core = Arc::clone(self);
        self.storage.put_if_absent_then(id, stored, move |put| {
            done(put.map(|put| core.count(put, size)));
        });
    }

    fn count(&self, put: bool, size: u64) {
        match put {
            true => self.statistics.put(size),
            false => self.statistics.found(),
        }
    }

    /// Where the memory for so many bytes comes from.
    pub(super) fn budget_for(&self, bytes: u64) -> &Arc<Budget> {
        if bytes <= self.settings.memory / SMALL / SMALL { &self.small } else { &self.budget }
    }

    /// The most memory that was reserved, in bytes.
    pub(super) fn peak(&self) -> u64 {
        self.budget.peak() + self.small.peak()
    }

    /// The memory that a chunk or a file of this many bytes takes until it is stored.
    pub(super) fn need(&self, content: u64) -> u64 {
        content + self.beside(content)
    }

    /// The same without the bytes themselves.
    pub(super) fn beside(&self, content: u64) -> u64 {
        let stored = match self.settings.compression {
            Compression::Zlib => compressor::bound(content),
            Compression::None => 0,
        };
        OVERHEAD + stored
    }

    /// Where files are cut, within what the budget allows.
    pub(super) fn chunking(&self) -> Chunking {
        let default = Chunking::default();
        let wanted =
            self.settings.chunking.unwrap_or(Chunking { minimum: default.maximum, ..default });
        wanted.within(self.settings.memory / 4)
    }
}

/// Which part of the memory is for small files, and which part of that one of them may take.
const SMALL: u64 = 8;

/// About what a piece of content takes in addition to its bytes. It limits how many empty files can wait.
pub(super) const OVERHEAD: u64 = 1024;
