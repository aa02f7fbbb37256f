//! Bits on their way into bytes, the lowest first.

/// A stream of bits.
#[derive(Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    waiting: u32,
    count: u32,
}

impl Bits {
    /// Appends the lowest `count` bits of `value`, at most 16.
    pub(super) fn put(&mut self, value: usize, count: u8) {
        self.waiting |= u32::try_from(value).expect("a code has at most 16 bits") << self.count;
        self.count += u32::from(count);
        while self.count >= 8 {
            self.bytes.push(self.waiting.to_le_bytes()[0]);
            self.waiting >>= 8;
            self.count -= 8;
        }
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self) {
        if self.count > 0 {
            self.put(0, 8 - u8::try_from(self.count).expect("fewer than 8 bits wait"));
        }
    }

    /// Appends whole bytes, after [`Self::align`].
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.align();
        self.bytes
    }
}
