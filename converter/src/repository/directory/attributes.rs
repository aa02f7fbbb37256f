//! Reading and setting the attributes of a name.
//!
//! The order matters: changing the owner clears setuid bits and `security.capability`; a mode without write
//! permission keeps an ordinary user from setting `user.*` attributes; and everything changes times. So the
//! order is: owner, extended attributes, mode, time.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use layer_layout::overlay::PRIVATE_XATTR_PREFIXES;
use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::shortfall::{Shortfall, Shortfalls};
use crate::layer::{Metadata, Timestamp, Xattrs};

/// Permission bits with setuid, setgid and sticky.
const MODE_BITS: u32 = 0o7777;
const SET_ID_BITS: u32 = 0o6000;

/// How the names of POSIX access control lists begin (acl(5)).
const ACCESS_LISTS: &[u8] = b"system.posix_acl_";

/// Initial size in bytes of the buffer for names and values of extended attributes. The usual ones fit.
const XATTR_BUFFER: usize = 1024;

/// What attributes are read from or set on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A device or fifo, which must not be opened: its directory and name.
    Special(BorrowedFd<'a>, &'a [u8]),
    /// A symlink: its directory and name.
    Symlink(BorrowedFd<'a>, &'a [u8]),
}

/// The result of a single system call.
type Answer<T> = rustix::io::Result<T>;

/// Why an attribute was not set.
#[derive(Debug)]
pub(super) enum Refusal {
    System(&'static str, Errno),
    /// The file system does not store an extended attribute: its name, with the system's error.
    Xattr(String),
}

/// The permission bits of a [`Stat`].
pub(super) fn mode_of(stat: &Stat) -> u32 {
    stat.st_mode & MODE_BITS
}

/// The time of the last change of content.
pub(super) fn mtime_of(stat: &Stat) -> Timestamp {
    Timestamp {
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec)
            .expect("the kernel counts nanoseconds below a second"),
    }
}

/// All attributes of a name, without the marks of overlayfs.
pub(super) fn read(holder: Holder<'_>, stat: &Stat) -> Answer<Metadata> {
    Ok(Metadata {
        mode: mode_of(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: mtime_of(stat),
        xattrs: read_xattrs(holder)?,
    })
}

/// Whether this attribute is reserved for overlayfs.
fn is_private(name: &[u8]) -> bool {
    PRIVATE_XATTR_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn read_xattrs(holder: Holder<'_>) -> Answer<Xattrs> {
    let mut xattrs = Xattrs::new();
    let names = match holder.list() {
        // This file system has no extended attributes.
        Err(Errno::OPNOTSUPP) => return Ok(xattrs),
        names => names?,
    };
    for name in names.split(|&b| b == 0).filter(|name| !name.is_empty() && !is_private(name)) {
        match holder.get(name) {
            Ok(Some(value)) => drop(xattrs.insert(name.to_vec(), value)),
            // It is gone, or this process may not read it, and so could not set it either.
            Ok(None) | Err(Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(xattrs)
}

/// Whether an extended attribute has this value.
pub(super) fn has_xattr(fd: impl AsFd, name: &str, value: &[u8]) -> Answer<bool> {
    let mut buffer = [0_u8; 16];
    match rustix::fs::fgetxattr(fd, name, &mut buffer) {
        Ok(length) => Ok(&buffer[..length] == value),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE | Errno::PERM) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Holder<'_> {
    /// Before Linux 6.13 there is no "at" call for extended attributes. In a path through the directory's
    /// entry in `/proc` only the last component is a name, and that one is not followed.
    fn proc_path(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        path
    }

    fn list(self) -> Answer<Vec<u8>> {
        grow(|buffer| match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            Self::Special(dir, name) | Self::Symlink(dir, name) => {
                rustix::fs::llistxattr(Self::proc_path(dir, name), buffer)
            }
        })
    }

    fn get(self, xattr: &[u8]) -> Answer<Option<Vec<u8>>> {
        let value = grow(|buffer| match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, xattr, buffer),
            Self::Special(dir, name) | Self::Symlink(dir, name) => {
                rustix::fs::lgetxattr(Self::proc_path(dir, name), xattr, buffer)
            }
        });
        match value {
            Err(Errno::NODATA) => Ok(None),
            value => value.map(Some),
        }
    }

    fn set(self, xattr: &[u8], value: &[u8]) -> Answer<()> {
        let flags = XattrFlags::empty();
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, xattr, value, flags),
            Self::Special(dir, name) | Self::Symlink(dir, name) => {
                rustix::fs::lsetxattr(Self::proc_path(dir, name), xattr, value, flags)
            }
        }
    }

    fn chown(self, uid: u32, gid: u32) -> Answer<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Special(dir, name) | Self::Symlink(dir, name) => {
                rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn chmod(self, mode: u32) -> Answer<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Special(dir, name) => rustix::fs::chmodat(dir, name, mode, AtFlags::empty()),
            // Symlinks have no modes in Linux.
            Self::Symlink(..) => Ok(()),
        }
    }

    /// Sets the time of the last change of content.
    pub(super) fn set_mtime(self, mtime: Timestamp) -> Answer<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: mtime.seconds,
                tv_nsec: mtime.nanoseconds.into(),
            },
        };
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, &times),
            Self::Special(dir, name) | Self::Symlink(dir, name) => {
                rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }
}

