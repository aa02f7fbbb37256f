//! The staging area of one transaction: what is prepared, and how its trees are reached.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use layer_layout::{RepositoryPath, path};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{self, Fresh, Refusal};
use super::beneath::{Beneath, indirect, set_directory_mode, set_mode_of_handle, split};
use super::guard::{self, Exposure};
use super::lock::{self, Lock};
use super::moves::{self, look};
use super::remove::remove;
use super::shortfall::Tally;
use crate::layer::LayerPath;
use crate::repository::ledger::{Announcement, Ledger};
use crate::repository::{EntryError, Error, Privilege, Result};

/// What a transaction puts at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemKind {
    /// A tree, whose path contains a digest. One that is already published there is equivalent.
    Tree,
    /// A file or a symlink, which replaces any that is published there.
    Small,
}

/// A directory whose mode keeps even its owner (who is not root) from reading it, and which has been opened
/// up for the duration of the transaction: the tree, the path in it, and the mode to restore.
type Opened = (Arc<Beneath>, Vec<u8>, u32);

/// The staging area, with the lock that protects it. Dropping it removes its content.
#[derive(Debug)]
pub(super) struct Area {
    pub(super) repository: Beneath,
    pub(super) staging: Beneath,
    ledger: Mutex<Ledger<ItemKind>>,
    /// Held by those who put something at a path of the staging area, and exclusively while things are moved from there.
    gate: RwLock<()>,
    opened: Mutex<Vec<Opened>>,
    /// How many things were moved aside.
    asides: AtomicU64,
    pub(super) tally: Tally,
    pub(super) fresh: Fresh,
    /// What other users of the machine could do with files of images.
    pub(super) exposure: Exposure,
    /// Set as long as the journal decides what happens to the content.
    sealed: AtomicBool,
    lock: Lock,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Area {
    /// Makes an empty staging area; anything that a killed publisher has left there is removed.
    pub(super) fn new(repository: Beneath, lock: Lock) -> Result<Self> {
        let publisher = lock.directory();
        for path in [path::publisher_staging(), path::publisher_removed()] {
            remove(publisher, lock::name(&path))
                .map_err(repository.failed("remove", path.as_str().as_bytes()))?;
        }
        let path = path::publisher_staging();
        let bytes = path.as_str().as_bytes();
        rustix::fs::mkdirat(publisher, lock::name(&path), Mode::RWXU)
            .map_err(repository.failed("make", bytes))?;
        let staging =
            guard::staging(&repository, publisher).map_err(repository.failed("open", bytes))?;
        guard::check_own(&repository, &path, &staging, FileType::Directory)?;
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
            ledger: Mutex::default(),
            gate: RwLock::default(),
            opened: Mutex::default(),
            asides: AtomicU64::new(0),
            tally: Tally::default(),
            fresh: Fresh::of_this_process(),
            exposure: Exposure::default(),
            sealed: AtomicBool::new(false),
            lock,
        })
    }

    /// The same for a directory that other users of the machine can get at.
    pub(super) fn exposed(mut self, exposure: Exposure) -> Self {
        self.exposure = exposure;
        self
    }

    /// Checks that a file of an image may be published if it gives others this privilege.
    pub(super) fn admit(&self, path: &LayerPath, privilege: Option<Privilege>) -> Result<()> {
        privilege.map_or(Ok(()), |privilege| {
            let (path, repository) = (path.clone(), self.repository.shown(b""));
            Err(Error::Exposed { path, privilege, repository })
        })
    }

    /// The directory with the staging area and the journal.
    pub(super) fn publisher(&self) -> &OwnedFd {
        self.lock.directory()
    }

    /// Sets whether the journal decides what happens to the staging area.
    pub(super) fn seal(&self, sealed: bool) {
        self.sealed.store(sealed, Ordering::Relaxed);
    }

    /// Whether moves that the journal lists have not all been done.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Relaxed)
    }

    /// What is prepared, removed and relied on.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger<ItemKind>> {
        held(&self.ledger)
    }

    /// Keeps publishes away while something is put at a path of the staging area, or looked for.
    pub(super) fn entering(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps everybody else from putting something at a path of the staging area.
    pub(super) fn publishing(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name in the place for what is moved aside that nothing has had.
    pub(super) fn aside(&self) -> u64 {
        self.asides.fetch_add(1, Ordering::Relaxed)
    }

    /// The place for what is moved aside, which is made if it is not there.
    fn removed(&self) -> Result<OwnedFd> {
        let path = path::publisher_removed();
        moves::removed(self.publisher())
            .map_err(self.repository.failed("make", path.as_str().as_bytes()))
    }

    /// Moves something prepared aside, if it is there, and removes the directories in the staging area that are empty
    /// then. Nobody else must be entering. Gives the name that it has now.
    pub(super) fn set_aside(&self, path: &RepositoryPath) -> Result<Option<u64>> {
        let bytes = path.as_str().as_bytes();
        let failed = |error| self.staging.failed("take away", bytes)(error);
        let Some(stat) = look(&self.staging, bytes).map_err(failed)? else { return Ok(None) };
        let (parent, name) = split(bytes);
        let parent = self.staging.handle(parent).map_err(failed)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory && stat.st_mode & 0o200 == 0 {
            set_directory_mode(&parent, name, Mode::RWXU).map_err(failed)?;
        }
        let aside = self.aside();
        rustix::fs::renameat(parent, name, self.removed()?, aside.to_string()).map_err(failed)?;
        let mut above = path.parent();
        while let Some(directory) = above {
            let (parent, name) = split(directory.as_str().as_bytes());
            let parent = self.staging.handle(parent).map_err(failed)?;
            if rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).is_err() {
                break;
            }
            above = directory.parent();
        }
        Ok(Some(aside))
    }

    /// Deletes what was moved aside. What cannot be deleted is left to the next publisher.
    pub(super) fn delete(&self, asides: &[u64]) {
        if asides.is_empty() {
            return;
        }
        let deleted = self.removed().and_then(|removed| {
            for aside in asides {
                let name = aside.to_string();
                let path = [path::publisher_removed().as_str(), &name].join("/");
                remove(&removed, name.as_bytes())
                    .map_err(self.repository.failed("delete", path.as_bytes()))?;
            }
            Ok(())
        });
        if let Err(error) = deleted {
            tracing::warn!("{error}; the next publisher deletes it");
        }
    }

    /// Takes a place in the order of appearance. A path that is prepared again keeps its place.
    pub(super) fn announce(&self, path: &RepositoryPath) -> Announcement {
        self.ledger().announce(path)
    }

    /// Reports that what was announced is complete.
    pub(super) fn complete(&self, announced: &Announcement, kind: ItemKind) {
        self.ledger().complete(announced, kind);
    }

    /// Clears the place of `path` in the staging area and opens the directory that will hold it. The caller is
    /// [entering](Self::entering).
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
    pub(super) fn new_tree(&self, path: &RepositoryPath) -> Result<(Announcement, Beneath)> {
        let _entering = self.entering();
        let announced = self.announce(path);
        let bytes = path.as_str().as_bytes();
        rustix::fs::mkdirat(self.place(path)?, split(bytes).1, Mode::RWXU)
            .and_then(|()| self.staging.beneath(bytes))
            .map(|tree| (announced, tree))
            .map_err(self.staging.failed("make", bytes))
    }

    /// Whether a complete tree is prepared exactly at a path.
    fn has_tree(&self, path: &RepositoryPath) -> bool {
        self.ledger().prepared(path) == Some(&ItemKind::Tree)
    }

    /// Opens a tree that this transaction has prepared.
    pub(super) fn prepared_tree(&self, path: &RepositoryPath) -> Result<Beneath> {
        let _entering = self.entering();
        if !self.has_tree(path) {
            return Err(Error::NoTree(path.clone()));
        }
        let bytes = path.as_str().as_bytes();
        self.staging.beneath(bytes).map_err(self.staging.failed("open", bytes))
    }

    /// Opens a tree that is published or prepared. A published one that is going to be removed or replaced does not
    /// count.
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
        let _entering = self.entering();
        let hidden = self.ledger().hides(path);
        if let (false, Some(tree)) = (hidden, open(&self.repository)?) {
            return Ok(tree);
        }
        match open(&self.staging)? {
            Some(tree) if self.has_tree(path) => Ok(tree),
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
            match chmod(&tree, &path, mode) {
                // The tree has been removed or withdrawn since.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(tree.failed("restore the mode of", &path)(error)),
            }
        }
        Ok(())
    }
}

/// Sets the mode of a directory, even of one that cannot be opened.
fn chmod(tree: &Beneath, path: &[u8], mode: u32) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    if path.is_empty() {
        return set_mode_of_handle(tree, mode);
    }
    let (parent, name) = split(path);
    set_directory_mode(tree.handle(parent)?, name, mode)
}

impl Drop for Area {
    fn drop(&mut self) {
        // Errors cannot be reported here, and the next publisher removes what is left.
        let _ = self.close_opened();
        if !self.is_sealed() {
            for path in [path::publisher_staging(), path::publisher_removed()] {
                let _ = remove(self.publisher(), lock::name(&path));
            }
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
