//! Layers whose content resembles that of real images and is the same in every run.

use std::io::Read;
use std::path::Path;

use anyhow::Result;
use flate2::read::MultiGzDecoder;
use harness::image::{Compression, Content, Entry, Kind, Layer, LayerBuilder, LongNames};

const MIB: u64 = 1 << 20;

/// The mixed tree: the number of files, and their smallest and largest size in bytes. 2 GiB in all.
const MIXED: [(u32, u64, u64); 6] = [
    (20_000, 1, 4 << 10),
    (10_000, 4 << 10, 64 << 10),
    (1_000, 64 << 10, MIB),
    (40, MIB, 16 * MIB),
    (4, 64 * MIB, 64 * MIB),
    (2, 256 * MIB, 256 * MIB),
];

/// What a file's bytes are like.
#[derive(Debug, Clone, Copy)]
enum Texture {
    /// Words, some of them much more frequent than others. Compresses to a quarter.
    Text,
    /// Similar records of eight bytes, like machine code. Compresses to half.
    Binary,
    /// Like data that is already compressed.
    Noise,
}

/// Of five files two are text, two are binary and one is noise.
const TEXTURES: [Texture; 5] =
    [Texture::Text, Texture::Binary, Texture::Noise, Texture::Text, Texture::Binary];

/// Makes content.
struct Writer {
    random: fastrand::Rng,
    words: Vec<Vec<u8>>,
    records: Vec<[u8; 8]>,
}

impl Writer {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let words = (0..4000)
            .map(|_| {
                (0..random.usize(2..10)).map(|_| random.u8(b'a'..=b'z')).chain([b' ']).collect()
            })
            .collect();
        let records = (0..1000).map(|_| random.u64(..).to_le_bytes()).collect();
        Self { random, words, records }
    }

    /// A random index below `len`; low ones are more frequent.
    fn rank(&mut self, len: usize) -> usize {
        let uniform = self.random.f64();
        ((uniform * uniform * uniform * len as f64) as usize).min(len - 1)
    }

    fn bytes(&mut self, texture: Texture, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + 16);
        match texture {
            Texture::Text => {
                while bytes.len() < size {
                    let rank = self.rank(self.words.len());
                    bytes.extend_from_slice(&self.words[rank]);
                }
            }
            Texture::Binary => {
                while bytes.len() < size {
                    let rank = self.rank(self.records.len());
                    let [operation @ .., low, high] = self.records[rank];
                    bytes.extend_from_slice(&operation);
                    let varied = if self.random.bool() {
                        self.random.u16(..).to_le_bytes()
                    } else {
                        [low, high]
                    };
                    bytes.extend_from_slice(&varied);
                }
            }
            Texture::Noise => {
                bytes.resize(size, 0);
                self.random.fill(&mut bytes);
            }
        }
        bytes.truncate(size);
        bytes
    }
}

/// Files of 4 KiB, two thirds text and one third noise, a hundred to a directory.
pub(crate) fn small_files(dir: &Path, count: u32) -> Result<Layer> {
    const SIZE: usize = 4 << 10;
    let mut writer = Writer::new(4);
    let mut layer = LayerBuilder::new(dir, Compression::Gzip, LongNames::Pax)?;
    layer.append(&Entry::dir("data"))?;
    for number in 0..count {
        if number % 100 == 0 {
            layer.append(&Entry::dir(format!("data/{:03}", number / 100)))?;
        }
        let mut bytes = writer.bytes(Texture::Text, SIZE * 2 / 3);
        bytes.extend(writer.bytes(Texture::Noise, SIZE - bytes.len()));
        layer.append(&Entry::file(format!("data/{:03}/{number:06}", number / 100), bytes))?;
    }
    layer.finish()
}

/// Files of all sizes and textures, a hundred to a directory.
pub(crate) fn mixed_tree(dir: &Path) -> Result<Layer> {
    let mut writer = Writer::new(2);
    let mut files = Vec::new();
    for (count, from, to) in MIXED {
        for number in 0..count {
            files.push((writer.random.u64(from..=to), TEXTURES[number as usize % TEXTURES.len()]));
        }
    }
    writer.random.shuffle(&mut files);
    let mut layer = LayerBuilder::new(dir, Compression::Gzip, LongNames::Pax)?;
    layer.append(&Entry::dir("tree"))?;
    for (number, (size, texture)) in files.into_iter().enumerate() {
        let parent = format!("tree/{:03}", number / 100);
        if number % 100 == 0 {
            layer.append(&Entry::dir(parent.as_str()))?;
        }
        let bytes = writer.bytes(texture, usize::try_from(size)?);
        layer.append(&Entry::file(format!("{parent}/{number:05}"), bytes))?;
    }
    layer.finish()
}

