//! The content of a file in a store.

use std::io::Read;

/// The content of one file.
pub(super) struct Section {
    pub(super) reader: Box<dyn Read + Send>,
    /// In bytes.
    pub(super) size: u64,
}
