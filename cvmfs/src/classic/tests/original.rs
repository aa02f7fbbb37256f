//! Our streams beside those of the original zlib.
//!
//! What reaches it without `unsafe` is Debian's Python, in which it is built in; `flate2` is zlib-rs in this workspace,
//! which writes other streams. The program gets the whole corpus at once.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use super::super::zlib;
use super::corpus;

/// Not the first of `PATH`: only of Debian's own is it known which zlib it has.
const PYTHON: &str = "/usr/bin/python3";

/// Texts come and streams go, each behind its length in four bytes; the first that goes is zlib's version.
const COMPRESS: &str = r#"
import sys, zlib

def put(data):
    sys.stdout.buffer.write(len(data).to_bytes(4, "little") + data)

texts, at = sys.stdin.buffer.read(), 0
put(zlib.ZLIB_RUNTIME_VERSION.encode())
while at < len(texts):
    length, at = int.from_bytes(texts[at:at + 4], "little"), at + 4
    put(zlib.compress(texts[at:at + length], 6))
    at += length
"#;

#[test]
fn streams_are_those_of_the_original() {
    let texts = corpus::texts();
    assert!(texts.len() > 5000, "{} texts", texts.len());
    let mut streams = original(texts.iter().map(|(_, text)| text.as_slice())).into_iter();
    let version = String::from_utf8(streams.next().expect("a version")).unwrap();
    // Others that take its place add their name.
    assert!(
        version.starts_with("1.") && version.bytes().all(|b| b == b'.' || b.is_ascii_digit()),
        "{PYTHON} has the zlib {version:?}, not the original"
    );
    assert_eq!(streams.len(), texts.len());
    for ((name, text), original) in texts.iter().zip(streams) {
        let ours = zlib(text, name).unwrap();
        assert!(ours == original, "{name}: {} bytes, unlike zlib {version}", text.len());
    }
}

/// What the original makes of texts, and before that its version.
fn original<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut input = tempfile::NamedTempFile::new().unwrap();
    for text in texts {
        input.write_all(&u32::try_from(text.len()).unwrap().to_le_bytes()).unwrap();
        input.write_all(text).unwrap();
    }
    let output = Command::new(PYTHON)
        // Neither the user's settings nor any module but those that are built in.
        .args(["-I", "-S", "-c", COMPRESS])
        .stdin(File::open(input.path()).unwrap())
        .output()
        .unwrap_or_else(|error| panic!("{PYTHON}: {error}: run `cargo xtask packages`"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = output.stdout.as_slice();
    let mut streams = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (stream, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        streams.push(stream.to_vec());
        rest = behind;
    }
    streams
}
