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
    /// The same sizes, none of them above `limit`, and in order.
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

    /// Searches the next bytes of the file. If there is a cut, returns how many bytes come before it; the others have
    /// to be passed again.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the chunks of some content that comes in pieces of `piece` bytes.
    fn chunks(chunking: Chunking, content: &[u8], piece: usize) -> Vec<usize> {
        let mut detector = Detector::new(chunking);
        let mut chunks = vec![0];
        for mut piece in content.chunks(piece) {
            while let Some(at) = detector.cut(piece) {
                *chunks.last_mut().unwrap() += at;
                chunks.push(0);
                piece = &piece[at..];
            }
            *chunks.last_mut().unwrap() += piece.len();
        }
        chunks
    }

    /// Content that is cut at these positions, and at maxima.
    fn content(size: usize, cuts: &[usize]) -> Vec<u8> {
        // The hash of zeros is far from the one that cuts.
        let mut content = vec![0; size];
        for &at in cuts {
            // Each of 31 bytes adds one bit, together 0x7fffffff.
            content[at - 30..=at].fill(1);
        }
        content
    }

    /// What the rule says, in its slowest form.
    fn slowly(chunking: Chunking, content: &[u8]) -> Vec<usize> {
        let [minimum, average, maximum] =
            [chunking.minimum, chunking.average, chunking.maximum].map(|size| size as usize);
        let threshold = (u64::from(u32::MAX) / average as u64) as i64;
        let mut chunks = Vec::new();
        let mut last = 0;
        let mut position = 1;
        while position < content.len() {
            let cut = position - last >= minimum && {
                let begin = (last + minimum).saturating_sub(32).max(last);
                let hash = content[begin..=position]
                    .iter()
                    .fold(0_u32, |hash, &byte| (hash << 1) ^ u32::from(byte));
                let difference = (i64::from(hash) - i64::from(i32::MAX)).abs();
                difference < threshold || position - last >= maximum
            };
            if cut {
                chunks.push(position - last);
                last = position;
            }
            position += 1;
        }
        chunks.push(content.len() - last);
        chunks
    }

    const SMALL: Chunking = Chunking { minimum: 100, average: 200, maximum: 400 };

    #[test]
    fn cuts_are_those_of_the_rule() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut noise = vec![0; 20_000];
        random.fill(&mut noise);
        for content in [noise, content(5000, &[250, 600, 640, 3000]), Vec::new(), vec![1; 400]] {
            let expected = slowly(SMALL, &content);
            for piece in [1, 7, 100, 4096, 1 << 20] {
                assert_eq!(chunks(SMALL, &content, piece), expected, "pieces of {piece}");
            }
            let inner = expected.len().saturating_sub(1);
            assert!(expected[..inner].iter().all(|size| (100..=400).contains(size)));
        }
    }

    /// The offsets at which a stock 2.12 server cut a file whose hash is the one that cuts at these places.
    #[test]
    fn cuts_are_those_of_a_stock_server() {
        let content = content(30_000_000, &[5_000_031, 27_000_031]);
        assert_eq!(
            chunks(Chunking::default(), &content, 128 << 10),
            [5_000_031, 16_777_216, 27_000_031 - 21_777_247, 30_000_000 - 27_000_031]
        );
    }

    #[test]
    fn sizes_are_made_to_fit() {
        let sizes = |minimum, average, maximum| Chunking { minimum, average, maximum };
        for (wanted, limit, expected) in [
            (sizes(4, 8, 16), 100, sizes(4, 8, 16)),
            (sizes(4, 8, 16), 6, sizes(4, 6, 6)),
            (sizes(4, 8, 16), 2, sizes(2, 2, 2)),
            (sizes(0, 0, 0), 100, sizes(1, 1, 1)),
            (sizes(9, 3, 5), 100, sizes(5, 3, 5)),
            (sizes(4, 8, 16), 0, sizes(1, 1, 1)),
        ] {
            assert_eq!(wanted.within(limit), expected);
        }
    }
}
