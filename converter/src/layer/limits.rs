//! Bounds against decompression bombs.

/// The most that a layer may ask for. Exceeding a limit is an error, before anything of that size is
/// allocated or handed out.
///
/// The defaults are far above what real images need. They keep a small hostile blob from filling a disk or
/// keeping a converter busy for days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Number of entries of the tar, dropped ones included.
    pub entries: u64,
    /// Size of one file in bytes, holes included.
    pub file_size: u64,
    /// Size of the uncompressed tar stream in bytes, and also of all files together, holes included (the
    /// holes of sparse files take no bytes of the tar).
    pub unpacked_size: u64,
    /// Number of components of a path.
    pub path_depth: usize,
    /// Size of one PAX header, GNU long name, or sparse map in bytes. No more than this is held in memory at
    /// once. Go's `archive/tar`, and so every container engine, accepts 1 MiB.
    pub header_size: u64,
    /// Binary logarithm of the window size, and so of the memory in bytes, that a zstd frame may ask for. 26
    /// (64 MiB) keeps three layers at a time below 256 MiB; zstd itself asks for 8 MiB at its level 19, and
    /// for more only with `--ultra` or `--long`.
    pub zstd_window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000_000,
            file_size: 256 << 30,
            unpacked_size: 1 << 40,
            path_depth: 512,
            header_size: 1 << 20,
            zstd_window_log: 26,
        }
    }
}
