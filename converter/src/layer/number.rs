//! Numbers of tar headers and PAX records.
//!
//! Rules: POSIX `pax` ("ustar Interchange Format", "pax Extended Header") for octal fields and decimal
//! records; the GNU tar manual ("Basic Tar Format") for base-256 fields.

use super::entry::Timestamp;

const NANOSECOND_DIGITS: usize = 9;
const SECOND: i64 = 1_000_000_000;

/// A numeric header field: octal text between spaces and NULs, or base-256 (the top bit is set, and the rest
/// is a big-endian two's complement). An empty field is 0. `None` if it is neither, or out of range.
pub(super) fn field(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field),
        _ => octal(field),
    }
}

/// A field up to its first NUL.
pub(super) fn before_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A numeric header field as for [`field`], but only in octal, which is the one form that checksums have.
pub(super) fn octal(field: &[u8]) -> Option<i64> {
    let padding = |b: &u8| matches!(b, b' ' | 0);
    let Some(start) = field.iter().position(|b| !padding(b)) else {
        return Some(0);
    };
    let digits = before_nul(&field[start..]).trim_ascii_end();
    let mut value: i64 = 0;
    for &digit in digits {
        if !matches!(digit, b'0'..=b'7') {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

fn base256(field: &[u8]) -> Option<i64> {
    // The second bit is the sign; the first only distinguishes this from octal text.
    let negative = field[0] & 0x40 != 0;
    let mut value: i64 = if negative { -1 } else { 0 };
    for (at, &byte) in field.iter().enumerate() {
        let byte = match (at, negative) {
            (0, true) => byte | 0x80,
            (0, false) => byte & 0x7f,
            _ => byte,
        };
        value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
    }
    Some(value)
}

/// A decimal number of nothing but ASCII digits. `None` if it is anything else, or out of range.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// A decimal number, perhaps with a sign. `None` if it is anything else, or out of range.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let magnitude = i128::from(decimal(digits)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// A PAX time: decimal seconds since 1970, perhaps negative, perhaps with a fraction. Digits beyond
/// nanoseconds are cut off. `None` if it is anything else, or out of range.
pub(super) fn time(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|&b| b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanoseconds: i64 = 0;
    for place in 0..NANOSECOND_DIGITS {
        let digit = fraction.get(place).map_or(0, |digit| i64::from(digit - b'0'));
        nanoseconds = nanoseconds * 10 + digit;
    }
    let (seconds, nanoseconds) = match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        // Nanoseconds always count forward, from the preceding second.
        (true, _) => (-seconds - 1, SECOND - nanoseconds),
    };
    Some(Timestamp { seconds, nanoseconds: u32::try_from(nanoseconds).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"\0\0\x30644\0", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"77777777", Some(0o7777_7777)),
            (b"777777777777", Some(0o7777_7777_7777)),
            (b"", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"8", None),
            (b"-1", None),
            (b"0x10", None),
            (b"6 4", None),
            (b"\x80\0\0\0\0\0\0\x01", Some(1)),
            (b"\x80\0\0\0\x01\0\0\0\0\0\0\x02", Some(0x0100_0000_0000_0002)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xc0\0\0\0\0\0\0\0", Some(-0x4000_0000_0000_0000)),
        ];
        for (text, value) in cases {
            assert_eq!(field(text), *value, "{}", text.escape_ascii());
        }
        assert_eq!(octal(b"\x80\0\0\x01"), None, "a checksum is never base-256");
    }

    #[test]
    fn decimals() {
        let cases: &[(&[u8], Option<u64>)] = &[
            (b"0", Some(0)),
            (b"0012", Some(12)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"-1", None),
            (b"+1", None),
            (b" 1", None),
            (b"1.0", None),
        ];
        for (text, value) in cases {
            assert_eq!(decimal(text), *value, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn integers() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0", Some(0)),
            (b"-1", Some(-1)),
            (b"+12", Some(12)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"9223372036854775808", None),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"-9223372036854775809", None),
            (b"", None),
            (b"-", None),
            (b"--1", None),
            (b"1.0", None),
        ];
        for (text, value) in cases {
            assert_eq!(integer(text), *value, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn times() {
        type Parts = (i64, u32);
        let cases: &[(&[u8], Option<Parts>)] = &[
            (b"0", Some((0, 0))),
            (b"1700000000", Some((1_700_000_000, 0))),
            (b"1700000000.", Some((1_700_000_000, 0))),
            (b"1.5", Some((1, 500_000_000))),
            (b"1.000000001", Some((1, 1))),
            (b"1.0000000019", Some((1, 1))),
            (b"+1.5", Some((1, 500_000_000))),
            (b"-1", Some((-1, 0))),
            (b"-1.25", Some((-2, 750_000_000))),
            (b"-0.5", Some((-1, 500_000_000))),
            (b"9223372036854775807", Some((i64::MAX, 0))),
            (b"-9223372036854775807.999999999", Some((i64::MIN, 1))),
            (b"9223372036854775808", None),
            (b"", None),
            (b".5", None),
            (b"-", None),
            (b"--1", None),
            (b"1.5e9", None),
            (b"1.-5", None),
            (b"1 ", None),
        ];
        for (text, value) in cases {
            let got = time(text).map(|time| (time.seconds, time.nanoseconds));
            assert_eq!(got, *value, "{}", text.escape_ascii());
        }
    }
}
