//! How catalogs refer to each other.

use crate::hash::ContentHash;
use crate::path::TreePath;

use super::counters::Counters;

/// A catalog that is mounted in another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestedRef {
    /// Its mountpoint.
    pub path: TreePath,
    /// Its object.
    pub hash: ContentHash,
    /// Bytes of its uncompressed database; 0 if its parent does not say.
    pub size: u64,
}

/// A catalog that has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogRef {
    /// Its object.
    pub hash: ContentHash,
    /// Bytes of its database.
    pub size: u64,
    /// What it and the catalogs below it hold.
    pub counters: Counters,
}
