//! What a store gives for a name.

use std::io::Read;

/// The content of one file.
pub(super) struct Section {
    pub(super) reader: Box<dyn Read + Send>,
    /// In bytes.
    pub(super) size: u64,
}
