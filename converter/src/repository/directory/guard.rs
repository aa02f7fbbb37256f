//! Other users of the machine: what they can do in the repository's directory, and what is the publisher's alone.
//!
//! An image may hold programs that run with their owner's rights (set-id bits, file capabilities) and device nodes. In a
//! container that is harmless; in a directory that other users can enter, every one of them can use these outside of any
//! container. They cannot on a mount with `nosuid` and `nodev` (mount(8)), nor if a directory on the way lets nobody but its
//! owner in.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use layer_layout::RepositoryPath;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat, StatVfsMountFlags};
use rustix::io::{Errno, Result as SystemResult};

use super::area::CREATE;
use super::beneath::Beneath;
use super::lock;
use crate::layer::Metadata;
use crate::repository::{Error, Privilege, Result};

/// Permission bits of a file or directory that lets others write.
const WRITABLE: u32 = 0o022;
const SET_ID: u32 = 0o6000;
const CAPABILITY: &[u8] = b"security.capability";
const STICKY: u32 = 0o1000;

/// What a published file gives to other users of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Exposure {
    /// Whether a program can give them its owner's rights.
    pub(super) programs: bool,
    /// Whether they can open device nodes.
    pub(super) devices: bool,
}

/// A doubt about who can change what is in the repository. Publishing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The repository's directory, or one above it, belongs to another user.
    Owner(PathBuf, u32),
    /// A group may write in it.
    Group(PathBuf, u32),
    /// Anybody may put another directory in place of the repository, or of one above it.
    Above(PathBuf),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(path, uid) => {
                write!(
                    f,
                    "{} belongs to user {uid}, who can change what is published there",
                    path.display()
                )
            }
            Self::Group(path, gid) => {
                write!(
                    f,
                    "group {gid} may write in {} and change what is published there",
                    path.display()
                )
            }
            Self::Above(path) => write!(
                f,
                "anybody may write in {}, and so put something else in place of what is published below it",
                path.display()
            ),
        }
    }
}

/// What is known of the users of the machine with respect to a repository.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    pub(super) exposure: Exposure,
    pub(super) doubts: Vec<Doubt>,
    /// Whether everybody may write in the repository's directory.
    pub(super) everybody_writes: bool,
}

impl Neighbours {
    /// Looks at the repository's directory and those above it.
    pub(super) fn of(repository: &Beneath) -> Result<Self> {
        let failed = |cause| repository.failed("find out who can enter", b"")(cause);
        let mount = rustix::fs::fstatvfs(repository).map_err(failed)?.f_flag;
        let levels = levels(repository).map_err(failed)?;
        Ok(Self::judge(&repository.shown(b""), &levels, mount, rustix::process::geteuid().as_raw()))
    }

    /// Judges the directory at `path` by itself and those above it (`levels`, from the directory up).
    fn judge(path: &Path, levels: &[Stat], mount: StatVfsMountFlags, user: u32) -> Self {
        let is_trusted = |stat: &Stat| stat.st_uid == 0 || stat.st_uid == user;
        // Nobody reaches what lies below the topmost directory that is closed, whatever the modes there.
        let closed = |stat: &Stat| is_trusted(stat) && stat.st_mode & 0o001 == 0;
        let reached = levels.iter().rposition(closed).map_or(0, |closed| closed + 1);
        let is_closed = reached > 0;
        let mut found = Self {
            exposure: Exposure {
                programs: !is_closed && !mount.contains(StatVfsMountFlags::NOSUID),
                devices: !is_closed && !mount.contains(StatVfsMountFlags::NODEV),
            },
            ..Self::default()
        };
        let paths: Vec<_> = path.ancestors().collect();
        for (at, stat) in levels.iter().enumerate() {
            let shown = paths.get(at).copied().unwrap_or(Path::new("/")).to_owned();
            let is_open = at >= reached && stat.st_mode & 0o002 != 0;
            if !is_trusted(stat) {
                found.doubts.push(Doubt::Owner(shown.clone(), stat.st_uid));
            }
            match at {
                0 => {
                    found.everybody_writes = is_open;
                    if stat.st_mode & 0o020 != 0 && stat.st_gid != 0 {
                        found.doubts.push(Doubt::Group(shown, stat.st_gid));
                    }
                }
                _ if is_open && stat.st_mode & STICKY == 0 => {
                    found.doubts.push(Doubt::Above(shown));
                }
                _ => {}
            }
        }
        found
    }
}

