//! The files of one layer: taken apart on their way to the workers, put together again from what those give back.

use std::io::{self, Read};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::compression::Compression;
use crate::entry::{Chunk, Content, File};
use crate::hash::{ContentHash, ObjectKind};
use crate::{Error, Result};

use super::chunking::Detector;
use super::job::Job;
use super::{Objects, told};

/// How much of a large file is read at a time. These bytes are beside the memory budget.
const PIECE: usize = 128 << 10;

/// Small files go to the workers together, so many at a time …
const BATCH: usize = 32;
/// … or so many bytes of them.
const BATCH_BYTES: u64 = 256 << 10;

/// Files that are being stored. Dropping it stops what is not done yet.
pub struct Upload {
    objects: Objects,
    session: Arc<Session>,
    piece: Vec<u8>,
    batch: Vec<Job>,
    /// Bytes of the content in it.
    batched: u64,
}

/// What workers and caller share.
struct Session {
    state: Mutex<State>,
    changed: Condvar,
    /// Nobody wants the results any more.
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    finished: Vec<(u64, File)>,
    /// Jobs that are not done.
    jobs: usize,
    failure: Option<Error>,
    /// Somebody waits for the end of all jobs.
    awaited: bool,
}

/// A file whose parts are being stored.
struct Assembly {
    session: Arc<Session>,
    key: u64,
    size: u64,
    compression: Compression,
    chunks: Mutex<Chunks>,
}

/// The parts that are stored, in the order in which they were.
#[derive(Default)]
struct Chunks {
    list: Vec<Chunk>,
    bytes: u64,
}

/// A part of a file, with the duty to tell what became of it.
pub(super) struct Part {
    file: Arc<Assembly>,
    kind: ObjectKind,
    offset: u64,
    size: u64,
    told: bool,
}

impl Upload {
    pub(super) fn new(objects: &Objects) -> Self {
        let session = Session {
            state: Mutex::default(),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        };
        Self {
            objects: objects.clone(),
            session: Arc::new(session),
            piece: Vec::new(),
            batch: Vec::new(),
            batched: 0,
        }
    }

    /// Takes a file: reads all of `content`, which must be `size` bytes. Waits while too much is in memory.
    /// `key` is given back with the stored file.
    ///
    /// # Errors
    /// [`Error::Content`] if the content cannot be read or is shorter or longer. Else the reason why an earlier
    /// file could not be stored; it is told only once, and nothing more is stored then.
    pub fn file(&mut self, key: u64, size: u64, content: &mut dyn Read) -> Result<()> {
        self.session.check()?;
        self.objects.workers.start()?;
        self.objects.core.tally.read(size);
        let result = self.take(key, size, content);
        if result.is_err() {
            self.session.stop();
        }
        result
    }

