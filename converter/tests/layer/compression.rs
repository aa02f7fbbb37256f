//! gzip, zstd, plain: recognized by the first bytes, read to the very end, and never accepted if broken.

use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ducc::layer::{Error, LayerReader, Limits};

use crate::tar::Tar;
use crate::{Item, chain, drain, items, open, refusal};

fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect()
}

fn sample() -> Vec<u8> {
    Tar::new().directory("d").file("d/f", noise(1000)).symlink("s", "d/f").end()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .filename("layer.tar")
        .comment("a layer")
        .write(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn skippable(content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&[0x5a, 0x2a, 0x4d, 0x18], size.as_slice(), content].concat()
}

#[test]
fn all_give_the_same() {
    let tar = sample();
    let expected = drain(open(tar.clone()).unwrap()).unwrap();
    let (start, end) = tar.split_at(1000);
    let empty: &[u8] = &[];
    // eStargz: a member for each file, and a footer of nothing but a header with an extra field.
    let footer = flate2::GzBuilder::new()
        .extra(b"SG\x16\x000000000000000000STARGZ".as_slice())
        .write(Vec::new(), flate2::Compression::none());
    let members = tar.chunks(512).flat_map(gzip).chain(footer.finish().unwrap());
    let cases: [(&str, Vec<u8>); 11] = [
        ("gzip, eStargz", members.clone().collect()),
        ("gzip, eStargz on a tape", members.chain([0; 20_480]).collect()),
        ("gzip", gzip(&tar)),
        ("gzip, several members", [gzip(start), gzip(empty), gzip(end)].concat()),
        ("gzip, an empty member at the end", [gzip(&tar), gzip(empty)].concat()),
        ("zstd", zstd(&tar)),
        ("zstd, several frames", [zstd(start), zstd(empty), zstd(end)].concat()),
        ("zstd, a skippable frame first", [skippable(b"index"), zstd(&tar)].concat()),
        ("zstd, one between", [zstd(start), skippable(b""), zstd(end)].concat()),
        ("zstd, one last (eStargz, zstd:chunked)", [zstd(&tar), skippable(&[7; 3000])].concat()),
        ("zstd without checksum and size", zstd::encode_all(Cursor::new(&tar), 1).unwrap()),
    ];
    for (what, blob) in cases {
        match open(blob).and_then(drain) {
            Ok(got) => assert_eq!(got, expected, "{what}"),
            Err(error) => panic!("{what}: {}", chain(&error)),
        }
    }
    assert_eq!(items(gzip(empty)).unwrap(), [] as [Item; 0]);
    assert_eq!(items(zstd(empty)).unwrap(), [] as [Item; 0]);
}

/// Behind gzip there may be padding, which gzip itself and pigz take, and nothing else.
#[test]
fn only_padding_may_follow() {
    let (tar, noise) = (sample(), noise(300_000));
    let expected = drain(open(tar.clone()).unwrap()).unwrap();
    let (gzip, zstd) = (gzip(&tar), zstd(&tar));
    // More than what is read at a time.
    for zeros in [1, 511, 512, 10_240, 1 << 20] {
        let blob = [&*gzip, &vec![0; zeros]].concat();
        assert_eq!(open(blob).and_then(drain).unwrap(), expected, "{zeros}");
        let blob = [&zstd, [0].as_slice()].concat();
        assert!(refusal(blob).starts_with("the layer's zstd data is broken; publish the"));
    }
    let padded = |tail: &[u8]| [&[0; 512], tail].concat();
    let far = [vec![0; 1 << 20], b"x".to_vec()].concat();
    let cases: [(&[u8], &str); 9] = [
        (b"junk", "something that is not gzip follows its end"),
        (&noise[..40], "something that is not gzip follows its end"),
        (&padded(b"junk"), "something follows the padding behind its end"),
        (&padded(&gzip), "something follows the padding behind its end"),
        (&far, "something follows the padding behind its end"),
        (&gzip[..1], ""),
        (&gzip[..3], ""),
        (&gzip[..20], ""),
        (&gzip[..gzip.len() - 1], ""),
    ];
    for (tail, reason) in cases {
        let refusal = refusal([&gzip, tail].concat());
        let expected = "the layer's gzip data is broken; publish the image again: ";
        assert!(refusal.starts_with(&format!("{expected}{reason}")), "{}: {refusal}", tail.len());
    }
    for tail in [b"junk".as_slice(), &[0; 512], &zstd[..1], &zstd[..3], &zstd[..20]] {
        let refusal = refusal([&zstd, tail].concat());
        assert!(refusal.starts_with("the layer's zstd data is broken; publish the"), "{refusal}");
    }
}

#[test]
fn other_compressions_are_named() {
    let cases = [("BZh91AY&SY", "bzip2"), ("\u{fd}7zXZ", "xz")];
    assert!(
        refusal(cases[0].0.as_bytes())
            .starts_with("the layer is compressed with bzip2; a layer is")
    );
    assert!(
        refusal(b"\xfd7zXZ\0\0\x04".as_slice())
            .starts_with("the layer is compressed with xz; a layer")
    );
    assert!(
        refusal(b"neither tar nor compressed".as_slice()).starts_with("the layer's tar ends early")
    );
    assert!(refusal("text ".repeat(200)).starts_with("no tar header at byte 0"));
}

#[test]
fn cut_anywhere_is_an_error() {
    let tar = sample();
    let blobs = [
        ("gzip", gzip(&tar)),
        ("gzip members", [gzip(&tar[..700]), gzip(&tar[700..])].concat()),
        ("zstd", zstd(&tar)),
        ("zstd frames", [zstd(&tar[..700]), zstd(&tar[700..])].concat()),
        ("zstd skippable", [zstd(&tar), skippable(b"index")].concat()),
    ];
    for (name, blob) in blobs {
        // Nothing at all is an empty layer, and a frame that may be skipped may be absent.
        let whole = zstd(&tar).len();
        for length in 1..blob.len() {
            if name == "zstd skippable" && length == whole {
                continue;
            }
            let result = items(&blob[..length]);
            assert!(result.is_err(), "{name} cut at {length}: {result:?}");
        }
    }
}

/// A flipped bit is an error, unless it is one of the few that do not matter (time and name in a gzip header,
/// a larger zstd window): then the content is complete.
#[test]
fn a_flipped_bit_never_changes_content() {
    let tar = sample();
    let expected = drain(open(tar.clone()).unwrap()).unwrap();
    for (name, blob, harmless) in [("gzip", gzip(&tar), 40 * 8), ("zstd", zstd(&tar), 8 * 8)] {
        let mut unseen = 0;
        for at in 0..blob.len() {
            for bit in 0..8 {
                let mut bad = blob.clone();
                bad[at] ^= 1 << bit;
                if let Ok(got) = open(bad).and_then(drain) {
                    assert!(got == expected, "{name}: bit {bit} of byte {at}");
                    unseen += 1;
                }
            }
        }
        assert!(unseen <= harmless, "{name}: {unseen} flips were not seen");
    }
}

/// Gives bytes, and then an error again and again.
struct Failing(Cursor<Vec<u8>>);

#[derive(Debug, thiserror::Error)]
#[error("digest mismatch")]
struct Mismatch;

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::InvalidData, Mismatch)),
            count => Ok(count),
        }
    }
}

