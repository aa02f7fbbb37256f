//! What an image is prepared with.

use std::sync::Arc;

use layer_layout::RepositoryPath;

use super::target::Target;
use crate::Result;
use crate::repository::{Repository, SharedTransaction};

/// An image and the transaction that it is prepared in.
#[derive(Clone)]
pub(super) struct Workspace {
    pub(super) transaction: SharedTransaction,
    pub(super) repository: Arc<dyn Repository>,
    pub(super) target: Arc<Target>,
}

impl Workspace {
    /// Whether nothing is published at a path.
    pub(super) fn is_absent(&self, path: &RepositoryPath) -> Result<bool> {
        Ok(self.repository.lookup(path)?.is_none())
    }
}
