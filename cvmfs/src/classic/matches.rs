//! What repeats in a text: the lazy search of level 6.

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Literal(u8),
    /// What stood `distance` bytes before, `length` bytes of it.
    Match {
        length: usize,
        distance: usize,
    },
}

const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;
/// The shortest matches are of no use at a larger distance.
const TOO_FAR: usize = 4096;
/// After a match of this length the search is shorter, …
const GOOD_LENGTH: usize = 8;
/// … with this one no better is looked for, …
const MAX_LAZY: usize = 16;
/// … and this one ends the search.
const NICE_LENGTH: usize = 128;
/// How many positions are tried.
const MAX_CHAIN: usize = 128;

/// Bits of a hash.
const HASH_BITS: u32 = 15;
/// No position. It means that nothing is found at the beginning of the text, as in zlib.
const NONE: usize = 0;

/// The text, and where its triples of bytes occurred.
struct Window<'a> {
    length: usize,
    /// The text with zeros after it, because the search may read beyond its end.
    bytes: &'a [u8],
    /// The last position of each hash.
    head: Vec<usize>,
    /// The position before with the same hash.
    previous: Vec<usize>,
}

impl Window<'_> {
    /// Notes a position; returns the last one with the same hash.
    fn insert(&mut self, at: usize) -> usize {
        let [a, b, c] = [0, 1, 2].map(|next| usize::from(self.bytes[at + next]));
        let hash = (a << 10 ^ b << 5 ^ c) & ((1 << HASH_BITS) - 1);
        let last = self.head[hash];
        self.previous[at] = last;
        self.head[hash] = at;
        last
    }

    /// Where the longest match for a position is, if it is longer than `best`, and its length; else `best`.
    fn longest(&self, at: usize, first: usize, best: usize) -> (Option<usize>, usize) {
        let ahead = self.length - at;
        let nice = NICE_LENGTH.min(ahead);
        let mut chain = if best >= GOOD_LENGTH { MAX_CHAIN >> 2 } else { MAX_CHAIN };
        let (mut start, mut best) = (None, best);
        let mut there = first;
        let byte = |at: usize| self.bytes[at];
        loop {
            // A match that cannot be longer is not compared.
            if byte(there + best) == byte(at + best)
                && byte(there + best - 1) == byte(at + best - 1)
            {
                let same = (0..MAX_MATCH).take_while(|next| byte(there + next) == byte(at + next));
                let length = same.count();
                if length > best {
                    (start, best) = (Some(there), length);
                    if length >= nice {
                        break;
                    }
                }
            }
            there = self.previous[there];
            chain -= 1;
            if there == NONE || chain == 0 {
                break;
            }
        }
        (start, best.min(ahead))
    }
}

/// Takes a text apart.
pub(super) fn tokens(text: &[u8]) -> Vec<Token> {
    let mut bytes = text.to_vec();
    bytes.resize(text.len() + 2 * MAX_MATCH, 0);
    let mut window = Window {
        length: text.len(),
        bytes: &bytes,
        head: vec![NONE; 1 << HASH_BITS],
        previous: vec![NONE; text.len()],
    };
    let mut tokens = Vec::new();
    let mut at = 0;
    let (mut start, mut length) = (0, MIN_MATCH - 1);
    // The byte before has not been written yet: a match that begins here may be longer than the one that began there.
    let mut pending = false;
    while at < text.len() {
        let (last_start, last_length) = (start, length);
        length = MIN_MATCH - 1;
        let found = if text.len() - at >= MIN_MATCH { window.insert(at) } else { NONE };
        if found != NONE && last_length < MAX_LAZY {
            let (there, longest) = window.longest(at, found, last_length);
            start = there.unwrap_or(start);
            length = longest;
            if length == MIN_MATCH && at - start > TOO_FAR {
                length = MIN_MATCH - 1;
            }
        }
        if last_length >= MIN_MATCH && length <= last_length {
            tokens.push(Token::Match { length: last_length, distance: at - 1 - last_start });
            let end = at - 1 + last_length;
            for inside in at + 1..end {
                if inside + MIN_MATCH <= text.len() {
                    window.insert(inside);
                }
            }
            at = end;
            length = MIN_MATCH - 1;
            pending = false;
            continue;
        }
        if pending {
            tokens.push(Token::Literal(text[at - 1]));
        }
        pending = true;
        at += 1;
    }
    if pending {
        tokens.push(Token::Literal(text[at - 1]));
    }
    tokens
}
