//! Files that are being stored: cut into parts for the workers, and put together again from what those return.

use std::io::{self, Read};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use crate::entry::File;
use crate::hash::ObjectKind;
use crate::{Error, Result};

use super::budget::Reservation;
use super::buffers::{self, Buffer};
use super::chunking::Detector;
use super::core::Core;
use super::job::Job;
use super::part::{Assembly, Part};
use super::progress::Progress;
use super::workers::Workers;

/// How much of a large file is read at a time. These bytes are not part of the memory budget.
const PIECE: usize = 128 << 10;

/// The most small files that go to the workers together; they must also fit into one buffer. Larger files go alone.
const BATCH: usize = 32;

/// Files that are being stored. Dropping it stops what is not done yet.
pub struct Upload {
    core: Arc<Core>,
    workers: Arc<Workers>,
    progress: Arc<Progress>,
    piece: Vec<u8>,
    batch: Option<Batch>,
}

/// Small files that wait for others.
struct Batch {
    /// Where the content of each ends, one after the other.
    files: Vec<(usize, Part)>,
    content: Buffer,
    /// The memory of all of them. It is given back in one go, so that nobody who waits for memory is woken for each file.
    memory: Reservation,
}

impl Upload {
    pub(super) fn new(core: &Arc<Core>, workers: &Arc<Workers>) -> Self {
        Self {
            core: Arc::clone(core),
            workers: Arc::clone(workers),
            progress: Arc::default(),
            piece: Vec::new(),
            batch: None,
        }
    }

    /// Takes a file: reads all of `content`, which must be `size` bytes. Waits while too much is in memory.
    /// `key` is given back with the stored file.
    ///
    /// # Errors
    /// [`Error::Content`] if the content cannot be read or does not have that size. Otherwise the reason why an earlier
    /// file could not be stored: it is given only once, and nothing more is stored then.
    pub fn file(&mut self, key: u64, size: u64, content: &mut dyn Read) -> Result<()> {
        self.progress.check()?;
        self.workers.start()?;
        self.core.statistics.read(size);
        let result = self.take(key, size, content);
        if result.is_err() {
            self.progress.stop();
        }
        result
    }

    fn take(&mut self, key: u64, size: u64, content: &mut dyn Read) -> Result<()> {
        let core = Arc::clone(&self.core);
        let chunking = core.chunking();
        let compression = core.settings.compression;
        let file = Arc::new(Assembly::new(&self.progress, key, size, compression));
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
        let core = Arc::clone(&self.core);
        if !self.batch.as_mut().is_some_and(|batch| batch.has_room(&core, size)) {
            // Before waiting for memory, because the batch may hold what is waited for.
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
        self.core.queue.push(jobs.collect());
    }

    /// Reads a large file and makes a job of each chunk.
    fn cut(
        &mut self,
        file: &Arc<Assembly>,
        mut detector: Detector,
        maximum: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        let core = &self.core;
        self.piece.resize(PIECE, 0);
        let mut kind = ObjectKind::File;
        let mut offset = 0;
        let mut position = 0;
        let mut memory = core.budget.reserve(core.need(maximum.min(file.size)));
        let empty = |bytes: u64| {
            let mut chunk = buffers::room_for(in_memory(bytes));
            chunk.clear();
            chunk
        };
        let mut chunk = empty(maximum.min(file.size));
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
                let part = Part::new(file, kind, offset, size);
                core.queue.push(vec![Job::new(mem::take(&mut chunk).into(), part, memory.into())]);
                offset += size;
                memory = core.budget.reserve(core.need(rest));
                chunk = empty(rest);
                self.progress.check()?;
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
        self.progress.take_finished()
    }

    /// Waits for all files; returns those that [`Self::finished`] has not returned.
    ///
    /// # Errors
    /// If one could not be stored.
    pub fn wait(mut self) -> Result<Vec<(u64, File)>> {
        self.flush();
        self.progress.wait()?;
        if let Some(index) = &self.core.index {
            index.write();
        }
        Ok(self.progress.take_finished())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.progress.stop();
    }
}

impl Batch {
    /// Waits for memory for a buffer and a first file.
    fn new(core: &Core, size: u64) -> Self {
        let held = size.max(buffers::SIZE as u64);
        let needed = held + core.beside(size);
        let memory = core.budget_for(needed).reserve(needed);
        let content = core.buffers.take(in_memory(size));
        Self { files: Vec::with_capacity(BATCH), content, memory }
    }

    /// Where the next file begins.
    fn end(&self) -> usize {
        self.files.last().map_or(0, |(end, _)| *end)
    }

    /// Makes room for one more file. Returns whether there is room.
    fn has_room(&mut self, core: &Core, size: u64) -> bool {
        self.files.len() < BATCH
            && self.end() + in_memory(size) <= self.content.as_ref().len()
            && self.memory.grow(core.beside(size))
    }
}

/// Reads what is available, even if signals interrupt it.
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
