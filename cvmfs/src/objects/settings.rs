//! How content is stored, and what that may take.

use crate::compression::Compression;
use crate::hash::Algorithm;

use super::chunking::Chunking;

/// How content is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The hash that names new objects.
    pub algorithm: Algorithm,
    /// How file content is compressed.
    pub compression: Compression,
    /// Where large files are cut. Without it only files over 16 MiB are, because nothing larger is held in memory.
    pub chunking: Option<Chunking>,
    /// Threads that hash and compress, at least 1.
    pub threads: usize,
    /// Bytes that content may take in memory, compressed or not. A quarter of it is the limit for chunks.
    pub memory: u64,
}

/// The memory of [`Settings::default`], in bytes: three chunks of the largest default size, and their compressed
/// form.
const MEMORY: u64 = 96 << 20;

impl Default for Settings {
    /// What the stock server does, on all processors and in 96 MiB.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            compression: Compression::default(),
            chunking: Some(Chunking::default()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory: MEMORY,
        }
    }
}
