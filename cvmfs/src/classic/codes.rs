//! Pieces of a text as the bits of one block.

use super::bits::Bits;
use super::matches::Token;
use super::tree::{Alphabet, Code, Tree, canonical};

/// Ends a block.
const END: usize = 256;
/// The first symbol for a length.
const LENGTHS: usize = 257;

/// Literals, the end, and lengths.
const LITERALS: Alphabet = Alphabet { symbols: 286, longest: 15, extra: length_extra };
/// The same with fixed codes, of which two are never used.
const FIXED: Alphabet = Alphabet { symbols: 288, longest: 15, extra: length_extra };
const DISTANCES: Alphabet = Alphabet { symbols: 30, longest: 15, extra: distance_extra };
/// Lengths of codes.
const CODE_LENGTHS: Alphabet = Alphabet { symbols: 19, longest: 7, extra: code_length_extra };

/// The order in which the lengths of the codes for lengths are written.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

// Kinds of blocks.
const STORED: usize = 0;
const FIXED_CODES: usize = 1;
const OWN_CODES: usize = 2;
const LAST: usize = 1;

/// A number of extra bits, of which there are 13 at most.
fn few(bits: usize) -> u8 {
    u8::try_from(bits).expect("there are few extra bits")
}

fn length_extra(symbol: usize) -> u8 {
    match symbol {
        265..285 => few((symbol - 261) / 4),
        _ => 0,
    }
}

fn distance_extra(symbol: usize) -> u8 {
    few((symbol / 2).saturating_sub(1))
}

fn code_length_extra(symbol: usize) -> u8 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// The symbol of a number, and the value of its extra bits. The symbols from `first` on stand for the numbers from
/// `number` on, each for as many as its extra bits can distinguish.
fn symbol(
    mut first: usize,
    mut number: usize,
    value: usize,
    extra: fn(usize) -> u8,
) -> (usize, usize) {
    loop {
        let count = 1 << extra(first);
        if value < number + count {
            return (first, value - number);
        }
        number += count;
        first += 1;
    }
}

/// The symbol of a length.
fn of_length(length: usize) -> (usize, usize) {
    // The longest has a symbol of its own.
    if length == 258 { (285, 0) } else { symbol(LENGTHS, 3, length, length_extra) }
}

/// The symbol of a distance.
fn of_distance(distance: usize) -> (usize, usize) {
    symbol(0, 1, distance, distance_extra)
}

/// Runs of codes of one length as they are written: symbols with their extra bits.
fn runs(lengths: &[u8]) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut previous = None;
    let mut at = 0;
    while at < lengths.len() {
        let length = lengths[at];
        let all = lengths[at..].iter().take_while(|&&other| other == length).count();
        let own = usize::from(length);
        let count = match (length, previous == Some(length)) {
            (0, _) => all.min(138),
            (_, true) => all.min(6),
            (_, false) => all.min(7),
        };
        match (length, previous == Some(length)) {
            (0, _) if count < 3 => runs.extend((0..count).map(|_| (0, 0))),
            (0, _) if count <= 10 => runs.push((17, count - 3)),
            (0, _) => runs.push((18, count - 11)),
            (_, true) if count < 3 => runs.extend((0..count).map(|_| (own, 0))),
            (_, true) => runs.push((16, count - 3)),
            (_, false) if count < 4 => runs.extend((0..count).map(|_| (own, 0))),
            (_, false) => runs.extend([(own, 0), (16, count - 4)]),
        }
        previous = Some(length);
        at += count;
    }
    runs
}

/// The codes that a stream need not contain: RFC 1951, section 3.2.6.
fn fixed() -> (Vec<Code>, Vec<Code>) {
    let length = |symbol| match symbol {
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    };
    let lengths: Vec<_> = (0..FIXED.symbols).map(length).collect();
    (canonical(&lengths, &FIXED), canonical(&[5; 30], &DISTANCES))
}

/// The only block of a text.
pub(super) fn block(text: &[u8], tokens: &[Token]) -> Vec<u8> {
    let mut literals = [0; LITERALS.symbols];
    let mut distances = [0; DISTANCES.symbols];
    literals[END] = 1;
    for token in tokens {
        match *token {
            Token::Literal(byte) => literals[usize::from(byte)] += 1,
            Token::Match { length, distance } => {
                literals[of_length(length).0] += 1;
                distances[of_distance(distance).0] += 1;
            }
        }
    }
    let own = [Tree::build(&LITERALS, &literals), Tree::build(&DISTANCES, &distances)];
    // The lengths of the codes, one tree after the other.
    let told: Vec<_> = own
        .iter()
        .flat_map(|tree| {
            let lengths: Vec<_> = tree.codes[..=tree.last].iter().map(|code| code.length).collect();
            runs(&lengths)
        })
        .collect();
    let mut often = [0; CODE_LENGTHS.symbols];
    for (symbol, _) in &told {
        often[*symbol] += 1;
    }
    let lengths = Tree::build(&CODE_LENGTHS, &often);
    let count = (4..=ORDER.len())
        .rev()
        .find(|count| lengths.codes[ORDER[count - 1]].length > 0)
        .unwrap_or(4);

    let fixed = fixed();
    let cost = |of_literals: &[Code], of_distances: &[Code]| {
        LITERALS.cost(of_literals, &literals) + DISTANCES.cost(of_distances, &distances)
    };
    let bytes = |bits: usize| (bits + 3).div_ceil(8);
    let header = CODE_LENGTHS.cost(&lengths.codes, &often) + 3 * count + 5 + 5 + 4;
    let with_own = bytes(cost(&own[0].codes, &own[1].codes) + header);
    let with_fixed = bytes(cost(&fixed.0, &fixed.1));

    let mut bits = Bits::default();
    if text.len() + 4 <= with_own.min(with_fixed) {
        bits.put(STORED << 1 | LAST, 3);
        bits.align();
        let length = u16::try_from(text.len()).expect("the text is shorter than a stored block");
        bits.extend(&length.to_le_bytes());
        bits.extend(&(!length).to_le_bytes());
        bits.extend(text);
    } else if with_fixed <= with_own {
        bits.put(FIXED_CODES << 1 | LAST, 3);
        write(&mut bits, tokens, &fixed.0, &fixed.1);
    } else {
        bits.put(OWN_CODES << 1 | LAST, 3);
        bits.put(own[0].last + 1 - LENGTHS, 5);
        bits.put(own[1].last, 5);
        bits.put(count - 4, 4);
        for symbol in &ORDER[..count] {
            bits.put(lengths.codes[*symbol].length.into(), 3);
        }
        for (symbol, extra) in told {
            put(&mut bits, lengths.codes[symbol]);
            bits.put(extra, code_length_extra(symbol));
        }
        write(&mut bits, tokens, &own[0].codes, &own[1].codes);
    }
    bits.into_bytes()
}

fn put(bits: &mut Bits, code: Code) {
    bits.put(code.bits, code.length);
}

fn write(bits: &mut Bits, tokens: &[Token], literals: &[Code], distances: &[Code]) {
    for token in tokens {
        match *token {
            Token::Literal(byte) => put(bits, literals[usize::from(byte)]),
            Token::Match { length, distance } => {
                let (symbol, extra) = of_length(length);
                put(bits, literals[symbol]);
                bits.put(extra, length_extra(symbol));
                let (symbol, extra) = of_distance(distance);
                put(bits, distances[symbol]);
                bits.put(extra, distance_extra(symbol));
            }
        }
    }
    put(bits, literals[END]);
}
