//! The locks of a stock server's tools.
//!
//! They are empty files in the repository's spool directory, of two kinds:
//!
//! * `is_publishing.lock` and `is_collecting.lock` are locked with `flock`; that they exist means nothing. The holder of
//!   such a lock removes the file before releasing it, so the lock counts only if the file that was locked is still the
//!   one with that name. Programs that the tools start may inherit a removed file with its lock and never release it, so
//!   waiting in `flock` could last forever: each attempt opens the file again.
//! * `in_transaction.lock` says by its existence that a transaction is open, also across reboots.
//!
//! None of them alone keeps everybody away: `transaction` ignores the first kind, and `abort` removes the second.
//! Together they stop `transaction`, `publish`, `abort`, `tag`, `rollback`, `ingest`, `gc`, `check` and `mount`. Only
//! `resign` heeds no lock.
//!
//! We write a line into our `in_transaction.lock`, which nobody else reads. If we find that line while we hold
//! `is_publishing.lock`, one of our processes was killed and left it there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};

use super::ServerConf;
use crate::{Activity, Error, Result};

/// How long to wait for tools that are at work for a moment. A collection or a publish may take hours.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// How our transactions begin.
const MARK: &[u8] = b"cvmfs-repository";

/// Keeps the tools of a stock server away from a repository until it is dropped.
#[derive(Debug)]
pub struct Locks {
    // Released in this order.
    _collecting: Flock,
    _transaction: Transaction,
    _publishing: Flock,
}

impl ServerConf {
    /// Takes the locks of the server's tools. Waits some seconds for tools that may be done soon, but not for an
    /// open transaction: `cvmfs_server publish` would silently drop what we publish meanwhile.
    ///
    /// # Errors
    /// [`Error::Busy`] if a tool is at work or a transaction is open; [`Error::System`] if this user may not write
    /// into the spool directory.
    pub fn lock(&self) -> Result<Locks> {
        self.lock_within(PATIENCE)
    }

    pub(super) fn lock_within(&self, patience: Duration) -> Result<Locks> {
        let deadline = Instant::now() + patience;
        let busy = |activity| Error::Busy { fqrn: self.fqrn.clone(), activity };
        let publishing = Flock::take(self.spool.join("is_publishing.lock"), deadline)?
            .ok_or_else(|| busy(Activity::ServerPublish))?;
        let transaction = Transaction::open(self.spool.join("in_transaction.lock"))?
            .ok_or_else(|| busy(Activity::ServerTransaction))?;
        let collecting = Flock::take(self.spool.join("is_collecting.lock"), deadline)?
            .ok_or_else(|| busy(Activity::ServerCollection))?;
        Ok(Locks { _collecting: collecting, _transaction: transaction, _publishing: publishing })
    }
}

/// A file that is locked, and removed when dropped.
#[derive(Debug)]
struct Flock {
    path: PathBuf,
    _file: File,
}

impl Flock {
    /// `None` if somebody else holds it until the deadline.
    fn take(path: PathBuf, deadline: Instant) -> Result<Option<Self>> {
        loop {
            match Self::attempt(&path) {
                Ok(Some(file)) => return Ok(Some(Self { path, _file: file })),
                Ok(None) if Instant::now() >= deadline => return Ok(None),
                Ok(None) => std::thread::sleep(PAUSE),
                Err(cause) => return Err(Error::System { action: "lock", path, cause }),
            }
        }
    }

    fn attempt(path: &Path) -> io::Result<Option<File>> {
        let file = create(path, OpenOptions::new().create(true), 0o644)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let locked = file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) => {
                Ok(Some(file))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// An open transaction, which ends when dropped.
#[derive(Debug)]
struct Transaction {
    path: PathBuf,
}

impl Transaction {
    /// `None` if somebody else has one open. Only for the holder of `is_publishing.lock`.
    fn open(path: PathBuf) -> Result<Option<Self>> {
        let system = |action, cause| Error::System { action, path: path.clone(), cause };
        match create(&path, OpenOptions::new().create_new(true), 0o600) {
            Ok(mut file) => {
                let transaction = Self { path: path.clone() };
                writeln!(file, "{} is publishing", String::from_utf8_lossy(MARK))
                    .map_err(|cause| system("write", cause))?;
                Ok(Some(transaction))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let mut mark = Vec::new();
                let size = MARK.len() as u64;
                match File::open(&path).and_then(|file| file.take(size).read_to_end(&mut mark)) {
                    Ok(_) if mark == MARK => {
                        tracing::warn!(path = %path.display(), "taking over the lock of a publish that was killed");
                        Ok(Some(Self { path }))
                    }
                    Ok(_) => Ok(None),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(cause) => Err(system("read", cause)),
                }
            }
            Err(cause) => Err(system("open a transaction with", cause)),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Opens or makes a file of the owner of the directory, never through a symbolic link.
fn create(path: &Path, options: &mut OpenOptions, mode: u32) -> io::Result<File> {
    let file = options
        .read(true)
        .write(true)
        .mode(mode)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    give_to_owner(&file, path)?;
    Ok(file)
}

/// Gives a file that root has made in the spool directory to the directory's owner: the server's tools run as that
/// user and could not open it otherwise.
pub(super) fn give_to_owner(file: &File, path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|_| rustix::process::geteuid().is_root()) else {
        return Ok(());
    };
    let owner = fs::metadata(directory)?;
    if file.metadata()?.uid() != owner.uid() {
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot release a stock server's lock");
        }
        _ => {}
    }
}
