//! The threads that hash and compress, and what they do with a job.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;

use crate::compression::Compression;
use crate::{Error, Result};

use super::compressor::Compressor;
use super::core::{Core, OVERHEAD};
use super::index::{Key, Known};
use super::job::Job;
use super::part::Part;

/// The threads, started when they are first needed. They end when this is dropped.
pub(super) struct Workers {
    core: Arc<Core>,
    started: Mutex<bool>,
}

impl Workers {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), started: Mutex::new(false) }
    }

    /// Starts the threads unless they run already.
    pub(super) fn start(&self) -> Result<()> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if *started {
            return Ok(());
        }
        for number in 0..self.core.settings.threads.max(1) {
            let core = Arc::clone(&self.core);
            let thread = thread::Builder::new().name(format!("objects-{number}"));
            match thread.spawn(move || work(&core)) {
                Ok(_) => {}
                // Fewer will do.
                Err(error) if number > 0 => {
                    tracing::warn!(%error, "only {number} threads compress");
                    break;
                }
                Err(cause) => {
                    let path = "/proc/self/task".into();
                    return Err(Error::System { action: "start a thread in", path, cause });
                }
            }
        }
        *started = true;
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.core.queue.close();
    }
}

fn work(core: &Arc<Core>) {
    let mut compressor = Compressor::new();
    while let Some(batch) = core.queue.pop() {
        run(batch, core, &mut compressor);
    }
}

/// Does the jobs whose results are still wanted.
fn run(mut batch: Vec<Job>, core: &Arc<Core>, compressor: &mut Compressor) {
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

impl Job {
    /// What to ask the index for; `None` if it did not know it before.
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
            memory.shrink(OVERHEAD + size);
        }
        let id = core.settings.algorithm.hash(&stored).object(part.kind());
        let core = Arc::clone(core);
        core.storage.clone().put_if_absent_then(id, stored, move |written| {
            drop(memory);
            finish(&core, part, unknown, Known { id, stored: size }, written);
        });
    }
}

/// Takes note of an object that is in the storage now.
fn finish(core: &Core, part: Part, unknown: Option<Key>, object: Known, written: Result<bool>) {
    match written {
        Ok(true) => core.statistics.put(object.stored),
        Ok(false) => core.statistics.found(),
        Err(error) => return part.failed(error),
    }
    if let (Some(index), Some(key)) = (&core.index, unknown) {
        index.put(key, object);
    }
    part.stored(object.id.hash);
}
