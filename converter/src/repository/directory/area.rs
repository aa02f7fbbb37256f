//! The staging area of one transaction: what is prepared, and how its trees are reached.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use layer_layout::{RepositoryPath, path};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{self, Fresh, Refusal};
use super::beneath::{Beneath, indirect, split};
use super::lock::{self, Lock};
use super::remove::remove;
use super::shortfall::Tally;
use crate::layer::LayerPath;
use crate::repository::{EntryError, Error, Result};

/// What a transaction puts at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemKind {
    /// A tree, whose path contains a digest. One that is already published there is equivalent.
    Tree,
    /// A file or a symlink, which replaces any that is published there.
    Small,
}

/// Something prepared.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) path: RepositoryPath,
    pub(super) kind: ItemKind,
    /// Whether it is complete. What is incomplete when the transaction ends is removed.
    pub(super) ready: bool,
}

/// A directory whose mode keeps even its owner (who is not root) from reading it, and which has been opened
/// up for the duration of the transaction: the tree, the path in it, and the mode to restore.
type Opened = (Arc<Beneath>, Vec<u8>, u32);

/// The staging area, with the lock that protects it. Dropping it removes its content.
#[derive(Debug)]
pub(super) struct Area {
    pub(super) repository: Beneath,
    pub(super) staging: Beneath,
    /// In the order in which they will appear.
    items: Mutex<Vec<Item>>,
    opened: Mutex<Vec<Opened>>,
    pub(super) tally: Tally,
    pub(super) fresh: Fresh,
    /// Set as soon as the journal decides what happens to the content.
    sealed: AtomicBool,
    lock: Lock,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Area {
    /// Makes an empty staging area; anything that a killed publisher has left there is removed.
    pub(super) fn new(repository: Beneath, lock: Lock) -> Result<Self> {
        let path = path::publisher_staging();
        let bytes = path.as_str().as_bytes();
        let publisher = lock.directory();
        remove(publisher, lock::name(&path)).map_err(repository.failed("remove", bytes))?;
        rustix::fs::mkdirat(publisher, lock::name(&path), Mode::RWXU)
            .map_err(repository.failed("make", bytes))?;
        let staging = repository.beneath(bytes).map_err(repository.failed("open", bytes))?;
        // What is made in here must not inherit a group or an access control list from the repository.
        rustix::fs::fchmod(&staging, Mode::RWXU)
            .map_err(repository.failed("set the mode of", bytes))?;
        match rustix::fs::fremovexattr(&staging, c"system.posix_acl_default") {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(repository.failed("set the access list of", bytes)(error)),
        }
        Ok(Self {
            repository,
            staging,
            items: Mutex::default(),
            opened: Mutex::default(),
            tally: Tally::default(),
            fresh: Fresh::of_this_process(),
            sealed: AtomicBool::new(false),
            lock,
        })
    }

    /// The directory with the staging area and the journal.
    pub(super) fn publisher(&self) -> &OwnedFd {
        self.lock.directory()
    }

    /// From now on the journal decides what happens to the staging area.
    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::Relaxed);
    }

    /// Takes a place in the order of appearance. A path that is prepared again keeps its place.
    pub(super) fn announce(&self, path: &RepositoryPath, kind: ItemKind) {
        let mut items = held(&self.items);
        match items.iter_mut().find(|item| item.path == *path) {
            Some(item) => (item.kind, item.ready) = (kind, false),
            None => items.push(Item { path: path.clone(), kind, ready: false }),
        }
    }

    /// Reports that what was announced is complete.
    pub(super) fn complete(&self, path: &RepositoryPath) {
        held(&self.items)
            .iter_mut()
            .filter(|item| item.path == *path)
            .for_each(|item| item.ready = true);
    }

    /// What is complete, in the order of appearance.
    pub(super) fn complete_items(&self) -> Vec<Item> {
        held(&self.items).iter().filter(|item| item.ready).cloned().collect()
    }

    /// Clears the place of `path` in the staging area and opens the directory that will hold it.
    pub(super) fn place(&self, path: &RepositoryPath) -> Result<OwnedFd> {
        let bytes = path.as_str().as_bytes();
        let (parent, name) = split(bytes);
        self.staging
            .make_directories(parent)
            .and_then(|()| self.staging.directory(parent))
            .and_then(|directory| remove(&directory, name).map(|()| directory))
            .map_err(indirect(&self.staging, path, "prepare"))
    }

    /// Makes the root of a tree that will stand at `path`. Only its owner can enter it until it is complete.
    pub(super) fn new_tree(&self, path: &RepositoryPath) -> Result<Beneath> {
        self.announce(path, ItemKind::Tree);
        let bytes = path.as_str().as_bytes();
        rustix::fs::mkdirat(self.place(path)?, split(bytes).1, Mode::RWXU)
            .and_then(|()| self.staging.beneath(bytes))
            .map_err(self.staging.failed("make", bytes))
    }

    /// Opens a tree that this transaction has prepared.
    pub(super) fn prepared_tree(&self, path: &RepositoryPath) -> Result<Beneath> {
        let ready = held(&self.items).iter().any(|item| item.path == *path && item.ready);
        if !ready {
            return Err(Error::NoTree(path.clone()));
        }
        let bytes = path.as_str().as_bytes();
        self.staging.beneath(bytes).map_err(self.staging.failed("open", bytes))
    }

    /// Opens a tree that is published or prepared.
    pub(super) fn tree(&self, path: &RepositoryPath) -> Result<Arc<Beneath>> {
        let bytes = path.as_str().as_bytes();
        let open = |base: &Beneath| match base.beneath(bytes) {
            Ok(tree) => Ok(Some(Arc::new(tree))),
            Err(Errno::NOENT) => Ok(None),
            // A root whose mode keeps its owner from reading it; `directory` opens it up.
            Err(Errno::ACCESS) => {
                let handle = base.handle(bytes).map_err(indirect(base, path, "open"))?;
                Ok(Some(Arc::new(Beneath::new(handle, base.shown(bytes)))))
            }
            Err(error) => Err(indirect(base, path, "open")(error)),
        };
        if let Some(tree) = open(&self.repository)? {
            return Ok(tree);
        }
        let ready = held(&self.items).iter().any(|item| item.path == *path && item.ready);
        match open(&self.staging)? {
            Some(tree) if ready => Ok(tree),
            _ => Err(Error::NoTree(path.clone())),
        }
    }

    /// Opens a directory of a tree to read it and what is in it. An ordinary user may own directories whose
    /// mode forbids that; such a directory is opened up until the transaction ends. (If the publisher is
    /// killed before, it stays open, which is acceptable: its owner could have set that mode at any time.)
    pub(super) fn directory(
        &self,
        tree: &Arc<Beneath>,
        path: &[u8],
    ) -> rustix::io::Result<OwnedFd> {
        let opened = tree.directory(path);
        if self.fresh.is_privileged() {
            return opened;
        }
        let mode = match &opened {
            Ok(fd) => attributes::mode_of(&rustix::fs::fstat(fd)?),
            Err(Errno::ACCESS) => attributes::mode_of(&tree.stat(path)?),
            Err(_) => return opened,
        };
        if mode & 0o500 == 0o500 {
            return opened;
        }
        chmod(tree, path, mode | 0o700)?;
        held(&self.opened).push((tree.clone(), path.to_vec(), mode));
        tree.directory(path)
    }

    /// The mode of a directory before it was opened up.
    pub(super) fn original_mode(&self, tree: &Arc<Beneath>, path: &[u8], mode: u32) -> u32 {
        let opened = held(&self.opened);
        let found = opened.iter().find(|(of, at, _)| Arc::ptr_eq(of, tree) && at == path);
        found.map_or(mode, |(_, _, mode)| *mode)
    }

    /// Restores the modes of the directories that were opened up, in reverse order.
    pub(super) fn close_opened(&self) -> Result<()> {
        for (tree, path, mode) in held(&self.opened).drain(..).rev() {
            chmod(&tree, &path, mode).map_err(tree.failed("restore the mode of", &path))?;
        }
        Ok(())
    }
}