fn is_mismatch(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()).is_some()
}

/// The blob's reader reports a wrong digest at its end: the error must come out unchanged, wherever the end
/// is, and nothing may succeed after it.
#[test]
fn errors_of_the_blob_pass_through() {
    let tar = sample();
    for (name, blob) in [("plain", tar.clone()), ("gzip", gzip(&tar)), ("zstd", zstd(&tar))] {
        for length in (0..=blob.len()).rev().step_by(3) {
            let failing = Failing(Cursor::new(blob[..length].to_vec()));
            let result = LayerReader::new(failing, Limits::default()).and_then(LayerReader::finish);
            match result {
                Err(Error::Read(error)) if is_mismatch(&error) => {}
                other => panic!("{name} after {length} bytes: {other:?}"),
            }
        }
    }
}

/// Damage first shows as broken compression or a broken tar. What counts is the error of the blob's reader,
/// with the expected and the actual digest.
#[test]
fn the_blobs_reader_explains_damage() {
    let tar = sample();
    for (name, blob) in [("plain", tar.clone()), ("gzip", gzip(&tar)), ("zstd", zstd(&tar))] {
        for at in 0..blob.len() {
            let mut bad = blob.clone();
            bad[at] ^= 1 << (at % 8);
            let failing = Failing(Cursor::new(bad));
            let result = LayerReader::new(failing, Limits::default()).and_then(LayerReader::finish);
            match result {
                Err(Error::Read(error)) if is_mismatch(&error) => {}
                Err(Error::Path { .. } | Error::Link { .. } | Error::Root { .. }) => {}
                other => panic!("{name}, byte {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn errors_of_the_blob_pass_through_content() {
    let tar = sample();
    let mut reader =
        LayerReader::new(Failing(Cursor::new(tar[..2000].to_vec())), Limits::default()).unwrap();
    reader.next_entry().unwrap();
    reader.next_entry().unwrap();
    let error = reader.content().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(is_mismatch(&error), "{error:?}");
    assert!(matches!(reader.next_entry(), Err(Error::Failed)));
    assert!(matches!(reader.finish(), Err(Error::Failed)));
}

/// Interruptions and short reads are not errors and change nothing.
struct Stuttering {
    blob: Cursor<Vec<u8>>,
    interrupt: bool,
}

impl Read for Stuttering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = buffer.len().min(7);
        self.blob.read(&mut buffer[..length])
    }
}

#[test]
fn interruptions_and_short_reads() {
    let tar = sample();
    let expected = drain(open(tar.clone()).unwrap()).unwrap();
    for blob in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let stuttering = Stuttering { blob: Cursor::new(blob), interrupt: false };
        let got = LayerReader::new(stuttering, Limits::default()).and_then(drain).unwrap();
        assert_eq!(got, expected);
    }
}

/// An endless blob that reports when it is dropped.
struct Endless(Arc<AtomicBool>);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(0);
        Ok(buffer.len())
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn the_thread_ends_with_its_reader() {
    let dropped = Arc::new(AtomicBool::new(false));
    let mut reader = LayerReader::new(Endless(Arc::clone(&dropped)), Limits::default()).unwrap();
    assert!(reader.next_entry().unwrap().is_none());
    assert!(!dropped.load(Ordering::Acquire));
    drop(reader);
    let start = Instant::now();
    while !dropped.load(Ordering::Acquire) {
        assert!(start.elapsed() < Duration::from_secs(20), "the thread still runs");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Panicking(Cursor<Vec<u8>>);

impl Read for Panicking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => panic!("a fault of the blob's reader, made on purpose"),
            count => Ok(count),
        }
    }
}

/// A thread that dies is not the end of a blob.
#[test]
fn a_panic_is_an_error() {
    let blob = Panicking(Cursor::new(sample()));
    let result = LayerReader::new(blob, Limits::default()).unwrap().finish();
    assert!(matches!(result, Err(Error::Read(_))), "{result:?}");
}