/// A directory and those above it, up to the root.
fn levels(directory: &Beneath) -> SystemResult<Vec<Stat>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut levels = vec![rustix::fs::fstat(directory)?];
    let mut at = rustix::fs::openat(directory, "..", flags, Mode::empty())?;
    loop {
        let stat = rustix::fs::fstat(&at)?;
        if levels
            .last()
            .is_some_and(|last| (last.st_dev, last.st_ino) == (stat.st_dev, stat.st_ino))
        {
            return Ok(levels);
        }
        levels.push(stat);
        at = rustix::fs::openat(&at, "..", flags, Mode::empty())?;
    }
}

impl Exposure {
    /// What a regular file gives to others, if that is more than its content. `keeps` says whether its owner is set.
    pub(super) fn of_file(self, metadata: &Metadata, keeps: bool) -> Option<Privilege> {
        if !self.programs || !keeps {
            None
        } else if metadata.mode & SET_ID != 0 {
            Some(Privilege::SetId)
        } else if metadata.xattrs.contains_key(CAPABILITY) {
            Some(Privilege::Capabilities)
        } else {
            None
        }
    }

    /// What a special file gives to others.
    pub(super) fn of_special(self, kind: FileType) -> Option<Privilege> {
        (self.devices && kind != FileType::Fifo).then_some(Privilege::Device)
    }
}

/// Checks that something in the publisher's directory, or that directory, was made by this user and that nobody else may
/// write there.
pub(super) fn check_own(
    repository: &Beneath,
    path: &RepositoryPath,
    found: impl AsFd,
    expected: FileType,
) -> Result<()> {
    let bytes = path.as_str().as_bytes();
    let failed = |cause| repository.failed("look at", bytes)(cause);
    let stat = rustix::fs::fstat(found).map_err(failed)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let names = if expected == FileType::RegularFile { stat.st_nlink } else { 1 };
    if kind == expected
        && names <= 1
        && stat.st_mode & WRITABLE == 0
        && is_own(repository, &stat).map_err(failed)?
    {
        return Ok(());
    }
    if rustix::fs::accessat(repository, ".", Access::WRITE_OK, AtFlags::EACCESS).is_err() {
        return Err(failed(Errno::ACCESS));
    }
    Err(Error::NotOurs { path: repository.shown(bytes), uid: stat.st_uid })
}

/// Whether a file belongs to this user. A file server may give it another number than this machine (NFS with `root_squash`),
/// which a new file tells.
fn is_own(repository: &Beneath, stat: &Stat) -> SystemResult<bool> {
    if stat.st_uid == rustix::process::geteuid().as_raw() {
        return Ok(true);
    }
    let name = format!("{}-{:016x}", layer_layout::path::publisher().as_str(), fastrand::u64(..));
    // Only the handle tells what was made: a name may lead to something else already.
    let made = rustix::fs::openat(repository, &name, CREATE, Mode::RUSR)?;
    let own = rustix::fs::fstat(&made)?.st_uid;
    rustix::fs::unlinkat(repository, &name, AtFlags::empty())?;
    Ok(own == stat.st_uid)
}

/// Opens the staging area through the publisher's directory: at its path something else may stand by now.
pub(super) fn staging(repository: &Beneath, publisher: &OwnedFd) -> SystemResult<Beneath> {
    let path = layer_layout::path::publisher_staging();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(publisher, lock::name(&path), flags, Mode::empty())?;
    Ok(Beneath::new(opened, repository.shown(path.as_str().as_bytes())))
}
