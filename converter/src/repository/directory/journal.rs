//! What a publisher has begun to move into place, so that the work of a killed publisher can be finished.
//!
//! Everything that will be visible lies in the staging area under the path it will have. The journal lists
//! these paths in the order of the moves. A move is a rename(2): it is done or not, and if it is done its
//! source is gone. So the list can be worked through from the start any number of times.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use layer_layout::path;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::beneath::{Beneath, split};
use super::lock;
use crate::repository::{Error, JournalError, Result};

/// One name that is to appear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    /// Path in the repository, and in the staging area.
    pub(super) path: String,
    /// Permission bits that the directory gets after it has been moved, if they deny its owner to write:
    /// moving a directory needs that permission, because its `..` changes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) mode: Option<u32>,
}

/// Suffix of the journal's name while it is being written.
const UNFINISHED: &[u8] = b".new";

/// Writes a journal into the publisher's directory, atomically and durably.
pub(super) fn write(publisher: &OwnedFd, moves: &[Move]) -> std::io::Result<()> {
    let path = path::publisher_journal();
    let name = lock::name(&path);
    let unfinished = [name, UNFINISHED].concat();
    let result = (|| {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(publisher, &unfinished, flags, mode)?);
        file.write_all(&serde_json::to_vec_pretty(moves)?)?;
        file.sync_all()?;
        rustix::fs::renameat(publisher, &unfinished, publisher, name)?;
        Ok(rustix::fs::fsync(publisher)?)
    })();
    if result.is_err() {
        let _ = rustix::fs::unlinkat(publisher, &unfinished, AtFlags::empty());
    }
    result
}

/// The journal that a killed publisher has left. One that was still being written does not count: its
/// publisher had not moved anything.
pub(super) fn read(repository: &Beneath) -> Result<Option<Vec<Move>>> {
    let path = path::publisher_journal();
    let shown = repository.shown(path.as_str().as_bytes());
    let content = repository
        .read(path.as_str().as_bytes())
        .map_err(|cause| Error::system("read", &shown, cause))?;
    let Some(content) = content else { return Ok(None) };
    let damaged = |reason: JournalError| Error::Journal { path: shown.clone(), reason };
    let moves: Vec<Move> =
        serde_json::from_slice(&content).map_err(|error| damaged(JournalError::Json(error)))?;
    for Move { path, .. } in &moves {
        let clean = path.split('/').all(|name| !matches!(name, "" | "." | ".."));
        if !clean || path.contains('\0') {
            return Err(damaged(JournalError::Path(path.clone())));
        }
    }
    Ok(Some(moves))
}

/// Removes the journal, after which there is nothing left to finish.
pub(super) fn remove(publisher: &OwnedFd) -> rustix::io::Result<()> {
    let path = path::publisher_journal();
    let name = lock::name(&path);
    for name in [name.to_vec(), [name, UNFINISHED].concat()] {
        match rustix::fs::unlinkat(publisher, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Does the moves that have not been done yet, in order, and makes them durable.
pub(super) fn work_off(repository: &Beneath, staging: &Beneath, moves: &[Move]) -> Result<()> {
    for step in moves {
        let path = step.path.as_bytes();
        perform(repository, staging, step).map_err(|cause| match cause {
            Errno::ISDIR | Errno::LOOP | Errno::NOTDIR => repository
                .failed("move into place, because something else stands there,", path)(
                cause
            ),
            cause => repository.failed("move into place", path)(cause),
        })?;
    }
    rustix::fs::syncfs(repository).map_err(repository.failed("write back", b""))
}

fn perform(repository: &Beneath, staging: &Beneath, step: &Move) -> rustix::io::Result<()> {
    let (parent, name) = split(step.path.as_bytes());
    let staged = match staging.handle(parent) {
        Ok(fd) => Some(fd),
        Err(Errno::NOENT) => None,
        Err(error) => return Err(error),
    };
    if let Some(staged) = staged {
        repository.make_directories(parent)?;
        match rustix::fs::renameat(staged, name, repository.handle(parent)?, name) {
            // Already done, or another tree of that name was there first: it is equivalent.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    match step.mode {
        Some(mode) => {
            let parent = repository.handle(parent)?;
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
        }
        None => Ok(()),
    }
}
