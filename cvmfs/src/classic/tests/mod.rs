mod corpus;
mod original;

use super::*;
use crate::compression::inflate;
use crate::hash::Algorithm;

use Kind::{Base64, Copies, Few, Noise, Runs, Skewed};

/// What a text is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Like a certificate.
    Base64,
    /// Three letters.
    Few,
    Noise,
    /// The same byte many times.
    Runs,
    /// Pieces of what stood before.
    Copies,
    /// Symbols so rare that their codes would get too long.
    Skewed,
}

/// Numbers that are easy to make elsewhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

fn text(kind: Kind, size: usize) -> Vec<u8> {
    const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = Random(size as u64 + 1);
    let mut text: Vec<u8> = Vec::new();
    if kind == Skewed {
        let (mut count, mut next, mut symbol) = (1, 1, 0);
        while text.len() + count <= size {
            text.extend(std::iter::repeat_n(symbol, count));
            (count, next, symbol) = (next, count + next, symbol + 1);
        }
        for last in (1..text.len()).rev() {
            text.swap(last, random.below(last + 1));
        }
        return text;
    }
    while text.len() < size {
        match kind {
            Base64 if text.len() % 65 == 64 => text.push(b'\n'),
            Base64 => text.push(BASE64[random.below(64)]),
            Few => text.push(b'a' + random.below(3) as u8),
            Noise => text.push(random.below(256) as u8),
            Runs => {
                let byte = random.below(4) as u8;
                let count = 1 + random.below(300);
                text.extend(std::iter::repeat_n(byte, count));
            }
            Copies if text.len() < 20 || random.below(4) == 0 => {
                text.push(b'a' + random.below(26) as u8);
            }
            Copies => {
                let from = random.below(text.len());
                let to = (from + 3 + random.below(30)).min(text.len());
                text.extend_from_within(from..to);
            }
            Skewed => {}
        }
    }
    text.truncate(size);
    text
}

#[test]
fn streams_are_those_of_zlib() {
    // Made with `zlib.compress(text, 6)` of Python and zlib 1.2.13: length and SHA-1 of the stream.
    for (kind, size, length, sha1) in [
        (Base64, 0, 8, "e8ec3d88b62ebf526e4e5a4ff6162a3aa48a6b78"),
        (Base64, 1, 9, "2ccc9ce2d7a05388ef5f06a5c460f62aea3ed8f4"),
        (Base64, 2, 10, "4f6034fabacb18eeef505ff3a3e8f6e236eac40a"),
        (Base64, 3, 11, "6dfbd219f037115882d2527d4a4a08b952910a2c"),
        (Base64, 4, 12, "6751d2c0a977b1d4d6f47dec9c9dfbd2f06ca7c8"),
        (Base64, 10, 18, "15f298be8d62c4380d8cf4b7aefaf52dd4a5a162"),
        (Base64, 1200, 941, "36a71305967562d3ba32948426ca162daa444011"),
        (Base64, 16383, 12457, "1db5ba150704dd925316ff6a87ba80cfffc66433"),
        (Few, 5, 13, "20e0477d22a2a7f78bf430a63268a71589a5359e"),
        (Few, 100, 51, "663b1054901c981d0f634961a529a2e025f20a50"),
        (Few, 3000, 814, "79a3185261e103d8d72f4f77e8832521c558b5da"),
        (Few, 16383, 4039, "41e72291fd393ee2fa848d910a84430cb7b82a4d"),
        (Noise, 1, 9, "a704bf67de71f04e93c3ffefcc6a029a10221167"),
        (Noise, 300, 311, "5f5e67d6733b77db319599565c92c60ec7fb6344"),
        (Noise, 16000, 16011, "b33ed103315bd7a440b573b8a2e5ffead0c19552"),
        (Runs, 259, 15, "5a15edd2843ea40360def24c2e57b488eb2f7f0a"),
        (Runs, 1000, 32, "05240c871322ab5e29aa5bf17603799dd3de23e3"),
        (Runs, 16383, 263, "7b20237408d42636142b69304d20784e0894601d"),
        (Copies, 500, 110, "3a7eedbf669833b17d49ba3f9556ea0903bafebb"),
        (Copies, 6000, 917, "db7e54fd0b374b55221e30e4ec434d8ea6071b30"),
        (Copies, 16383, 2611, "941acd994dc30a71b2e563782a31f17246ac6732"),
        (Skewed, 16000, 4390, "1fe9d0e281ce14bd0e648c4046c2fee246637ad8"),
    ] {
        let text = text(kind, size);
        let stream = zlib(&text, "it").unwrap();
        assert_eq!(inflate(&stream, text.len() as u64, "it").unwrap(), text, "{kind:?} {size}");
        assert_eq!(
            (stream.len(), Algorithm::Sha1.hash(&stream).to_string().as_str()),
            (length, sha1),
            "{kind:?} {size}"
        );
    }
}

#[test]
fn what_would_take_two_blocks_is_refused() {
    let error = zlib(&[b'x'; LONGEST], "the certificate").unwrap_err().to_string();
    assert!(error.starts_with("the certificate has 16384 bytes"), "{error}");
}
