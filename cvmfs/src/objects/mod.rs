//! Content on its way into the storage.
//!
//! Each upload is read by one thread; other threads hash and compress. Content waits for them in memory, within a budget
//! that all uploads share, so a file of 50 GB takes no more than its largest chunks.
//!
//! The name of an object is known only when it is compressed. So an index remembers which content became which object.
//! It saves the compression; whether the object is still there is always checked.

mod budget;
mod buffers;
mod chunking;
mod compressor;
mod core;
mod index;
mod job;
mod part;
mod progress;
mod queue;
mod settings;
mod statistics;
mod sync;
mod upload;
mod workers;

use std::sync::Arc;

use bytes::Bytes;

use crate::Result;
use crate::classic;
use crate::compression::Compression;
use crate::entry::{Content, File};
use crate::hash::{ContentHash, ObjectKind};
use crate::storage::Storage;

use self::core::Core;
pub use chunking::Chunking;
use compressor::Compressor;
pub use index::Index;
pub use settings::Settings;
pub use statistics::Statistics;
pub use upload::Upload;
use workers::Workers;

/// The objects of a storage. Clones are the same.
#[derive(Clone)]
pub struct Objects {
    core: Arc<Core>,
    workers: Arc<Workers>,
}

/// A small file as it will be stored.
#[derive(Debug, Clone)]
pub struct PackedFile {
    file: File,
    stored: Bytes,
}

impl PackedFile {
    /// What an entry says of it.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Objects {
    /// Objects that are put into `storage`. Threads are started with the first upload. What is in `index` is not
    /// compressed again.
    pub fn new(storage: Storage, settings: Settings, index: Option<Index>) -> Self {
        let core = Arc::new(Core::new(storage, settings, index));
        Self { workers: Arc::new(Workers::new(&core)), core }
    }

    /// Begins to store files. Any number of uploads may go on at a time.
    pub fn upload(&self) -> Upload {
        Upload::new(&self.core, &self.workers)
    }

    /// Stores a catalog or a tag database: always as a zlib stream. Works on the calling
    /// thread and returns when it is stored.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn store(&self, kind: ObjectKind, content: &[u8]) -> Result<ContentHash> {
        let idle = self.core.idle_compressors().pop();
        let mut compressor = idle.unwrap_or_else(Compressor::for_databases);
        let stored = compressor.zlib(content);
        self.core.idle_compressors().push(compressor);
        self.store_compressed(kind, stored, content.len() as u64)
    }

    /// Stores a certificate (PEM), as the one zlib stream that survives replication: stock stratum 1 servers
    /// inflate it, deflate it again with zlib's level 6, and keep the result under the old name.
    ///
    /// # Errors
    /// If it has 16 KiB or more, or the storage refuses.
    pub fn store_certificate(&self, pem: &[u8]) -> Result<ContentHash> {
        let stored = classic::zlib(pem, "the certificate")?;
        self.store_compressed(ObjectKind::Certificate, stored, pem.len() as u64)
    }

    /// Stores content of `size` bytes that is a zlib stream already.
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
        let PackedFile { file, stored } = self.pack_file(content);
        self.core.put(ObjectKind::File, stored, file.size)?;
        Ok(file)
    }

    /// Compresses a small file, uncut, on the calling thread, and stores nothing.
    pub fn pack_file(&self, content: &[u8]) -> PackedFile {
        let compression = self.core.settings.compression;
        let stored = match compression {
            Compression::Zlib => Bytes::from(Compressor::new().zlib(content)),
            Compression::None => Bytes::copy_from_slice(content),
        };
        let hash = self.core.settings.algorithm.hash(&stored);
        let size = content.len() as u64;
        PackedFile { file: File { size, compression, content: Content::Whole(hash) }, stored }
    }

    /// Begins to store a file that was packed for this storage. `done` is told whether it is stored; if the storage is
    /// slow, on another thread.
    pub fn store_packed_then(
        &self,
        packed: &PackedFile,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let PackedFile { file, stored } = packed.clone();
        self.core.put_then(ObjectKind::File, stored, file.size, done);
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        self.core.statistics.snapshot(self.core.peak())
    }

    /// How content is stored.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }
}

#[cfg(test)]
mod explored;
#[cfg(test)]
mod tests;
