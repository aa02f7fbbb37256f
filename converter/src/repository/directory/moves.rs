//! Doing what a journal lists.
//!
//! Each move can be done any number of times, and any number of moves of a journal may have been done before. A rename(2)
//! is done or not, and if it is done its source is gone; what was moved aside is there as long as the journal is; and
//! an exchange has been made if the new inode has the name.

use std::os::fd::OwnedFd;

use layer_layout::{RepositoryPath, path};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::{Errno, Result as SystemResult};

use super::attributes::mode_of;
use super::beneath::{Beneath, set_directory_mode, split};
use super::journal::Move;
use super::lock;
use crate::repository::Result;

/// Where moves begin and end.
pub(super) struct Places<'a> {
    pub(super) repository: &'a Beneath,
    /// What is prepared.
    pub(super) staging: &'a Beneath,
    /// The publisher's directory, in which the place for what is moved aside is made when it is needed.
    pub(super) publisher: &'a OwnedFd,
}

/// Opens the place for what is moved aside. If it is not there nothing was moved aside, and it is made.
pub(super) fn removed(publisher: &OwnedFd) -> SystemResult<OwnedFd> {
    let path = path::publisher_removed();
    let name = lock::name(&path);
    match rustix::fs::mkdirat(publisher, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(publisher, name, flags, Mode::empty())
}

impl Places<'_> {
    /// Does the moves that have not been done yet, in order, and what belongs to their end.
    pub(super) fn work_off(&self, moves: &[Move]) -> Result<()> {
        self.perform(moves)?;
        self.end(moves)
    }

    /// Does the moves that have not been done yet, in order.
    pub(super) fn perform(&self, moves: &[Move]) -> Result<()> {
        for step in moves {
            let path = step.path.as_bytes();
            self.step(step).map_err(|cause| match cause {
                Errno::ISDIR | Errno::LOOP | Errno::NOTDIR => self
                    .repository
                    .failed("move into place, because something else stands there,", path)(
                    cause
                ),
                cause => self.repository.failed("move into place", path)(cause),
            })?;
        }
        Ok(())
    }

    /// Removes directories that are empty when all moves are done, and makes everything durable.
    pub(super) fn end(&self, moves: &[Move]) -> Result<()> {
        for Move { path, .. } in moves.iter().filter(|step| step.aside.is_some()) {
            self.prune(path)
                .map_err(self.repository.failed("remove what is empty above", path.as_bytes()))?;
        }
        rustix::fs::syncfs(self.repository).map_err(self.repository.failed("write back", b""))
    }

    fn step(&self, step: &Move) -> SystemResult<()> {
        match (step.aside, step.inode) {
            (None, _) => self.appear(&step.path)?,
            (Some(aside), None) => return self.move_aside(self.repository, &step.path, aside),
            (Some(aside), Some(inode)) => self.replace(&step.path, aside, inode)?,
        }
        let Some(mode) = step.mode else { return Ok(()) };
        let (parent, name) = split(step.path.as_bytes());
        let parent = self.repository.handle(parent)?;
        match set_directory_mode(parent, name, Mode::from_raw_mode(mode)) {
            // Journals of earlier versions also name files, whose mode is in nobody's way.
            Err(Errno::NOTDIR) => Ok(()),
            done => done,
        }
    }

    /// Moves something prepared to its name.
    fn appear(&self, path: &str) -> SystemResult<()> {
        let (parent, name) = split(path.as_bytes());
        let staged = match self.staging.handle(parent) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.repository.make_directories(parent)?;
        match rustix::fs::renameat(staged, name, self.repository.handle(parent)?, name) {
            // Already done, or another tree of that name was there first: it is equivalent.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves something out of sight, unless that was done.
    fn move_aside(&self, from: &Beneath, path: &str, aside: u64) -> SystemResult<()> {
        let removed = removed(self.publisher)?;
        let aside = aside.to_string();
        match rustix::fs::statat(&removed, aside.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let (parent, name) = split(path.as_bytes());
        let parent = match from.handle(parent) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
        let rename = || rustix::fs::renameat(&parent, name, &removed, aside.as_str());
        match rename() {
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::ACCESS | Errno::PERM) => {
                open_up(from, path)?;
                rename()
            }
            done => done,
        }
    }

    /// Moves something prepared to its name and what has that name out of sight, at once if the file system can do that.
    fn replace(&self, path: &str, aside: u64, inode: u64) -> SystemResult<()> {
        let (parent, name) = split(path.as_bytes());
        let is_new = |stat: Option<Stat>| stat.is_some_and(|stat| stat.st_ino == inode);
        if !is_new(look(self.repository, path.as_bytes())?) {
            self.repository.make_directories(parent)?;
            let (from, to) = (self.staging.handle(parent)?, self.repository.handle(parent)?);
            let exchange =
                || rustix::fs::renameat_with(&from, name, &to, name, RenameFlags::EXCHANGE);
            let exchanged = match exchange() {
                Err(Errno::ACCESS | Errno::PERM) => {
                    open_up(self.repository, path)?;
                    exchange()
                }
                done => done,
            };
            match exchanged {
                Ok(()) => {}
                // Nothing is there any more, or the file system has no such operation.
                Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    self.move_aside(self.repository, path, aside)?;
                    return rustix::fs::renameat(from, name, to, name);
                }
                Err(error) => return Err(error),
            }
        }
        self.move_aside(self.staging, path, aside)
    }

    /// Removes the directories above a path that nothing is in any more, except those that always stay.
    fn prune(&self, path: &str) -> SystemResult<()> {
        let mut above = RepositoryPath::parse(path).and_then(|path| path.parent());
        while let Some(directory) = above.filter(|directory| !directory.is_permanent()) {
            let (parent, name) = split(directory.as_str().as_bytes());
            let removed = self
                .repository
                .handle(parent)
                .and_then(|parent| rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR));
            match removed {
                // A link may have taken the place of a directory in the same change.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
                Err(error) => return Err(error),
            }
            above = directory.parent();
        }
        Ok(())
    }
}

/// The metadata of what is at a path; `None` if nothing is.
pub(super) fn look(base: &Beneath, path: &[u8]) -> SystemResult<Option<Stat>> {
    match base.stat(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the owner of a directory the permission to write, without which it cannot be moved.
fn open_up(base: &Beneath, path: &str) -> SystemResult<()> {
    let stat = base.stat(path.as_bytes())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let (parent, name) = split(path.as_bytes());
    let mode = Mode::from_raw_mode(mode_of(&stat) | 0o200);
    set_directory_mode(base.handle(parent)?, name, mode)
}