    fn take(&mut self, key: u64, size: u64, content: &mut dyn Read) -> Result<()> {
        let core = Arc::clone(&self.objects.core);
        let chunking = core.chunking();
        let file = Arc::new(Assembly {
            session: Arc::clone(&self.session),
            key,
            size,
            compression: core.settings.compression,
            chunks: Mutex::default(),
        });
        if size > chunking.minimum {
            self.flush();
            self.cut(&file, Detector::new(chunking), chunking.maximum, content)?;
        } else {
            let memory = core.budget.try_reserve(core.need(size)).unwrap_or_else(|| {
                // What is waited for may be held by the batch.
                self.flush();
                core.budget.reserve(core.need(size))
            });
            let mut bytes = vec![0; in_memory(size)];
            content.read_exact(&mut bytes).map_err(Error::Content)?;
            let part = Part::new(&file, ObjectKind::File, 0, size);
            self.batch.push(Job::new(bytes, part, memory));
            self.batched += size;
            if self.batch.len() == BATCH || self.batched >= BATCH_BYTES {
                self.flush();
            }
        }
        let mut beyond = [0];
        match read(content, &mut beyond)? {
            0 => Ok(()),
            _ => Err(Error::Content(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it is longer than the {size} bytes that were announced"),
            ))),
        }
    }

    /// Hands the batch over.
    fn flush(&mut self) {
        self.batched = 0;
        self.objects.core.queue.push(mem::take(&mut self.batch));
    }

    /// Reads a large file and makes a job of each chunk.
    fn cut(
        &mut self,
        file: &Arc<Assembly>,
        mut detector: Detector,
        maximum: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        let core = &self.objects.core;
        self.piece.resize(PIECE, 0);
        let mut kind = ObjectKind::File;
        let mut offset = 0;
        let mut position = 0;
        let mut memory = core.budget.reserve(core.need(maximum.min(file.size)));
        let mut chunk = Vec::with_capacity(in_memory(maximum.min(file.size)));
        while position < file.size {
            let wanted = in_memory(file.size - position).min(PIECE);
            let got = read(content, &mut self.piece[..wanted])?;
            if got == 0 {
                return Err(Error::Content(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut piece = &self.piece[..got];
            position += got as u64;
            while let Some(at) = detector.cut(piece) {
                chunk.extend_from_slice(&piece[..at]);
                piece = &piece[at..];
                kind = ObjectKind::Chunk;
                let size = chunk.len() as u64;
                let rest = maximum.min(file.size - offset - size);
                memory.shrink(core.need(size));
                chunk.shrink_to_fit();
                let part = Part::new(file, kind, offset, size);
                core.queue.push(vec![Job::new(mem::take(&mut chunk), part, memory)]);
                offset += size;
                memory = core.budget.reserve(core.need(rest));
                chunk.reserve_exact(in_memory(rest));
                self.session.check()?;
            }
            chunk.extend_from_slice(piece);
        }
        let size = chunk.len() as u64;
        memory.shrink(core.need(size));
        let part = Part::new(file, kind, offset, size);
        core.queue.push(vec![Job::new(chunk, part, memory)]);
        Ok(())
    }

    /// The files that were stored since the last call, in no order. Does not wait.
    pub fn finished(&mut self) -> Vec<(u64, File)> {
        mem::take(&mut self.session.state().finished)
    }

    /// Waits for all files; gives those that [`Self::finished`] has not given.
    ///
    /// # Errors
    /// If one could not be stored.
    pub fn wait(mut self) -> Result<Vec<(u64, File)>> {
        self.flush();
        let mut state = self.session.state();
        state.awaited = true;
        while state.jobs > 0 && state.failure.is_none() {
            state = self.session.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.session.check()?;
        if let Some(index) = &self.objects.core.index {
            index.write();
        }
        Ok(mem::take(&mut self.session.state().finished))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.session.stop();
    }
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Wakes who waits for the end, if this is it. That takes a system call, so not for each file.
    fn told(&self, state: &State) {
        if state.awaited && (state.jobs == 0 || state.failure.is_some()) {
            self.changed.notify_all();
        }
    }

    /// Fails if something has failed.
    fn check(&self) -> Result<()> {
        match self.state().failure.take() {
            Some(error) => Err(error),
            None if self.stopped.load(Ordering::Relaxed) => Err(told()),
            None => Ok(()),
        }
    }
}

impl Part {
    fn new(file: &Arc<Assembly>, kind: ObjectKind, offset: u64, size: u64) -> Self {
        file.session.state().jobs += 1;
        Self { file: Arc::clone(file), kind, offset, size, told: false }
    }

    /// What kind of object it becomes.
    pub(super) fn kind(&self) -> ObjectKind {
        self.kind
    }

    /// Whether somebody waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.file.session.stopped.load(Ordering::Relaxed)
    }

    /// It is stored.
    pub(super) fn stored(self, hash: ContentHash) {
        let chunk = Chunk { offset: self.offset, size: self.size, hash };
        let file = self.file.add(self.kind, chunk);
        self.tell(Ok(file));
    }

    /// It could not be stored.
    pub(super) fn failed(self, error: Error) {
        self.tell(Err(error));
    }

    fn tell(mut self, outcome: Result<Option<File>>) {
        self.told = true;
        let session = &self.file.session;
        let mut state = session.state();
        state.jobs -= 1;
        match outcome {
            Ok(Some(file)) => state.finished.push((self.file.key, file)),
            Ok(None) => {}
            Err(error) => {
                // What fails after the first is most likely for the same reason.
                if !session.stopped.swap(true, Ordering::Relaxed) {
                    state.failure = Some(error);
                }
            }
        }
        session.told(&state);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.told {
            let session = &self.file.session;
            let mut state = session.state();
            state.jobs -= 1;
            if !session.stopped.swap(true, Ordering::Relaxed) {
                state.failure = Some(Error::Refused("the upload was stopped".to_owned()));
            }
            session.told(&state);
        }
    }
}

impl Assembly {
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

/// Reads what there is, whatever signals come.
fn read(content: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match content.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(Error::Content),
        }
    }
}

/// A size that the budget has bounded.
fn in_memory(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
