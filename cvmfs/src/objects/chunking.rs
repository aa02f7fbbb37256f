//! Where large files are cut.
//!
//! Any cut is valid. Those of the stock server are used, because then equal parts of files are equal objects no
//! matter who stored them: a rolling hash of the last 32 bytes decides, between a minimum and a maximum.

/// The sizes of chunks in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunking {
    /// No chunk but the last is smaller, and files up to this size are not cut.
    pub minimum: u64,
    /// How far cuts are apart on average, beyond the minimum.
    pub average: u64,
    /// No chunk is larger.
    pub maximum: u64,
}

const MIB: u64 = 1 << 20;

impl Default for Chunking {
    /// The stock server's: 4, 8 and 16 MiB.
    fn default() -> Self {
        Self { minimum: 4 * MIB, average: 8 * MIB, maximum: 16 * MIB }
    }
}

impl Chunking {
    /// The same with no size above `limit`, and all of them in order.
    pub(super) fn within(self, limit: u64) -> Self {
        let maximum = self.maximum.clamp(1, limit.max(1));
        let average = self.average.clamp(1, maximum);
        Self { minimum: self.minimum.clamp(1, maximum), average, maximum }
    }
}

/// How many bytes the rolling hash covers: each is shifted out of its 32 bits after so many.
const WINDOW: u64 = 32;

/// Finds the cuts in a file that comes in pieces.
#[derive(Debug)]
pub(super) struct Detector {
    chunking: Chunking,
    /// The hash must be nearer than this to [`Self::TARGET`].
    threshold: u32,
    /// Bytes since the last cut.
    position: u64,
    hash: u32,
}

impl Detector {
    const TARGET: u32 = i32::MAX.unsigned_abs();

    pub(super) fn new(chunking: Chunking) -> Self {
        let threshold = u64::from(u32::MAX) / chunking.average.max(1);
        Self {
            chunking,
            threshold: u32::try_from(threshold).unwrap_or(u32::MAX),
            position: 0,
            hash: 0,
        }
    }

    /// Looks at the next bytes of the file. If there is a cut in front of one of them, returns how many come
    /// before it; those behind have to be given again.
    pub(super) fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        let Chunking { minimum, maximum, .. } = self.chunking;
        let at = |position: u64, start: u64| {
            usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len())
        };
        let start = self.position;
        let (feed, search, end) =
            (at(minimum.saturating_sub(WINDOW), start), at(minimum, start), at(maximum, start));
        for &byte in &bytes[feed.min(search)..search] {
            self.hash = (self.hash << 1) ^ u32::from(byte);
        }
        for (index, &byte) in bytes.iter().enumerate().take(end).skip(search) {
            self.hash = (self.hash << 1) ^ u32::from(byte);
            // The stock server subtracts signed numbers and lets them wrap.
            if self.hash.wrapping_sub(Self::TARGET).cast_signed().unsigned_abs() < self.threshold {
                return Some(self.restart(index));
            }
        }
        if end < bytes.len() {
            return Some(self.restart(end));
        }
        self.position += bytes.len() as u64;
        None
    }

    fn restart(&mut self, index: usize) -> usize {
        self.position = 0;
        self.hash = 0;
        index
    }
}
