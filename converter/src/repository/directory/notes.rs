//! What the file system does not tell about the directories of a layer that is being unpacked.
//!
//! Directories are few beside files, so they are kept in memory: their attributes wait for the end (their
//! content would change the time, and a strict mode would lock us out), and so do marks that concern the
//! layers below. Files are not kept: whether a name is taken is what the kernel answers anyway.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::layer::Metadata;
use crate::repository::layer_rules::Marks;

/// How many directories are kept open. A tar comes directory by directory, so a few would do.
const OPEN: usize = 64;

/// Names a directory as long as it is there; never used for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct DirectoryId(u64);

impl DirectoryId {
    pub(super) const ROOT: Self = Self(0);
}

/// Notes on one directory of the layer.
#[derive(Debug, Default)]
pub(super) struct DirectoryNotes {
    /// From the last entry that describes it; `None` if only its content implies it.
    pub(super) described: Option<Metadata>,
    /// Whether nothing of the lower layers is seen in it.
    pub(super) opaque: bool,
    /// Names that entries remove from the lower layers.
    pub(super) removed: BTreeSet<Vec<u8>>,
    pub(super) subdirectories: BTreeMap<Vec<u8>, DirectoryId>,
    open: Option<Arc<OwnedFd>>,
}

impl DirectoryNotes {
    pub(super) fn marks(&self) -> Marks {
        Marks { described: self.described.is_some(), opaque: self.opaque }
    }
}

/// The directories of a layer.
#[derive(Debug)]
pub(super) struct Directories {
    directories: HashMap<DirectoryId, DirectoryNotes>,
    next: u64,
    /// Those that are open, the first opened first.
    open: VecDeque<DirectoryId>,
}

const REMOVED: &str = "a directory is not used after it was removed";

impl Directories {
    /// A layer with nothing but its root.
    pub(super) fn new() -> Self {
        Self {
            directories: HashMap::from([(DirectoryId::ROOT, DirectoryNotes::default())]),
            next: 1,
            open: VecDeque::new(),
        }
    }

    pub(super) fn get(&self, id: DirectoryId) -> &DirectoryNotes {
        self.directories.get(&id).expect(REMOVED)
    }

    pub(super) fn get_mut(&mut self, id: DirectoryId) -> &mut DirectoryNotes {
        self.directories.get_mut(&id).expect(REMOVED)
    }

    pub(super) fn find(&self, parent: DirectoryId, name: &[u8]) -> Option<DirectoryId> {
        self.get(parent).subdirectories.get(name).copied()
    }

    pub(super) fn insert(
        &mut self,
        parent: DirectoryId,
        name: &[u8],
        described: Option<Metadata>,
    ) -> DirectoryId {
        let id = DirectoryId(self.next);
        self.next += 1;
        self.directories.insert(id, DirectoryNotes { described, ..DirectoryNotes::default() });
        self.get_mut(parent).subdirectories.insert(name.to_vec(), id);
        id
    }

    /// Forgets a directory and all in it. Tells whether it was known.
    pub(super) fn remove(&mut self, parent: DirectoryId, name: &[u8]) -> bool {
        let Some(id) = self.get_mut(parent).subdirectories.remove(name) else { return false };
        let mut gone = vec![id];
        while let Some(id) = gone.pop() {
            if let Some(directory) = self.directories.remove(&id) {
                gone.extend(directory.subdirectories.into_values());
            }
        }
        self.open.retain(|id| self.directories.contains_key(id));
        true
    }

    /// The handle of a directory that is open.
    pub(super) fn opened(&self, id: DirectoryId) -> Option<Arc<OwnedFd>> {
        self.get(id).open.clone()
    }

    /// Keeps a handle; the oldest is given up for it.
    pub(super) fn keep_open(&mut self, id: DirectoryId, handle: Arc<OwnedFd>) {
        if self.open.len() == OPEN
            && let Some(oldest) = self.open.pop_front()
        {
            self.get_mut(oldest).open = None;
        }
        self.get_mut(id).open = Some(handle);
        self.open.push_back(id);
    }
}
