//! One piece of content that waits for a worker.

use std::sync::Arc;

use bytes::Bytes;

use super::budget::Reservation;
use super::index::Key;
use super::part::Part;

/// A file or a chunk of one.
pub(super) struct Job {
    pub(super) content: Bytes,
    /// Where the result goes. If the job is dropped, whoever waits for it is told.
    pub(super) part: Part,
    /// The memory of the content and of what it becomes; that of other jobs, too, if they came together.
    pub(super) memory: Arc<Reservation>,
    /// What the index was asked for, in vain.
    pub(super) unknown: Option<Key>,
}

impl Job {
    pub(super) fn new(content: Bytes, part: Part, memory: Arc<Reservation>) -> Self {
        Self { content, part, memory, unknown: None }
    }
}