/// Calls `f` with larger and larger buffers until the result fits.
fn grow(f: impl Fn(&mut [u8]) -> Answer<usize>) -> Answer<Vec<u8>> {
    let mut buffer = vec![0; XATTR_BUFFER];
    loop {
        match f(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 8, 0),
            Err(error) => return Err(error),
        }
    }
}

/// The attributes of a name that this process has just created, so that nothing is set that already holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fresh {
    uid: u32,
    gid: u32,
    umask: u32,
    privileged: bool,
}

impl Fresh {
    /// The attributes of this process's new names. The umask is read from `/proc`, not by setting it for a
    /// moment, since other threads are creating files.
    pub(super) fn of_this_process() -> Self {
        let umask = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        });
        let uid = rustix::process::geteuid();
        Self {
            uid: uid.as_raw(),
            gid: rustix::process::getegid().as_raw(),
            umask: umask.unwrap_or(MODE_BITS),
            privileged: uid.is_root(),
        }
    }

    /// Whether this process may ignore permissions.
    pub(super) fn is_privileged(self) -> bool {
        self.privileged
    }

    /// Whether a file of this process gets the owner that it should have, so that its set-id bits are kept.
    pub(super) fn keeps_owner(self, metadata: &Metadata) -> bool {
        self.privileged || metadata.uid == self.uid
    }

    /// The mode with which to create a file: the final one, unless extended attributes have to be set first.
    pub(super) fn creation_mode(self, metadata: &Metadata) -> Mode {
        let extra = if metadata.xattrs.is_empty() { 0 } else { 0o600 };
        Mode::from_raw_mode((metadata.mode | extra) & 0o777)
    }

    /// Sets all attributes of a name that this process has just created with [`Self::creation_mode`], in a
    /// directory without a setgid bit or a default ACL.
    pub(super) fn dress(
        self,
        holder: Holder<'_>,
        metadata: &Metadata,
        missing: &mut Shortfalls,
    ) -> Result<(), Refusal> {
        let mut mode = metadata.mode & MODE_BITS;
        let mut chmod = mode & (self.umask | !0o777) != 0 || !metadata.xattrs.is_empty();
        if (metadata.uid, metadata.gid) != (self.uid, self.gid) {
            chmod |= mode & SET_ID_BITS != 0;
            if !self.chown(holder, metadata, missing)? {
                mode = without_set_id(holder, mode, missing);
            }
        }
        self.set_xattrs(holder, &metadata.xattrs, missing)?;
        if chmod {
            holder.chmod(mode).map_err(|e| Refusal::System("set the mode of", e))?;
        }
        holder.set_mtime(metadata.mtime).map_err(|e| Refusal::System("set the time of", e))
    }

    /// Sets all attributes of a name that may already have others.
    pub(super) fn redress(
        self,
        holder: Holder<'_>,
        metadata: &Metadata,
        missing: &mut Shortfalls,
    ) -> Result<(), Refusal> {
        let mut mode = metadata.mode & MODE_BITS;
        if !self.chown(holder, metadata, missing)? {
            mode = without_set_id(holder, mode, missing);
        }
        self.set_xattrs(holder, &metadata.xattrs, missing)?;
        holder.chmod(mode).map_err(|e| Refusal::System("set the mode of", e))?;
        holder.set_mtime(metadata.mtime).map_err(|e| Refusal::System("set the time of", e))
    }

    /// Sets the owner; returns whether that was permitted.
    fn chown(
        self,
        holder: Holder<'_>,
        metadata: &Metadata,
        missing: &mut Shortfalls,
    ) -> Result<bool, Refusal> {
        match holder.chown(metadata.uid, metadata.gid) {
            Ok(()) => Ok(true),
            // EINVAL is the answer in a user namespace that does not map the owner.
            Err(Errno::PERM | Errno::INVAL) => {
                missing.count(Shortfall::Owner);
                Ok(false)
            }
            Err(error) => Err(Refusal::System("set the owner of", error)),
        }
    }

    fn set_xattrs(
        self,
        holder: Holder<'_>,
        xattrs: &Xattrs,
        missing: &mut Shortfalls,
    ) -> Result<(), Refusal> {
        for (name, value) in xattrs {
            let shown = || name.escape_ascii().to_string();
            match holder.set(name, value) {
                Ok(()) => {}
                // For `user.*` on a symlink or device, even root gets EPERM (xattr(7)). A file system without attributes
                // of a kind answers EOPNOTSUPP, which container engines ignore, too.
                Err(Errno::PERM | Errno::OPNOTSUPP) => missing.count(Shortfall::Xattr(shown())),
                // An access control list names somebody whom the user namespace does not map, or is none.
                Err(Errno::INVAL) if name.starts_with(ACCESS_LISTS) => {
                    missing.count(Shortfall::Xattr(shown()));
                }
                // ENOSPC may also mean that the attributes of a file together exceed one block (ext4).
                Err(error) => return Err(Refusal::Xattr(format!("{}: {error}", shown()))),
            }
        }
        Ok(())
    }
}

/// The mode without setuid and setgid bits: a program must not run with the rights of the user who happened
/// to unpack it.
fn without_set_id(holder: Holder<'_>, mode: u32, missing: &mut Shortfalls) -> u32 {
    if mode & SET_ID_BITS == 0 || matches!(holder, Holder::Symlink(..)) {
        return mode;
    }
    missing.count(Shortfall::SetIdBits);
    mode & !SET_ID_BITS
}
