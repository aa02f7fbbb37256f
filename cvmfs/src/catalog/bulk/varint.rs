//! SQLite's numbers of 1 to 9 bytes: the high bits first, seven to a byte, the eighth says that more follow. All
//! bits of a ninth byte count. Section 1.6 of the format.

/// The most bytes that a number takes.
const LONGEST: usize = 9;

/// Appends a number. Negative ones are taken as 64 bits without a sign.
pub(super) fn put(number: i64, out: &mut Vec<u8>) {
    let mut rest = number.cast_unsigned();
    let mut bytes = [0; LONGEST];
    let mut start = LONGEST;
    let all = rest >> 56 > 0;
    let mut bits = if all { 8 } else { 7 };
    let mut follows = 0;
    while start == LONGEST || rest > 0 || (all && start > 0) {
        start -= 1;
        bytes[start] = low(rest, bits) | follows;
        rest >>= bits;
        (bits, follows) = (7, 0x80);
    }
    out.extend_from_slice(&bytes[start..]);
}

/// The lowest bits of a number.
fn low(number: u64, bits: u32) -> u8 {
    number.to_le_bytes()[0] & (0xff >> (8 - bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        for (number, expected) in [
            (0, &[0][..]),
            (0x7f, &[0x7f]),
            (0x80, &[0x81, 0]),
            (0x3fff, &[0xff, 0x7f]),
            (0x4000, &[0x81, 0x80, 0]),
            ((1 << 56) - 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            (1 << 56, &[0x80, 0xc0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
            (-1, &[0xff; 9]),
        ] {
            let mut out = Vec::new();
            put(number, &mut out);
            assert_eq!(out, expected, "{number:#x}");
        }
    }
}