/// Directories of files whose content no other `seed` yields.
pub(crate) fn distinct(
    dir: &Path,
    seed: u64,
    directories: u32,
    files: u32,
    size: usize,
) -> Result<Layer> {
    let mut writer = Writer::new(seed);
    let mut layer = LayerBuilder::new(dir, Compression::Gzip, LongNames::Pax)?;
    for directory in 0..directories {
        let parent = format!("opt-{seed}/{directory:03}");
        if directory == 0 {
            layer.append(&Entry::dir(format!("opt-{seed}")))?;
        }
        layer.append(&Entry::dir(parent.as_str()))?;
        for file in 0..files {
            let mut bytes = seed.to_le_bytes().to_vec();
            bytes.extend(writer.bytes(Texture::Text, size));
            layer.append(&Entry::file(format!("{parent}/{file:04}"), bytes))?;
        }
    }
    layer.finish()
}

/// The same files in another layer: one more entry precedes them.
pub(crate) fn repacked(dir: &Path, layer: &Layer, number: usize) -> Result<Layer> {
    /// A multiple of the tar block size.
    const PIECE: usize = 1 << 20;
    let mut builder = LayerBuilder::new(dir, Compression::Gzip, LongNames::Pax)?;
    builder.append(&Entry::file(format!("repacked-{number}"), ""))?;
    let mut tar = MultiGzDecoder::new(layer.blob.open()?);
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        tar.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return builder.finish();
        }
        builder.append(&Entry::new("", Kind::Raw(piece)))?;
    }
}

/// A layer of a million entries or so, and a small one above it.
pub(crate) struct TallAndFlat {
    pub(crate) large: Layer,
    pub(crate) small: Layer,
    /// Entries of the merged root.
    pub(crate) seen: u64,
}

impl TallAndFlat {
    /// How many different contents the files have.
    const CONTENTS: u64 = 1_000;
    /// How many directories the small layer changes, with ten entries for each.
    const TOUCHED: u64 = 100;

    /// The large layer has `entries` entries, at least 10,000: a fiftieth are directories, more than a tenth are files
    /// in a single directory, and the others are spread evenly. The small one changes, adds and removes three files in
    /// each of a hundred directories.
    pub(crate) fn build(dir: &Path, entries: u64) -> Result<Self> {
        let directories = entries / 50;
        let outer = directories.div_ceil(100);
        let spread = entries - entries / 10 - 2 - outer - directories;
        let files = spread / directories;
        let crowd = entries - 2 - outer - directories * (1 + files);

        let mut large = LayerBuilder::new(dir, Compression::Gzip, LongNames::Pax)?;
        large.append(&Entry::dir("crowd"))?;
        for number in 0..crowd {
            large.append(&tiny(format!("crowd/{number:06}"), number))?;
        }
        large.append(&Entry::dir("tree"))?;
        for directory in 0..directories {
            if directory % 100 == 0 {
                large.append(&Entry::dir(format!("tree/{:03}", directory / 100)))?;
            }
            let parent = directory_path(directory);
            large.append(&Entry::dir(parent.as_str()))?;
            for number in 0..files {
                large.append(&tiny(format!("{parent}/{number:04}"), directory + number))?;
            }
        }

        let mut small = LayerBuilder::new(dir, Compression::Gzip, LongNames::Pax)?;
        for touched in 0..Self::TOUCHED {
            let parent = directory_path(touched * (directories / Self::TOUCHED));
            small.append(&Entry::dir(parent.as_str()).mode(0o750))?;
            for number in 0..3 {
                small.append(&tiny(format!("{parent}/{number:04}"), touched).mode(0o600))?;
                small.append(&tiny(format!("{parent}/new-{number}"), touched))?;
                small.append(&Entry::whiteout(format!("{parent}/{:04}", 4 + number)))?;
            }
        }
        // As many are added as are removed.
        Ok(Self { large: large.finish()?, small: small.finish()?, seen: entries })
    }
}

/// The path of a directory of the large layer, by its number.
fn directory_path(directory: u64) -> String {
    format!("tree/{:03}/{directory:05}", directory / 100)
}

/// An empty file, or one with one of a few short contents.
fn tiny(path: String, number: u64) -> Entry {
    let content = number % TallAndFlat::CONTENTS;
    let bytes = if content == 0 { String::new() } else { format!("content {content}\n") };
    Entry::new(path, Kind::File(Content::Bytes(bytes.into_bytes().into())))
}
