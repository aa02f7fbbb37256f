//! One piece of content, from memory into the storage.

use std::sync::Arc;

use bytes::Bytes;

use crate::Result;
use crate::compression::Compression;

use super::Core;
use super::budget::Reservation;
use super::compressor::Compressor;
use super::index::{Key, Known};
use super::session::Part;

/// A file or a chunk of one that waits for a worker.
pub(super) struct Job {
    content: Bytes,
    /// Where the result goes. If the job is dropped, whoever waits for it is told.
    part: Part,
    /// The memory of the content and of what it becomes; that of other jobs, too, if they came together.
    memory: Arc<Reservation>,
    /// What the index was asked for, in vain.
    unknown: Option<Key>,
}

impl Job {
    pub(super) fn new(content: Bytes, part: Part, memory: Arc<Reservation>) -> Self {
        Self { content, part, memory, unknown: None }
    }

    /// What the index may know, unless it was asked for in vain before.
    fn ask(&mut self, core: &Core) -> Option<Key> {
        if self.unknown.is_some() || core.index.is_none() {
            return None;
        }
        let settings = &core.settings;
        let kind = self.part.kind();
        let key = Key::new(&self.content, settings.algorithm, settings.compression, kind);
        self.unknown = Some(key);
        self.unknown
    }

    /// Relies on the object that the content became in an earlier run, if that is still there. If not, the job
    /// is queued again.
    fn look_for(self, known: Known, core: &Arc<Core>) {
        let core = Arc::clone(core);
        core.storage.clone().stored_size_then(known.id, move |found| match found {
            Ok(Some(size)) if size == known.stored => {
                drop((self.content, self.memory));
                core.statistics.known();
                self.part.stored(known.id.hash);
            }
            Ok(_) => core.queue.push(vec![self]),
            Err(error) => self.part.failed(error),
        });
    }

    fn store(self, core: &Arc<Core>, compressor: &mut Compressor) {
        let Self { content, part, mut memory, unknown } = self;
        let stored = match core.settings.compression {
            Compression::Zlib => {
                let stored = compressor.zlib(&content);
                drop(content);
                Bytes::from(stored)
            }
            Compression::None => content,
        };
        let size = stored.len() as u64;
        if let Some(memory) = Arc::get_mut(&mut memory) {
            memory.shrink(super::OVERHEAD + size);
        }
        let id = core.settings.algorithm.hash(&stored).object(part.kind());
        let core = Arc::clone(core);
        core.storage.clone().put_if_absent_then(id, stored, move |written| {
            drop(memory);
            core.finish(part, unknown, Known { id, stored: size }, written);
        });
    }
}

/// Does the jobs that somebody still wants.
pub(super) fn run(mut batch: Vec<Job>, core: &Arc<Core>, compressor: &mut Compressor) {
    batch.retain(|job| job.part.is_wanted());
    let keys: Vec<_> = batch.iter_mut().map(|job| job.ask(core)).collect();
    let known = match &core.index {
        Some(index) => index.get(&keys),
        None => Vec::new(),
    };
    for (number, job) in batch.into_iter().enumerate() {
        match known.get(number).copied().flatten() {
            Some(known) => job.look_for(known, core),
            None if job.part.is_wanted() => job.store(core, compressor),
            None => {}
        }
    }
}

impl Core {
    /// Takes note of an object that is in the storage now.
    fn finish(&self, part: Part, unknown: Option<Key>, object: Known, written: Result<bool>) {
        match written {
            Ok(true) => self.statistics.put(object.stored),
            Ok(false) => self.statistics.found(),
            Err(error) => return part.failed(error),
        }
        if let (Some(index), Some(key)) = (&self.index, unknown) {
            index.put(key, object);
        }
        part.stored(object.id.hash);
    }
}
