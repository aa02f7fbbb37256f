//! One publisher at a time.
//!
//! The lock is a flock(2) on a file in the publisher's own directory. On NFS the kernel turns it into a lock
//! of the whole file on the server, so it works across machines. The file and the directory are removed with
//! the lock, so a publisher that gets the lock has to check that its file is still the one with that name.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use layer_layout::{RepositoryPath, path};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::beneath::{Beneath, indirect, split};
use super::guard;
use crate::repository::{Error, Result};

/// Whoever can read the file can lock it and keep publishers waiting, so only its owner may.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The right to change a repository, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    repository: Beneath,
    /// The publisher's directory.
    directory: OwnedFd,
    _file: File,
}

/// The last component of one of the publisher's own paths.
pub(super) fn name(path: &RepositoryPath) -> &[u8] {
    split(path.as_str().as_bytes()).1
}

impl Lock {
    /// Waits until no other publisher is active. If there is one, `wait` is asked once whether to wait.
    pub(super) fn acquire(repository: Beneath, wait: &mut dyn FnMut(&str) -> bool) -> Result<Self> {
        let mut told = false;
        let lock_path = path::publisher_lock();
        let file_name = name(&lock_path);
        let shown = repository.shown(lock_path.as_str().as_bytes());
        let failed = |action| {
            let shown = shown.clone();
            move |cause: Errno| Error::system(action, shown, cause)
        };
        loop {
            let Some(directory) = own_directory(&repository)? else { continue };
            let flags = OFlags::RDWR
                | OFlags::CREATE
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::NOCTTY
                | OFlags::CLOEXEC;
            let mut file = match rustix::fs::openat(&directory, file_name, flags, MODE) {
                Ok(fd) => File::from(fd),
                // The previous publisher has just removed its directory.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(failed("open")(error)),
            };
            guard::check_own(&repository, &lock_path, &file, FileType::RegularFile)?;
            // Another version let everybody read it.
            rustix::fs::fchmod(&file, MODE).map_err(failed("set the mode of"))?;
            match retry_on_intr(|| {
                rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            }) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    let busy = describe(&mut file, &repository);
                    if !told && !wait(&busy) {
                        return Err(Error::Busy(busy));
                    }
                    told = true;
                    retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
                        .map_err(failed("lock"))?;
                }
                Err(error) => return Err(failed("lock")(error)),
            }
            let held = rustix::fs::fstat(&file).map_err(failed("look at"))?;
            match rustix::fs::statat(&directory, file_name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => {}
                Ok(_) | Err(Errno::NOENT) => continue,
                Err(error) => return Err(failed("look at")(error)),
            }
            let host = rustix::system::uname();
            let who = format!(
                "{} {}\n",
                rustix::process::getpid().as_raw_nonzero(),
                host.nodename().to_string_lossy()
            );
            file.set_len(0)
                .and_then(|()| file.write_all(who.as_bytes()))
                .map_err(|cause| Error::system("write", &shown, cause))?;
            return Ok(Self { repository, directory, _file: file });
        }
    }

    /// The publisher's directory, which contains the staging area and the journal.
    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }
}

impl Drop for Lock {
    /// Removes the names while the lock is still held. A failure does no harm: the next publisher finds an
    /// unlocked file and uses it.
    fn drop(&mut self) {
        let lock = path::publisher_lock();
        let publisher = path::publisher();
        let _ = rustix::fs::unlinkat(&self.directory, name(&lock), AtFlags::empty());
        let _ = rustix::fs::unlinkat(&self.repository, publisher.as_str(), AtFlags::REMOVEDIR);
    }
}

/// Makes and opens the publisher's directory; `None` if another publisher has removed it in the meantime.
fn own_directory(repository: &Beneath) -> Result<Option<OwnedFd>> {
    let path = path::publisher();
    let bytes = path.as_str().as_bytes();
    match repository.make_directories(bytes).and_then(|()| repository.directory(bytes)) {
        Ok(directory) => {
            guard::check_own(repository, &path, &directory, FileType::Directory)?;
            Ok(Some(directory))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(indirect(repository, &path, "make the publisher's directory")(error)),
    }
}

/// A text for a user who would have to wait.
fn describe(file: &mut File, repository: &Beneath) -> String {
    let mut text = String::new();
    let holder = match file.take(512).read_to_string(&mut text) {
        Ok(_) => text.trim().split_once(' '),
        Err(_) => None,
    };
    let holder = holder.map(|(pid, host)| format!(" (pid {pid} on {host})")).unwrap_or_default();
    format!("another ducc{holder} is publishing into {}", repository.shown(b"").display())
}
