//! The daemon's root directory.
//!
//! ```text
//! lock                  held by the one daemon that uses this root
//! metadata.db           the records (see `store`)
//! snapshots/<id>/fs     a layer's content or an upper directory; of a remote layer a symbolic link
//! snapshots/<id>/rootfs symbolic link to the merged root file system of a remote chain, if there is one
//! snapshots/<id>/work   overlayfs's work directory; active snapshots only
//! trash/                what is being deleted
//! ```
//!
//! A directory is made before its record and removed after it. So a crash may leave a directory without a record,
//! which [`Directories::sweep`] finds, but never a record without a directory. Nothing here follows a symbolic
//! link; links are only named in the mounts for containerd.

mod removal;
mod usage;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use layer_layout::overlay;
use tracing::{error, warn};

use crate::error::{Error, Result};
use crate::snapshot::{LayerRoot, SnapshotId, Usage};

const SNAPSHOTS: &str = "snapshots";
const TRASH: &str = "trash";
const FS: &str = "fs";
const ROOTFS: &str = "rootfs";
const WORK: &str = "work";

/// Mode of the daemon's own directories. Only root needs to enter them, because root makes the mounts.
const PRIVATE_MODE: u32 = 0o700;
/// Mode of a container's root directory, until an image sets another one.
const UPPER_MODE: u32 = 0o755;
/// Mode of a work directory, as in containerd's overlayfs snapshotter.
const WORK_MODE: u32 = 0o711;

/// How long a daemon waits for the lock and the socket of the one before it. That one's end is not quite the end: a
/// reader process that it was just about to start holds them for a moment, until it runs its own program.
pub(crate) const HANDOVER: Duration = Duration::from_secs(3);

/// The root directory, locked unless it is only looked at.
#[derive(Debug)]
pub struct Directories {
    root: PathBuf,
    next: AtomicI64,
    /// Numbers whose directory may exist before its record does.
    pending: Mutex<HashSet<SnapshotId>>,
    emptying: Mutex<()>,
    _lock: Option<File>,
}

/// What a new snapshot's directory holds.
#[derive(Debug)]
pub enum Content<'a> {
    /// An empty directory `fs`, and a directory `work` if the snapshot is writable.
    Local {
        /// Owner of `fs`.
        uid: u32,
        /// Group of `fs`.
        gid: u32,
        /// Whether the snapshot is writable.
        writable: bool,
    },
    /// Links into a repository.
    Remote {
        /// Absolute path of the layer's directory.
        layer: &'a Path,
        /// Absolute path of the chain's merged root file system, if there is one.
        rootfs: Option<&'a Path>,
    },
}

/// A directory that has no record yet. It is discarded on drop, unless [`keep`](Self::keep) was called.
#[derive(Debug)]
pub struct Pending<'a> {
    directories: &'a Directories,
    id: SnapshotId,
    keep: bool,
}

impl Pending<'_> {
    /// Its number.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// To be called when the record exists.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.keep {
            self.directories.discard(self.id);
        }
        self.directories.pending().remove(&self.id);
    }
}

fn make(path: &Path) -> Result<()> {
    DirBuilder::new().mode(PRIVATE_MODE).create(path).map_err(Error::io("create", path))
}

fn make_all(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(PRIVATE_MODE)
        .recursive(true)
        .create(path)
        .map_err(Error::io("create", path))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(Error::io("set the mode of", path))
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|d| d.sync_all()).map_err(Error::io("write to disk", path))
}

impl Directories {
    /// Locks `root`, and creates it and its directories if they are missing.
    ///
    /// # Errors
    /// [`Error::FailedPrecondition`] if another daemon uses this root.
    pub fn open(root: &Path) -> Result<Self> {
        make_all(root)?;
        let path = root.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let deadline = Instant::now() + HANDOVER;
        let mut locked = lock.try_lock();
        while matches!(locked, Err(TryLockError::WouldBlock)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            locked = lock.try_lock();
        }
        locked.map_err(|error| match error {
            TryLockError::WouldBlock => Error::FailedPrecondition(format!(
                "another cvmfs-snapshotter is using {}: stop it, or give this one another root",
                root.display()
            )),
            TryLockError::Error(error) => Error::io("lock", &path)(error),
        })?;
        make_all(&root.join(SNAPSHOTS))?;
        make_all(&root.join(TRASH))?;
        Ok(Self {
            root: root.to_owned(),
            next: AtomicI64::new(1),
            pending: Mutex::default(),
            emptying: Mutex::default(),
            _lock: Some(lock),
        })
    }

