//! Memory that small files are read into, used again and again.
//!
//! A buffer is handed over with the files in it, and comes back when the last of them is stored. New memory for each
//! batch would have to be filled with zeros first, and would cost the system some work for each page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of one buffer.
pub(super) const SIZE: usize = 128 << 10;

/// How many are kept when they are not in use.
const KEPT: usize = 16;

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Box<[u8]>>>);

/// A buffer that is in use. When it is dropped, it can be used again.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    home: Arc<Buffers>,
}

impl Buffers {
    fn free(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of [`SIZE`] bytes, or more if more are needed. Its content means nothing.
    pub(super) fn take(self: &Arc<Self>, needed: usize) -> Buffer {
        let used = if needed <= SIZE { self.free().pop() } else { None };
        let bytes = used.unwrap_or_else(|| vec![0; needed.max(SIZE)].into_boxed_slice());
        Buffer { bytes, home: Arc::clone(self) }
    }
}

impl Buffer {
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.home.free();
        if bytes.len() == SIZE && free.len() < KEPT {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_buffers_of_the_usual_size_are_kept() {
        let buffers = Arc::new(Buffers::default());
        let mut first = buffers.take(1);
        first.bytes()[0] = 7;
        drop((first, buffers.take(SIZE + 1)));
        assert_eq!(buffers.free().len(), 1, "the larger one is none of them");
        let taken: Vec<_> = (0..2 * KEPT).map(|_| buffers.take(SIZE)).collect();
        assert_eq!(taken[0].as_ref()[0], 7, "it is the one from before");
        assert!(taken.iter().all(|buffer| buffer.as_ref().len() == SIZE));
        drop(taken);
        assert_eq!(buffers.free().len(), KEPT);
    }
}
