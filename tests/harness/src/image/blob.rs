//! Content with a digest: what manifests point at.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A blob and what a descriptor says about it.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Media type.
    pub media_type: String,
    /// `sha256:…`
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

impl Blob {
    /// A small blob in memory.
    pub fn from_bytes(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest_of(&bytes),
            size: bytes.len() as u64,
            source: Source::Bytes(bytes.into()),
        }
    }

    /// A JSON document.
    pub fn from_json(media_type: &str, value: &Value) -> Result<Self> {
        Ok(Self::from_bytes(media_type, serde_json::to_vec_pretty(value)?))
    }

    /// A file whose digest and size are known.
    pub fn from_file(media_type: &str, digest: String, size: u64, file: PathBuf) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, source: Source::File(file) }
    }

    /// The 64 hex digits of the digest.
    pub fn hex(&self) -> &str {
        self.digest.strip_prefix("sha256:").unwrap_or(&self.digest)
    }

    /// Its descriptor, as in a manifest.
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }

    /// The content, to be read once.
    pub fn open(&self) -> Result<Box<dyn Read + Send>> {
        Ok(match &self.source {
            Source::Bytes(bytes) => Box::new(io::Cursor::new(Arc::clone(bytes))),
            Source::File(path) => {
                Box::new(File::open(path).with_context(|| format!("opening {}", path.display()))?)
            }
        })
    }

    /// The whole content.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The content as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.bytes()?)
            .with_context(|| format!("{} is not JSON", self.digest))
    }
}

/// The digest of `bytes`, `sha256:…`.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Counts and hashes what passes through.
pub(super) struct Hashing<W> {
    out: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, hasher: Sha256::new(), size: 0 }
    }

    /// The writer, the digest (`sha256:…`) and the number of bytes.
    pub(super) fn finish(self) -> (W, String, u64) {
        (self.out, format!("sha256:{}", hex::encode(self.hasher.finalize())), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
