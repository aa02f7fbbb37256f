//! Opening what lies beneath a directory, and nothing else.
//!
//! The kernel does the checking (openat2(2), Linux 5.6): `RESOLVE_BENEATH` refuses `..` and absolute names
//! that lead out, and `RESOLVE_NO_SYMLINKS` refuses any symlink on the way, even one that appears there at
//! that moment. A handle on a directory is kept only as long as the work in that directory takes, and the
//! next one is opened from the root again. So neither depth nor the number of layers needs many descriptors.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::repository::Error;
pub(super) use crate::repository::byte_path::{components, join, split};

const STRICT: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The most bytes of a small file: documents of images have some MiB at most, lists of all images a few more.
const LARGEST: u64 = 256 << 20;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory and everything beneath it.
#[derive(Debug)]
pub(super) struct Beneath {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

/// The empty path means the directory itself.
fn named(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

impl Beneath {
    pub(super) fn new(fd: OwnedFd, path: impl Into<PathBuf>) -> Self {
        Self { fd, path: path.into() }
    }

    /// One more handle on the same directory.
    pub(super) fn again(&self) -> rustix::io::Result<Self> {
        Ok(Self::new(rustix::io::fcntl_dupfd_cloexec(&self.fd, 0)?, &self.path))
    }

    /// The same for a directory beneath this one.
    pub(super) fn beneath(&self, path: &[u8]) -> rustix::io::Result<Self> {
        Ok(Self::new(self.directory(path)?, self.shown(path)))
    }

    /// A path beneath the directory as messages show it.
    pub(super) fn shown(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() {
            self.path.clone()
        } else {
            self.path.join(Path::new(std::ffi::OsStr::from_bytes(path)))
        }
    }

    /// The error of an operation on something beneath the directory.
    pub(super) fn failed(
        &self,
        action: &'static str,
        path: &[u8],
    ) -> impl FnOnce(Errno) -> Error + use<> {
        let shown = self.shown(path);
        move |cause| Error::system(action, shown, cause)
    }

    /// Opens a directory for reading. [`Area::directory`](super::area::Area::directory) also opens one whose
    /// mode keeps its owner from reading it.
    pub(super) fn directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat2(&self.fd, named(path), DIRECTORY, Mode::empty(), STRICT)
    }

    /// A handle that only serves to reach names, whatever the directory's permissions are.
    pub(super) fn handle(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat2(&self.fd, named(path), flags, Mode::empty(), STRICT)
    }

    /// The metadata of what `path` names; a symlink there is not followed.
    pub(super) fn stat(&self, path: &[u8]) -> rustix::io::Result<Stat> {
        if path.is_empty() {
            return rustix::fs::fstat(&self.fd);
        }
        let (parent, name) = split(path);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if parent.is_empty() {
            return rustix::fs::statat(&self.fd, name, flags);
        }
        rustix::fs::statat(self.handle(parent)?, name, flags)
    }

    /// Makes the directories of `path` that do not exist, with mode 0755 whatever the umask.
    pub(super) fn make_directories(&self, path: &[u8]) -> rustix::io::Result<()> {
        match self.handle(path) {
            Ok(_) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let (parent, name) = split(path);
        self.make_directories(parent)?;
        let parent = self.directory(parent)?;
        let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
        // With the umask that `ducc` sets, the directory has this mode from the start, so that even a kill at
        // this point leaves no directory that others cannot read.
        match rustix::fs::mkdirat(&parent, name, mode) {
            Ok(()) if permissions(&parent, name)? == mode.bits() => Ok(()),
            Ok(()) => set_directory_mode(&parent, name, mode),
            // Another thread has just made it.
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The content of a small regular file; `None` if nothing is there.
    pub(super) fn read(&self, path: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), STRICT) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        let mut content = Vec::new();
        File::from(fd).take(LARGEST + 1).read_to_end(&mut content)?;
        if content.len() as u64 > LARGEST {
            let reason =
                format!("it has more than {LARGEST} bytes, which no document of an image has");
            return Err(std::io::Error::other(reason));
        }
        Ok(Some(content))
    }
}

/// The permission bits of what has a name; a symlink is not followed.
fn permissions(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<u32> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Mode::from_raw_mode(stat.st_mode).bits())
}

/// Sets the permission bits of a directory, even of one that cannot be opened. What is no directory is left alone, and so is
/// what a symlink leads to, although one may take the name at any moment.
pub(super) fn set_directory_mode(
    parent: impl AsFd,
    name: &[u8],
    mode: Mode,
) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    set_mode_of_handle(rustix::fs::openat(parent, name, flags, Mode::empty())?, mode)
}

/// Sets the permission bits of what a handle is on. fchmod(2) does not take handles that only serve to reach something.
pub(super) fn set_mode_of_handle(handle: impl AsFd, mode: Mode) -> rustix::io::Result<()> {
    rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd()), mode)
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The error of an operation on a path of the repository, which says so if a symlink was on the way.
pub(super) fn indirect(
    repository: &Beneath,
    path: &layer_layout::RepositoryPath,
    action: &'static str,
) -> impl FnOnce(Errno) -> Error + use<> {
    let (directory, path) = (repository.path.clone(), path.clone());
    move |cause| match cause {
        Errno::LOOP | Errno::NOTDIR => Error::Indirect { repository: directory, path },
        cause => Error::system(action, directory.join(path.as_str()), cause),
    }
}
