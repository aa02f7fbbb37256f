//! Bounds against decompression bombs.

/// What a layer may ask for at most. An excess is an error before anything of that size is allocated or
/// handed out.
///
/// The defaults are far above real images; they are there so that a small hostile blob cannot fill a disk
/// or keep a converter busy for days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the tar, dropped ones included.
    pub entries: u64,
    /// Bytes of one file, holes included.
    pub file_size: u64,
    /// Bytes of the uncompressed tar stream; and also of all files together, holes included (a sparse
    /// file's size costs no bytes of the tar).
    pub unpacked_size: u64,
    /// Components of a path.
    pub path_depth: usize,
    /// Bytes of one PAX header, one GNU long name, or one sparse map. It is all that is ever held in memory
    /// at once; Go's `archive/tar`, and so every container engine, accepts 1 MiB.
    pub header_size: u64,
    /// Binary logarithm of the window, hence the memory in bytes, that a zstd frame may ask for. 26 (64 MiB)
    /// keeps three layers at a time below 256 MiB; zstd itself asks for 8 MiB at its level 19 and for more
    /// only with `--ultra` or `--long`.
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
