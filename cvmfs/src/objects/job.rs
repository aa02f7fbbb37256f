//! One piece of content that waits for a worker.

use std::sync::Arc;

use bytes::Bytes;

use super::budget::Reservation;
use super::index::Key;
use super::part::Part;

/// A file or a chunk of one.
pub(super) struct Job {
    pub(super) content: Bytes,
    /// Where the result goes. If the job is dropped, the upload that waits for it fails.
    pub(super) part: Part,
    /// The memory of the content and of what it becomes. Jobs that came together share it.
    pub(super) memory: Arc<Reservation>,
    /// The key that the index did not know.
    pub(super) unknown: Option<Key>,
}

impl Job {
    pub(super) fn new(content: Bytes, part: Part, memory: Arc<Reservation>) -> Self {
        Self { content, part, memory, unknown: None }
    }
}