/// Sets the mode of a directory, even of one that cannot be opened.
fn chmod(tree: &Beneath, path: &[u8], mode: u32) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    if path.is_empty() {
        use std::os::fd::{AsFd, AsRawFd};
        let fd = tree.as_fd().as_raw_fd();
        return rustix::fs::chmod(format!("/proc/self/fd/{fd}"), mode);
    }
    let (parent, name) = split(path);
    rustix::fs::chmodat(tree.handle(parent)?, name, mode, AtFlags::empty())
}

impl Drop for Area {
    fn drop(&mut self) {
        // Errors cannot be reported here, and the next publisher removes what is left.
        let _ = self.close_opened();
        if !self.sealed.load(Ordering::Relaxed) {
            let _ = remove(self.publisher(), lock::name(&path::publisher_staging()));
        }
    }
}

/// Flags to create a file that must not exist.
pub(super) const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The error for an attribute that could not be set on something beneath `tree`.
pub(super) fn refused<'a>(
    tree: &'a Beneath,
    path: &'a [u8],
) -> impl FnOnce(Refusal) -> Error + use<'a> {
    move |refusal| match refusal {
        Refusal::System(action, cause) => tree.failed(action, path)(cause),
        Refusal::Xattr(text) => match LayerPath::clean(path) {
            Ok(path) => Error::entry(&path, EntryError::Xattr(text)),
            Err(_) => tree.failed("set extended attributes of", path)(Errno::OPNOTSUPP),
        },
    }
}
