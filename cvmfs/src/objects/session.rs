//! The files of one layer: taken apart on their way to the workers, put together again from what those give back.

use std::io::{self, Read};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::compression::Compression;
use crate::entry::{Chunk, Content, File};
use crate::hash::{ContentHash, ObjectKind};
use crate::{Error, Result};

use super::budget::Reservation;
use super::buffers::{self, Buffer};
use super::chunking::Detector;
use super::job::Job;
use super::{Core, Objects, told};

/// How much of a large file is read at a time. These bytes are beside the memory budget.
const PIECE: usize = 128 << 10;

/// Small files go to the workers together, as many as there is place for in one buffer, but no more than so many.
/// Larger ones go alone.
const BATCH: usize = 32;

/// Files that are being stored. Dropping it stops what is not done yet.
pub struct Upload {
    objects: Objects,
    session: Arc<Session>,
    piece: Vec<u8>,
    batch: Option<Batch>,
}

/// Small files that wait for others.
struct Batch {
    /// Where the content of each ends, one after the other.
    files: Vec<(usize, Part)>,
    content: Buffer,
    /// The memory of all. It is given back at once, so that who waits for memory is not woken for each file.
    memory: Reservation,
}

/// What workers and caller share.
struct Session {
    state: Mutex<State>,
    changed: Condvar,
    /// Nobody wants the results any more, or something has failed.
    stopped: AtomicBool,
    /// Jobs that are not done.
    jobs: AtomicUsize,
}

#[derive(Default)]
struct State {
    finished: Vec<(u64, File)>,
    failure: Option<Error>,
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
            jobs: AtomicUsize::new(0),
        };
        Self {
            objects: objects.clone(),
            session: Arc::new(session),
            piece: Vec::new(),
            batch: None,
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
        self.objects.core.statistics.read(size);
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
            self.batch(&file, size, content)?;
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

    /// Reads a small file.
    fn batch(&mut self, file: &Arc<Assembly>, size: u64, content: &mut dyn Read) -> Result<()> {
        let core = Arc::clone(&self.objects.core);
        if !self.batch.as_mut().is_some_and(|batch| batch.has_place(&core, size)) {
            // First, because what is waited for may be held by the batch.
            self.flush();
        }
        let batch = self.batch.get_or_insert_with(|| Batch::new(&core, size));
        let start = batch.end();
        let end = start + in_memory(size);
        content.read_exact(&mut batch.content.bytes()[start..end]).map_err(Error::Content)?;
        batch.files.push((end, Part::new(file, ObjectKind::File, 0, size)));
        Ok(())
    }

    /// Hands the batch over.
    fn flush(&mut self) {
        let Some(Batch { files, content, memory }) = self.batch.take() else { return };
        let (content, memory) = (Bytes::from_owner(content), Arc::new(memory));
        let mut start = 0;
        let jobs = files.into_iter().map(|(end, part)| {
            let bytes = content.slice(start..end);
            start = end;
            Job::new(bytes, part, Arc::clone(&memory))
        });
        self.objects.core.queue.push(jobs.collect());
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
                core.queue.push(vec![Job::new(mem::take(&mut chunk).into(), part, memory.into())]);
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
        core.queue.push(vec![Job::new(chunk.into(), part, memory.into())]);
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
        while self.session.jobs.load(Ordering::Acquire) > 0 && state.failure.is_none() {
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

impl Batch {
    /// Waits for memory for a buffer and a first file.
    fn new(core: &Core, size: u64) -> Self {
        let held = size.max(buffers::SIZE as u64);
        let memory = core.budget.reserve(held + core.beside(size));
        let content = core.buffers.take(in_memory(size));
        Self { files: Vec::with_capacity(BATCH), content, memory }
    }

    /// Where the next file begins.
    fn end(&self) -> usize {
        self.files.last().map_or(0, |(end, _)| *end)
    }

    /// Makes place for one more file. Tells whether there is some.
    fn has_place(&mut self, core: &Core, size: u64) -> bool {
        self.files.len() < BATCH
            && self.end() + in_memory(size) <= self.content.as_ref().len()
            && self.memory.grow(core.beside(size))
    }
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Takes note of what became of a job. Who waits is woken at the end only, that takes a system call.
    fn tell(&self, outcome: Result<Option<(u64, File)>>) {
        match outcome {
            Ok(Some(file)) => self.state().finished.push(file),
            Ok(None) => {}
            Err(error) => {
                let mut state = self.state();
                // What fails after the first is most likely for the same reason.
                if !self.stopped.swap(true, Ordering::Relaxed) {
                    state.failure = Some(error);
                    self.changed.notify_all();
                }
            }
        }
        if self.jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Who is about to wait has looked before or will look after this.
            drop(self.state());
            self.changed.notify_all();
        }
    }

    /// Fails if something has failed.
    fn check(&self) -> Result<()> {
        if !self.stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(self.state().failure.take().unwrap_or_else(told))
    }
}

impl Part {
    fn new(file: &Arc<Assembly>, kind: ObjectKind, offset: u64, size: u64) -> Self {
        file.session.jobs.fetch_add(1, Ordering::Relaxed);
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
    pub(super) fn stored(mut self, hash: ContentHash) {
        let chunk = Chunk { offset: self.offset, size: self.size, hash };
        let file = self.file.add(self.kind, chunk);
        self.tell(Ok(file));
    }

    /// It could not be stored.
    pub(super) fn failed(mut self, error: Error) {
        self.tell(Err(error));
    }

    fn tell(&mut self, outcome: Result<Option<File>>) {
        self.told = true;
        let key = self.file.key;
        self.file.session.tell(outcome.map(|file| file.map(|file| (key, file))));
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.told {
            self.tell(Err(Error::Refused("the upload was stopped".to_owned())));
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
