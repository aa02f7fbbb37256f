//! Content on its way into the storage.
//!
//! Layers are read by one thread each; hashing and compressing is the work of all others. Content waits in memory
//! for them, within a budget that all share, so a file of 50 GB takes no more than its largest chunks.
//!
//! What an object is called is only known when it is compressed. So an index remembers which content became which
//! object; it saves the compression, never the look whether the object is still there.

mod budget;
mod buffers;
mod chunking;
mod deflate;
mod index;
mod job;
mod session;
mod sync;
mod tally;
mod workers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::classic;
use crate::compression::Compression;
use crate::entry::{Content, File};
use crate::hash::{Algorithm, ContentHash, ObjectKind};
use crate::storage::Storage;
use crate::{Error, Result};

use budget::Budget;
use buffers::Buffers;
pub use chunking::Chunking;
use deflate::Deflate;
pub use index::Index;
pub use session::Upload;
pub use tally::Statistics;
use tally::Tally;
use workers::{Queue, Workers};

/// How content is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The hash that names new objects.
    pub algorithm: Algorithm,
    /// How file content is compressed.
    pub compression: Compression,
    /// Where large files are cut. Without it only files over 16 MiB are, because nothing larger is held in memory.
    pub chunking: Option<Chunking>,
    /// Threads that hash and compress, at least 1.
    pub threads: usize,
    /// Bytes that content may take in memory, compressed or not. A quarter of it is the limit for chunks.
    pub memory: u64,
}

/// The memory of [`Settings::default`], in bytes: three chunks of the largest default size with what they become.
const MEMORY: u64 = 96 << 20;

impl Default for Settings {
    /// What the stock server does, on all processors and in 96 MiB.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            compression: Compression::default(),
            chunking: Some(Chunking::default()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory: MEMORY,
        }
    }
}

/// The objects of a storage. Clones are the same.
#[derive(Clone)]
pub struct Objects {
    core: Arc<Core>,
    workers: Arc<Workers>,
}

/// What threads and requests share.
struct Core {
    storage: Storage,
    settings: Settings,
    index: Option<Index>,
    budget: Arc<Budget>,
    buffers: Arc<Buffers>,
    queue: Queue,
    tally: Tally,
    /// What compresses databases and is not in use. Made anew for each small catalog, it would be a good part of what
    /// that costs.
    databases: Mutex<Vec<Deflate>>,
}

impl Objects {
    /// Objects that are put into `storage`. Threads are started with the first upload. What is in `index` is not
    /// compressed again.
    pub fn new(storage: Storage, settings: Settings, index: Option<Index>) -> Self {
        let core = Arc::new(Core {
            budget: Budget::new(settings.memory),
            buffers: Arc::default(),
            storage,
            settings,
            index,
            queue: Queue::default(),
            tally: Tally::default(),
            databases: Mutex::default(),
        });
        Self { workers: Arc::new(Workers::new(&core)), core }
    }

    /// Begins to store files. Any number of sessions may go on at a time.
    pub fn upload(&self) -> Upload {
        Upload::new(self)
    }

    /// Stores a catalog or a tag database: always as a zlib stream. Works on the calling
    /// thread and returns when it is stored.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn store(&self, kind: ObjectKind, content: &[u8]) -> Result<ContentHash> {
        let used = self.core.databases().pop();
        let mut deflate = used.unwrap_or_else(Deflate::for_databases);
        let stored = deflate.zlib(content);
        self.core.databases().push(deflate);
        self.store_compressed(kind, stored, content.len() as u64)
    }

    /// Stores a certificate (PEM), as the one zlib stream that survives replication: stock stratum 1 servers
    /// inflate it, deflate it anew with zlib's level 6, and keep the result under the old name.
    ///
    /// # Errors
    /// If it has 16 KiB or more, or the storage refuses.
    pub fn store_certificate(&self, pem: &[u8]) -> Result<ContentHash> {
        let stored = classic::zlib(pem, "the certificate")?;
        self.store_compressed(ObjectKind::Certificate, stored, pem.len() as u64)
    }

    /// Stores what is a zlib stream already; its content has `size` bytes.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn store_compressed(
        &self,
        kind: ObjectKind,
        stored: Vec<u8>,
        size: u64,
    ) -> Result<ContentHash> {
        self.core.put(kind, stored.into(), size)
    }

    /// Stores a small file: uncut, on the calling thread. Returns when it is stored.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn store_file(&self, content: &[u8]) -> Result<File> {
        let compression = self.core.settings.compression;
        let stored = match compression {
            Compression::Zlib => Bytes::from(Deflate::new().zlib(content)),
            Compression::None => Bytes::copy_from_slice(content),
        };
        let size = content.len() as u64;
        let hash = self.core.put(ObjectKind::File, stored, size)?;
        Ok(File { size, compression, content: Content::Whole(hash) })
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        self.core.tally.statistics(self.core.budget.peak())
    }

    /// How content is stored.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }
}

impl Core {
    fn databases(&self) -> MutexGuard<'_, Vec<Deflate>> {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the stored bytes of content of `read` bytes, unless they are there.
    fn put(&self, kind: ObjectKind, stored: Bytes, read: u64) -> Result<ContentHash> {
        let id = self.settings.algorithm.hash(&stored).object(kind);
        let size = stored.len() as u64;
        self.tally.read(read);
        match self.storage.supply(id, stored)? {
            true => self.tally.put(size),
            false => self.tally.found(),
        }
        Ok(id.hash)
    }

    /// What a chunk or a file of so many bytes takes until it is stored.
    fn need(&self, content: u64) -> u64 {
        content + self.beside(content)
    }

    /// The same without the bytes themselves.
    fn beside(&self, content: u64) -> u64 {
        let stored = match self.settings.compression {
            Compression::Zlib => deflate::bound(content),
            Compression::None => 0,
        };
        OVERHEAD + stored
    }

    /// Where files are cut, within what the budget allows.
    fn chunking(&self) -> Chunking {
        let default = Chunking::default();
        let wanted =
            self.settings.chunking.unwrap_or(Chunking { minimum: default.maximum, ..default });
        wanted.within(self.settings.memory / 4)
    }
}

/// What a piece of content takes beside its bytes, roughly. It bounds how many empty files wait.
const OVERHEAD: u64 = 1024;

/// The error of a session that has told its failure already.
fn told() -> Error {
    Error::Refused("the upload has failed before".to_owned())
}

#[cfg(test)]
mod explored;
#[cfg(test)]
mod tests;
