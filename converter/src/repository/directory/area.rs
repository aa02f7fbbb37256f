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
pub(super) enum Sort {
    /// A tree named by a digest. One that is there already is as good.
    Tree,
    /// A file or a symlink, which replaces what is there.
    Small,
}

/// Something prepared.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) path: RepositoryPath,
    pub(super) sort: Sort,
    /// Whether it is complete. What is not when the transaction ends is removed.
    pub(super) ready: bool,
}

/// A directory that its owner, who is not root, may not look into, made accessible for the time of the
/// transaction: the tree, the path in it, and the mode to restore.
type Opened = (Arc<Beneath>, Vec<u8>, u32);

/// The staging area, with the lock that goes with it. What is in it is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Area {
    pub(super) repository: Beneath,
    pub(super) staging: Beneath,
    /// In the order in which they will appear.
    items: Mutex<Vec<Item>>,
    opened: Mutex<Vec<Opened>>,
    pub(super) tally: Tally,
    pub(super) fresh: Fresh,
    /// Set from the moment on from which the journal decides.
    sealed: AtomicBool,
    lock: Lock,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Area {
    /// Makes an empty staging area; what a killed publisher has left there is removed.
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

    /// The directory of staging area and journal.
    pub(super) fn publisher(&self) -> &OwnedFd {
        self.lock.directory()
    }

    /// From here on the journal says what happens to the staging area.
    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::Relaxed);
    }

    /// Takes a place in the order of appearance. A path that is prepared anew keeps its place.
    pub(super) fn announce(&self, path: &RepositoryPath, sort: Sort) {
        let mut items = held(&self.items);
        match items.iter_mut().find(|item| item.path == *path) {
            Some(item) => (item.sort, item.ready) = (sort, false),
            None => items.push(Item { path: path.clone(), sort, ready: false }),
        }
    }

    /// Says that what was announced is complete.
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

    /// Makes the root of a tree that will stand at `path`. Only its owner can enter until it is complete.
    pub(super) fn new_tree(&self, path: &RepositoryPath) -> Result<Beneath> {
        self.announce(path, Sort::Tree);
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
            // A root that its owner may not read; `directory` knows what to do.
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

    /// Opens a directory of a tree to read it and what is in it. An ordinary user may own directories that
    /// forbid that; such a one is opened up until the transaction ends. (A publisher that is killed before
    /// leaves it so: its owner could have set that mode at any time.)
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

    /// Closes again what was opened up, the last first.
    pub(super) fn close_opened(&self) -> Result<()> {
        for (tree, path, mode) in held(&self.opened).drain(..).rev() {
            chmod(&tree, &path, mode).map_err(tree.failed("restore the mode of", &path))?;
        }
        Ok(())
    }
}

/// Sets the mode of a directory, also of one that cannot be opened.
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
        // Errors have nobody to go to here, and the next publisher removes what is left.
        let _ = self.close_opened();
        if !self.sealed.load(Ordering::Relaxed) {
            let _ = remove(self.publisher(), lock::name(&path::publisher_staging()));
        }
    }
}

/// Flags of a file that must not have been there.
pub(super) const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The error for attributes that could not be set on something beneath `tree`.
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
