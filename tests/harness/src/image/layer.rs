//! Builds a layer blob from entries, streaming them through hash and compressor into a file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::GzBuilder;
use flate2::write::GzEncoder;

use super::blob::{Blob, Hashing};
use super::entry::Entry;
use super::tar_writer::{LongNames, TarWriter};

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// gzip without a time stamp.
    #[default]
    Gzip,
    /// zstd, which only OCI has a media type for.
    Zstd,
    /// Not at all.
    None,
}

/// A finished layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The blob; its media type is OCI's until a manifest gives it another.
    pub blob: Blob,
    /// `sha256:…` of the uncompressed tar.
    pub diff_id: String,
    /// Compression of the blob.
    pub compression: Compression,
    /// Length of the uncompressed tar in bytes.
    pub tar_size: u64,
}

/// A layer that is being built.
#[derive(Debug)]
pub struct LayerBuilder {
    tar: TarWriter<Hashing<Compressor>>,
    compression: Compression,
    file: tempfile::NamedTempFile,
}

enum Compressor {
    Gzip(GzEncoder<Hashing<BufWriter<File>>>),
    Zstd(zstd::Encoder<'static, Hashing<BufWriter<File>>>),
    None(Hashing<BufWriter<File>>),
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl std::fmt::Debug for Hashing<Compressor> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashing")
    }
}

impl LayerBuilder {
    /// Starts a layer whose blob will be in `dir`.
    pub fn new(dir: &Path, compression: Compression, long_names: LongNames) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let file = tempfile::NamedTempFile::new_in(dir)
            .with_context(|| format!("making a file in {}", dir.display()))?;
        let out = Hashing::new(BufWriter::new(file.reopen()?));
        let compressor = match compression {
            // A medium level: images are built often and read once.
            Compression::Gzip => {
                Compressor::Gzip(GzBuilder::new().write(out, flate2::Compression::new(4)))
            }
            Compression::Zstd => Compressor::Zstd(zstd::Encoder::new(out, 3)?),
            Compression::None => Compressor::None(out),
        };
        Ok(Self { tar: TarWriter::new(Hashing::new(compressor), long_names), compression, file })
    }

    /// Appends an entry.
    pub fn append(&mut self, entry: &Entry) -> Result<()> {
        self.tar
            .append(entry)
            .with_context(|| format!("writing {}", String::from_utf8_lossy(&entry.path)))
    }

    /// Finishes the layer; the blob file is named by its digest.
    pub fn finish(self) -> Result<Layer> {
        let (compressor, diff_id, tar_size) = self.tar.finish()?.finish();
        let hashing = match compressor {
            Compressor::Gzip(encoder) => encoder.finish()?,
            Compressor::Zstd(encoder) => encoder.finish()?,
            Compressor::None(out) => out,
        };
        let (mut out, digest, size) = hashing.finish();
        out.flush()?;
        let dir = self.file.path().parent().context("a layer's file has no directory")?;
        let path = dir.join(digest.trim_start_matches("sha256:"));
        self.file.persist(&path)?;
        let media_type = self.compression.oci_type();
        Ok(Layer {
            blob: Blob::from_file(media_type, digest, size, path),
            diff_id,
            compression: self.compression,
            tar_size,
        })
    }
}

impl Compression {
    pub(super) fn oci_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::None => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    pub(super) fn docker_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            Self::Zstd => "application/vnd.docker.image.rootfs.diff.tar.zstd",
            Self::None => "application/vnd.docker.image.rootfs.diff.tar",
        }
    }
}

impl Layer {
    /// A layer of these entries.
    pub fn build(dir: &Path, compression: Compression, entries: &[Entry]) -> Result<Self> {
        let mut builder = LayerBuilder::new(dir, compression, LongNames::Pax)?;
        for entry in entries {
            builder.append(entry)?;
        }
        builder.finish()
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
            Self::None(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
            Self::None(out) => out.flush(),
        }
    }
}