    /// The root directory of a daemon that may be running, to be looked at only. Nothing is made or locked.
    pub fn unlocked(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            next: AtomicI64::new(1),
            pending: Mutex::default(),
            emptying: Mutex::default(),
            _lock: None,
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, HashSet<SnapshotId>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database with the records.
    pub fn database(&self) -> PathBuf {
        self.root.join("metadata.db")
    }

    fn directory(&self, id: SnapshotId) -> PathBuf {
        self.root.join(SNAPSHOTS).join(id.to_string())
    }

    /// `snapshots/<id>/fs`.
    pub fn fs(&self, id: SnapshotId) -> PathBuf {
        self.directory(id).join(FS)
    }

    /// `snapshots/<id>/rootfs`.
    pub fn rootfs(&self, id: SnapshotId) -> PathBuf {
        self.directory(id).join(ROOTFS)
    }

    /// `snapshots/<id>/work`.
    pub fn work(&self, id: SnapshotId) -> PathBuf {
        self.directory(id).join(WORK)
    }

    /// Makes sure that no new snapshot gets a number up to `last`.
    pub fn reserve_up_to(&self, last: SnapshotId) {
        self.next.fetch_max(last.0 + 1, Ordering::SeqCst);
    }

    /// Makes the directory of a new snapshot. It is on disk when this returns.
    ///
    /// # Errors
    /// Those of the file system; nothing is left behind then.
    pub fn create(&self, content: &Content<'_>) -> Result<Pending<'_>> {
        let id = SnapshotId(self.next.fetch_add(1, Ordering::SeqCst));
        self.pending().insert(id);
        let pending = Pending { directories: self, id, keep: false };
        let directory = self.directory(id);
        make(&directory)?;
        match content {
            Content::Local { uid, gid, writable } => {
                let fs = self.fs(id);
                make(&fs)?;
                lchown(&fs, Some(*uid), Some(*gid)).map_err(Error::io("set the owner of", &fs))?;
                set_mode(&fs, UPPER_MODE)?;
                if *writable {
                    make(&self.work(id))?;
                    set_mode(&self.work(id), WORK_MODE)?;
                }
            }
            Content::Remote { layer, rootfs } => self.link(id, layer, *rootfs)?,
        }
        sync(&directory)?;
        sync(&self.root.join(SNAPSHOTS))?;
        Ok(pending)
    }

    fn link(&self, id: SnapshotId, layer: &Path, rootfs: Option<&Path>) -> Result<()> {
        let links = [(self.fs(id), Some(layer)), (self.rootfs(id), rootfs)];
        for (link, target) in links {
            if let Some(target) = target {
                symlink(target, &link).map_err(Error::io("make the link", &link))?;
            }
        }
        Ok(())
    }

    /// Points the links of a remote snapshot to where its repository is configured to be now.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn relink(&self, id: SnapshotId, layer: &Path, rootfs: Option<&Path>) -> Result<()> {
        let links = [(self.fs(id), Some(layer)), (self.rootfs(id), rootfs)];
        for (link, target) in links {
            let Some(target) = target else { continue };
            if fs::read_link(&link).is_ok_and(|current| current == target) {
                continue;
            }
            let new = link.with_extension("new");
            match fs::remove_file(&new) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &new)(error));
                }
                _ => {}
            }
            symlink(target, &new).map_err(Error::io("make the link", &new))?;
            fs::rename(&new, &link).map_err(Error::io("replace the link", &link))?;
        }
        Ok(())
    }

    /// Whether the snapshot's directory is there and has the form that its record says. A link into a repository
    /// is not followed.
    pub fn is_whole(&self, id: SnapshotId, remote: bool) -> bool {
        fs::symlink_metadata(self.fs(id))
            .is_ok_and(|found| if remote { found.is_symlink() } else { found.is_dir() })
    }

    /// The same, as an answer to people.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the directory is not whole.
    pub fn check_whole(&self, id: SnapshotId, remote: bool) -> Result<()> {
        if self.is_whole(id, remote) {
            return Ok(());
        }
        Err(Error::Unavailable(format!(
            "{} is missing or damaged: remove the container and the image that use it, and pull the image \
             again",
            self.fs(id).display()
        )))
    }

    /// Disk use of a local snapshot, without its parents.
    ///
    /// # Errors
    /// Those of the file system. What disappears during the count is left out.
    pub fn usage(&self, id: SnapshotId) -> Result<Usage> {
        let fs = self.fs(id);
        usage::of(&fs).map_err(Error::io("measure the disk use of", &fs))
    }

    /// What matters of the root directory of a local layer. `userxattr` says that the kernel obeys the opaque mark
    /// for user namespaces instead of the usual one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn layer_root(&self, id: SnapshotId, userxattr: bool) -> Result<LayerRoot> {
        let fs = self.fs(id);
        let metadata = fs::symlink_metadata(&fs).map_err(Error::io("look at", &fs))?;
        let mark = if userxattr { overlay::USER_OPAQUE } else { overlay::TRUSTED_OPAQUE };
        let value = match xattr::get(&fs, mark) {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => None,
            other => other.map_err(Error::io("read the attributes of", &fs))?,
        };
        let opaque = value.as_deref() == Some(overlay::OPAQUE_VALUE);
        Ok(LayerRoot { uid: metadata.uid(), gid: metadata.gid(), opaque })
    }

    /// Moves a directory to the trash, for [`empty_trash`](Self::empty_trash) to delete it.
    pub fn discard(&self, id: SnapshotId) {
        let directory = self.directory(id);
        match fs::rename(&directory, self.root.join(TRASH).join(id.to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                warn!(path = %directory.display(), %error, "cannot discard a directory; trying again later");
            }
            _ => {}
        }
    }

    /// The numbers of all directories that are there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn existing(&self) -> Result<Vec<SnapshotId>> {
        let path = self.root.join(SNAPSHOTS);
        let entries = fs::read_dir(&path).map_err(Error::io("read", &path))?;
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::io("read", &path))?.file_name();
            let number = name.to_str().and_then(|name| name.parse::<i64>().ok());
            match number.filter(|number| *number > 0 && *number.to_string() == *name) {
                Some(number) => ids.push(SnapshotId(number)),
                None => warn!(?name, "this is not a snapshot's directory; leaving it alone"),
            }
        }
        Ok(ids)
    }

    /// Discards directories from number `from` on that have no record, and returns how many. `recorded` gives the
    /// numbers that have one; it is called after the directories were listed.
    ///
    /// # Errors
    /// Those of the file system and of `recorded`.
    pub fn sweep(
        &self,
        from: SnapshotId,
        recorded: impl FnOnce() -> Result<HashSet<SnapshotId>>,
    ) -> Result<usize> {
        let existing = self.existing()?;
        // In this order, because a number leaves `pending` after its record was made: so every directory in use
        // is found in one of the two.
        let pending = self.pending().clone();
        let recorded = recorded()?;
        let leftovers: Vec<_> = existing
            .into_iter()
            .filter(|id| *id >= from && !pending.contains(id) && !recorded.contains(id))
            .collect();
        leftovers.iter().for_each(|id| self.discard(*id));
        Ok(leftovers.len())
    }

    /// Deletes what was discarded. Only one thread at a time deletes; others wait until it is done.
    pub fn empty_trash(&self) {
        let _guard = self.emptying.lock().unwrap_or_else(PoisonError::into_inner);
        let trash = self.root.join(TRASH);
        if let Err(failure) = removal::empty(&trash) {
            error!(
                path = %trash.display(), error = %failure,
                "cannot delete a removed snapshot; trying again at the next clean-up"
            );
        }
    }
}

#[cfg(test)]
mod tests;
