//! Memory that small files are read into, used again and again.
//!
//! A buffer is handed over with the files in it, and comes back when the last of them is stored. New memory for each
//! batch would have to be filled with zeros first, and would cost the system some work for each page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of one buffer.
pub(super) const SIZE: usize = 128 << 10;

/// How many are kept when they are not in use.
const KEPT: usize = 16;

/// Bytes of content that is large.
pub(super) const LARGE: usize = 1 << 20;

/// Bytes of what large content is read and compressed into, however little of it is used: what is not touched takes no
/// memory. glibc maps what is over 32 MiB, and unmaps it when it is freed. What is smaller it maps at first, too, but as soon
/// as that is freed it begins to keep memory of such sizes, which was 100 MB of a publisher's peak of 180.
const MAPPED: usize = 33 << 20;

/// Memory for at least so many bytes of content: zeros.
pub(super) fn room_for(needed: usize) -> Vec<u8> {
    vec![0; if needed > LARGE { needed.max(MAPPED) } else { needed }]
}

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Box<[u8]>>>);

/// A buffer that is in use. When it is dropped, it can be used again.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    /// How many of the bytes may be used.
    room: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    fn free(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of [`SIZE`] bytes, or more if more are needed. Its content means nothing.
    pub(super) fn take(self: &Arc<Self>, needed: usize) -> Buffer {
        let used = if needed <= SIZE { self.free().pop() } else { None };
        let bytes = used.unwrap_or_else(|| room_for(needed.max(SIZE)).into_boxed_slice());
        Buffer { bytes, room: needed.max(SIZE), home: Arc::clone(self) }
    }
}

impl Buffer {
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.room]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.room]
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

    #[test]
    fn large_content_gets_memory_that_is_given_back() {
        const KEPT_BY_GLIBC: usize = 32 << 20;
        for (needed, mapped) in [(1, false), (LARGE, false), (LARGE + 1, true), (40 << 20, true)] {
            let room = room_for(needed);
            assert!(room.len() >= needed && room.iter().all(|&byte| byte == 0), "{needed}");
            assert_eq!(room.capacity() > KEPT_BY_GLIBC, mapped, "{needed}");
        }
        // A file of that size does not take others in, however much room there would be.
        let mut buffer = Arc::new(Buffers::default()).take(LARGE + 1);
        assert_eq!((buffer.bytes().len(), buffer.as_ref().len()), (LARGE + 1, LARGE + 1));
    }
}
