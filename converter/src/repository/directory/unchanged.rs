//! Changing the names in a directory without changing the directory itself.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{self, Holder};

/// Lets `change` work in the directory behind a handle (such as [`Beneath`](super::beneath::Beneath) gives),
/// whatever the directory's mode, and restores mode and time afterwards.
pub(super) fn unchanged<T, E>(
    handle: &OwnedFd,
    failed: impl Fn(Errno) -> E,
    change: impl FnOnce(&OwnedFd) -> Result<T, E>,
) -> Result<T, E> {
    let stat = rustix::fs::fstat(handle).map_err(&failed)?;
    let mode = attributes::mode_of(&stat);
    let closed = mode & 0o700 != 0o700;
    let itself = format!("/proc/self/fd/{}", handle.as_raw_fd());
    if closed {
        rustix::fs::chmod(&itself, Mode::from_raw_mode(mode | 0o700)).map_err(&failed)?;
    }
    // The handle may only serve to reach names, but times and attributes need an open directory.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(&itself, flags, Mode::empty()).map_err(&failed)?;
    let result = change(&directory)?;
    if closed {
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode)).map_err(&failed)?;
    }
    let time = attributes::mtime_of(&stat);
    Holder::Open(directory.as_fd()).set_mtime(time).map_err(failed)?;
    Ok(result)
}
