//! A row as SQLite stores it: the types of its values, then the values. Section 2.1 of the format.

use super::varint;

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Value<'a> {
    Null,
    Integer(i64),
    /// Of the type TEXT, although it need not be UTF-8.
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// Encodes rows one after the other, in the same memory.
#[derive(Default)]
pub(in super::super) struct Record {
    types: Vec<u8>,
    bytes: Vec<u8>,
}

impl Record {
    /// The record of some values.
    pub(in super::super) fn of(&mut self, values: &[Value<'_>]) -> &[u8] {
        self.types.clear();
        for value in values {
            varint::put(value.serial_type(), &mut self.types);
        }
        self.bytes.clear();
        // The length includes itself. Two bytes are enough for any number of columns that occurs.
        let length = self.types.len() + 1;
        let length = if length > 0x7f { length + 1 } else { length };
        varint::put(signed(length), &mut self.bytes);
        self.bytes.extend_from_slice(&self.types);
        for value in values {
            value.put(&mut self.bytes);
        }
        &self.bytes
    }
}

impl Value<'_> {
    /// Type and length as one number.
    fn serial_type(&self) -> i64 {
        let long = |bytes: &[u8], base| signed(bytes.len()) * 2 + base;
        match self {
            Value::Null => 0,
            Value::Integer(0) => 8,
            Value::Integer(1) => 9,
            Value::Integer(number) => match width(*number) {
                width @ 1..=4 => signed(width),
                6 => 5,
                _ => 6,
            },
            Value::Blob(bytes) => long(bytes, 12),
            Value::Text(bytes) => long(bytes, 13),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null | Value::Integer(0 | 1) => {}
            Value::Integer(number) => {
                let bytes = number.to_be_bytes();
                out.extend_from_slice(&bytes[bytes.len() - width(*number)..]);
            }
            Value::Text(bytes) | Value::Blob(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// A length as a number.
fn signed(length: usize) -> i64 {
    i64::try_from(length).expect("no slice is longer than an i64 can tell")
}

/// How many bytes a number takes, one of 1, 2, 3, 4, 6, 8.
fn width(number: i64) -> usize {
    // Significant bits, including the sign.
    let bits = 65 - (if number < 0 { !number } else { number }).leading_zeros();
    match bits.div_ceil(8) {
        5 => 6,
        7.. => 8,
        bytes => usize::try_from(bytes).expect("64 bits are 8 bytes"),
    }
}
