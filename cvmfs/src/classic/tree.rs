//! Huffman codes: the more frequent a symbol, the shorter its code. They are built as zlib builds them, because among
//! codes of the same cost zlib's must be chosen.

/// What can be coded: symbols and the limits of their codes.
pub(super) struct Alphabet {
    /// Number of symbols.
    pub(super) symbols: usize,
    /// Longest code, in bits.
    pub(super) longest: u8,
    /// Extra bits after the code of a symbol.
    pub(super) extra: fn(usize) -> u8,
}

/// A symbol's code, with its bits in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Code {
    pub(super) bits: usize,
    pub(super) length: u8,
}

/// The codes of all symbols.
pub(super) struct Tree {
    pub(super) codes: Vec<Code>,
    /// The last symbol that has one.
    pub(super) last: usize,
}

/// The nodes of a tree that is being built; those that will get the longest codes come first.
struct Builder {
    frequencies: Vec<u32>,
    depths: Vec<u32>,
    /// A heap of nodes without parents; counted from 1.
    heap: Vec<usize>,
}

impl Builder {
    fn is_before(&self, a: usize, b: usize) -> bool {
        (self.frequencies[a], self.depths[a]) <= (self.frequencies[b], self.depths[b])
    }

    /// Moves a node down to where it belongs.
    fn sink(&mut self, mut place: usize) {
        let node = self.heap[place];
        let last = self.heap.len() - 1;
        let mut below = place * 2;
        while below <= last {
            if below < last && self.is_before(self.heap[below + 1], self.heap[below]) {
                below += 1;
            }
            if self.is_before(node, self.heap[below]) {
                break;
            }
            self.heap[place] = self.heap[below];
            place = below;
            below *= 2;
        }
        self.heap[place] = node;
    }
}

impl Tree {
    /// Builds the codes of symbols with these frequencies.
    pub(super) fn build(alphabet: &Alphabet, frequencies: &[u32]) -> Self {
        let mut builder = Builder {
            frequencies: frequencies.to_vec(),
            depths: vec![0; alphabet.symbols],
            heap: vec![usize::MAX],
        };
        builder.heap.extend((0..alphabet.symbols).filter(|&symbol| frequencies[symbol] > 0));
        let mut last = builder.heap.get(1..).and_then(|used| used.last()).copied();
        // There are at least two codes.
        while builder.heap.len() < 3 {
            let symbol = match last {
                None => 0,
                Some(symbol @ 0..2) => symbol + 1,
                Some(_) => 0,
            };
            last = Some(last.map_or(symbol, |last| last.max(symbol)));
            builder.frequencies[symbol] = 1;
            builder.heap.push(symbol);
        }
        let last = last.expect("there are at least two codes");
        for place in (1..=(builder.heap.len() - 1) / 2).rev() {
            builder.sink(place);
        }

        // The two rarest nodes become one, until one is left.
        let mut order = Vec::new();
        let mut parents = vec![0; alphabet.symbols];
        loop {
            let rarest = builder.heap[1];
            let end = builder.heap.pop().expect("at least two nodes are left");
            builder.heap[1] = end;
            builder.sink(1);
            let second = builder.heap[1];
            order.extend([rarest, second]);
            let node = builder.frequencies.len();
            builder.frequencies.push(builder.frequencies[rarest] + builder.frequencies[second]);
            builder.depths.push(builder.depths[rarest].max(builder.depths[second]) + 1);
            parents.push(0);
            (parents[rarest], parents[second]) = (node, node);
            builder.heap[1] = node;
            builder.sink(1);
            if builder.heap.len() < 3 {
                break;
            }
        }
        order.push(builder.heap[1]);
        order.reverse();

        let is_symbol = |node: usize| node <= last;
        let lengths = lengths(alphabet, &order, &parents, is_symbol);
        Self { codes: canonical(&lengths[..=last], alphabet), last }
    }
}

impl Alphabet {
    /// Bits that symbols with these frequencies take, extra bits included.
    pub(super) fn cost(&self, codes: &[Code], frequencies: &[u32]) -> usize {
        let bits = |symbol: usize| usize::from(codes[symbol].length + (self.extra)(symbol));
        let symbols = frequencies.iter().enumerate();
        symbols
            .map(|(symbol, &often)| {
                usize::try_from(often).expect("no text is that long") * bits(symbol)
            })
            .sum()
    }
}

/// The lengths of the codes; `order` has parents before children, the rarest last.
fn lengths(
    alphabet: &Alphabet,
    order: &[usize],
    parents: &[usize],
    is_symbol: impl Fn(usize) -> bool,
) -> Vec<u8> {
    let longest = alphabet.longest;
    let mut lengths = vec![0; parents.len()];
    let mut counts = vec![0_usize; usize::from(longest) + 1];
    let mut overflow = 0;
    for &node in &order[1..] {
        let mut length = lengths[parents[node]] + 1;
        if length > longest {
            length = longest;
            overflow += 1;
        }
        lengths[node] = length;
        if is_symbol(node) {
            counts[usize::from(length)] += 1;
        }
    }
    if overflow == 0 {
        return lengths;
    }
    // One code of a shorter length is split in two, until all fit.
    while overflow > 0 {
        let mut length = usize::from(longest) - 1;
        while counts[length] == 0 {
            length -= 1;
        }
        counts[length] -= 1;
        counts[length + 1] += 2;
        counts[usize::from(longest)] -= 1;
        overflow -= 2;
    }
    let mut symbols = order.iter().rev().filter(|&&node| is_symbol(node));
    for length in (1..=longest).rev() {
        for &symbol in symbols.by_ref().take(counts[usize::from(length)]) {
            lengths[symbol] = length;
        }
    }
    lengths
}

/// The codes of given lengths: RFC 1951, section 3.2.2.
pub(super) fn canonical(lengths: &[u8], alphabet: &Alphabet) -> Vec<Code> {
    let mut codes = vec![Code::default(); alphabet.symbols];
    let mut next = 0_usize;
    for length in 1..=alphabet.longest {
        next <<= 1;
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, own)| **own == length) {
            let bits = next.reverse_bits() >> (usize::BITS - u32::from(length));
            codes[symbol] = Code { bits, length };
            next += 1;
        }
    }
    codes
}
