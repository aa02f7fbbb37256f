//! Answers that are marked as coded although nobody asked for that (RFC 9110, section 8.4).
//!
//! Proxies mark layers `Content-Encoding: gzip` because they are gzip files, and send them as they are. Others really
//! compress what they are asked for, although only `identity` was accepted. The mark does not tell one from the other, the
//! digest does: what was sent is right if it has the digest, and otherwise what it decodes to.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::{read, write};
use http::header::{CONTENT_ENCODING, HeaderMap};
use layer_layout::Digest;

/// How gzip begins (RFC 1952, section 2.3.1), with the only method of compression that there is.
const GZIP: &[u8] = b"\x1f\x8b\x08";

/// How zstd begins (RFC 8878, section 3.1.1).
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// How many coded bytes should be decoded at a time: deflate makes up to a thousand bytes of each.
pub(super) const AT_A_TIME: usize = 1 << 10;

/// How an answer is said to be coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Identity,
    /// With gzip.
    Gzip,
    /// In a way that cannot be decoded here.
    Other(String),
}

impl Coding {
    /// What the headers of an answer say.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(CONTENT_ENCODING).iter();
        let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let all = texts.collect::<Vec<_>>().join(",");
        let mut codings = all
            .split(',')
            .map(str::trim)
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
        match (codings.next(), codings.next()) {
            (None, _) => Self::Identity,
            (Some(coding), None)
                if ["gzip", "x-gzip"].iter().any(|gzip| coding.eq_ignore_ascii_case(gzip)) =>
            {
                Self::Gzip
            }
            _ => Self::Other(all),
        }
    }

    /// The content of an answer whose digest is known: as it was sent if that has the digest, or else decoded if that has.
    /// If neither has, it is returned as it was sent. `limit` is for what it decodes to, in bytes.
    pub(super) fn with_digest(&self, sent: Bytes, digest: &Digest, limit: u64) -> Bytes {
        if *self != Self::Gzip || Digest::of(&sent) == *digest {
            return sent;
        }
        gunzip(&sent, limit).filter(|decoded| Digest::of(decoded) == *digest).unwrap_or(sent)
    }

    /// The content of an answer of which no digest is known, and which is text: what begins as gzip is not.
    pub(super) fn text(&self, sent: Bytes, limit: u64) -> Bytes {
        if *self != Self::Gzip || !sent.starts_with(GZIP) {
            return sent;
        }
        gunzip(&sent, limit).unwrap_or(sent)
    }
}

/// What gzip decodes to; `None` if it is broken, or more than `limit` bytes.
fn gunzip(coded: &[u8], limit: u64) -> Option<Bytes> {
    let mut decoded = Vec::new();
    read::MultiGzDecoder::new(coded)
        .take(limit.saturating_add(1))
        .read_to_end(&mut decoded)
        .ok()?;
    (decoded.len() as u64 <= limit).then(|| decoded.into())
}

/// Whether an answer that is marked as gzip, and does not tell its length, really is a coded blob. `begin` is how it
/// begins; `is_plain` is whether the blob should be an uncompressed tar.
pub(super) fn is_coded(begin: &[u8], is_plain: bool) -> bool {
    if !begin.starts_with(GZIP) {
        return false;
    }
    let mut decoder = Decoder::default();
    let decoded: std::io::Result<Vec<Bytes>> =
        begin.chunks(AT_A_TIME).map(|coded| decoder.decode(coded)).collect();
    // What does not decode is as broken as a blob.
    decoded.is_ok_and(|decoded| {
        let decoded = decoded.concat();
        is_plain || [GZIP, ZSTD].iter().any(|magic| decoded.starts_with(magic))
    })
}

/// Decodes gzip piece by piece.
#[derive(Debug)]
pub(super) struct Decoder(write::MultiGzDecoder<Vec<u8>>);

impl Default for Decoder {
    fn default() -> Self {
        Self(write::MultiGzDecoder::new(Vec::new()))
    }
}

impl Decoder {
    /// What a piece decodes to.
    pub(super) fn decode(&mut self, coded: &[u8]) -> std::io::Result<Bytes> {
        self.0.write_all(coded)?;
        self.0.flush()?;
        Ok(std::mem::take(self.0.get_mut()).into())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_headers_say() {
        for (values, expected) in [
            (&[][..], Coding::Identity),
            (&["identity"], Coding::Identity),
            (&[""], Coding::Identity),
            (&["gzip"], Coding::Gzip),
            (&["X-GZIP"], Coding::Gzip),
            (&["identity, gzip"], Coding::Gzip),
            (&["br"], Coding::Other("br".to_owned())),
            (&["gzip, gzip"], Coding::Other("gzip, gzip".to_owned())),
            (&["gzip", "br"], Coding::Other("gzip,br".to_owned())),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(Coding::of(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn the_digest_tells_what_was_sent() {
        let (text, coded) = (Bytes::from("{}"), Bytes::from(gzip(b"{}")));
        let other = Digest::of(b"other");
        for (coding, sent, digest, expected) in [
            (Coding::Gzip, &text, Digest::of(&text), &text),
            (Coding::Gzip, &coded, Digest::of(&coded), &coded),
            (Coding::Gzip, &coded, Digest::of(&text), &text),
            (Coding::Gzip, &coded, other, &coded),
            (Coding::Gzip, &text, other, &text),
            (Coding::Identity, &coded, Digest::of(&text), &coded),
        ] {
            assert_eq!(coding.with_digest(sent.clone(), &digest, 100), expected, "{coding:?}");
        }
        assert_eq!(Coding::Gzip.text(coded.clone(), 100), text);
        assert_eq!(Coding::Gzip.text(text.clone(), 100), text);
        assert_eq!(Coding::Identity.text(coded.clone(), 100), coded);
        // A bomb stays what it is.
        let bomb = Bytes::from(gzip(&[0; 1000]));
        assert_eq!(Coding::Gzip.text(bomb.clone(), 999), bomb);
        assert_eq!(Coding::Gzip.text(bomb, 1000).len(), 1000);
    }

    #[test]
    fn a_stream_is_known_by_how_it_begins() {
        let tar = [b'a'; 5000];
        let zstd = zstd::encode_all(&tar[..], 1).unwrap();
        for (name, begin, is_plain, expected) in [
            ("a tar", tar.to_vec(), true, false),
            ("a gzip layer", gzip(&tar), false, false),
            ("a gzip layer, coded", gzip(&gzip(&tar)), false, true),
            ("a zstd layer", zstd.clone(), false, false),
            ("a zstd layer, coded", gzip(&zstd), false, true),
            ("a tar, coded", gzip(&tar), true, true),
            ("nothing", Vec::new(), true, false),
            ("broken", b"\x1f\x8b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), true, false),
        ] {
            assert_eq!(is_coded(&begin, is_plain), expected, "{name}");
        }
    }
}
