//! The parts of a file that are stored one by one, and the file that they make together.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use crate::compression::Compression;
use crate::entry::{Chunk, Content, File};
use crate::hash::{ContentHash, ObjectKind};
use crate::{Error, Result};

use super::progress::Progress;

/// A file whose parts are being stored.
pub(super) struct Assembly {
    progress: Arc<Progress>,
    key: u64,
    pub(super) size: u64,
    compression: Compression,
    chunks: Mutex<Chunks>,
}

/// The parts that are stored, in the order in which that happened.
#[derive(Default)]
struct Chunks {
    list: Vec<Chunk>,
    bytes: u64,
}

/// A part of a file. What becomes of it is reported exactly once, at the latest when it is dropped.
pub(super) struct Part {
    file: Arc<Assembly>,
    kind: ObjectKind,
    offset: u64,
    size: u64,
    reported: bool,
}

impl Part {
    pub(super) fn new(file: &Arc<Assembly>, kind: ObjectKind, offset: u64, size: u64) -> Self {
        file.progress.begin_part();
        Self { file: Arc::clone(file), kind, offset, size, reported: false }
    }

    /// What kind of object it becomes.
    pub(super) fn kind(&self) -> ObjectKind {
        self.kind
    }

    /// Whether somebody waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.file.progress.is_stopped()
    }

    /// It is stored.
    pub(super) fn stored(mut self, hash: ContentHash) {
        let chunk = Chunk { offset: self.offset, size: self.size, hash };
        let file = self.file.add(self.kind, chunk);
        self.report(Ok(file));
    }

    /// It could not be stored.
    pub(super) fn failed(mut self, error: Error) {
        self.report(Err(error));
    }

    fn report(&mut self, outcome: Result<Option<File>>) {
        self.reported = true;
        let key = self.file.key;
        self.file.progress.finish_part(outcome.map(|file| file.map(|file| (key, file))));
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.reported {
            self.report(Err(Error::Stopped("the upload was stopped".to_owned())));
        }
    }
}

impl Assembly {
    pub(super) fn new(
        progress: &Arc<Progress>,
        key: u64,
        size: u64,
        compression: Compression,
    ) -> Self {
        Self { progress: Arc::clone(progress), key, size, compression, chunks: Mutex::default() }
    }

    /// Adds a part; returns the file if this was the last.
    fn add(&self, kind: ObjectKind, chunk: Chunk) -> Option<File> {
        let content = if kind == ObjectKind::File {
            Content::Whole(chunk.hash)
        } else {
            let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
            chunks.list.push(chunk);
            chunks.bytes += chunk.size;
            if chunks.bytes < self.size {
                return None;
            }
            let mut list = mem::take(&mut chunks.list);
            list.sort_unstable_by_key(|chunk| chunk.offset);
            Content::Chunks(chunk.hash.algorithm, list)
        };
        Some(File { size: self.size, compression: self.compression, content })
    }
}
