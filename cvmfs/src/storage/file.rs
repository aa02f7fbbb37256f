//! Files of a storage: those that a listing finds, and versions of those that can be replaced.

use std::time::SystemTime;

use crate::hash::Algorithm;

/// A file that [`Storage::list`](super::Storage::list) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where, relative to the storage: `data/ab/cdef…`. Bytes of a name that are not UTF-8 are
    /// replaced; such a file is not an object anyway.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was put there.
    pub modified: SystemTime,
}

/// The state of a file that can be replaced. Two states with equal versions have equal content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub(super) String);

/// What must be there when a file is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Any,
    /// Nothing.
    Absent,
    /// The version that was read.
    Version(Version),
}

impl Version {
    /// The version of a file whose storage does not say.
    pub(super) const UNKNOWN: Self = Self(String::new());

    /// The version that an entity tag stands for.
    pub(super) fn from_tag(tag: Option<String>) -> Self {
        tag.map_or(Self::UNKNOWN, Self)
    }

    /// The version of content in a storage that has no versions of its own.
    pub(super) fn of(content: &[u8]) -> Self {
        Self(Algorithm::Shake128.hash(content).to_string())
    }
}
