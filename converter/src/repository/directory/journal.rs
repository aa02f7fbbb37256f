//! What a publisher has begun to move into place, so that the work of a killed publisher can be finished.
//!
//! Everything that will be visible lies in the staging area under the path it will have; what has to go is moved aside
//! and deleted when all is done. The journal lists the moves in their order. As long as there is a journal nothing that
//! was moved aside is deleted, so one can see of every move whether it was done, and the list can be worked through from
//! the start any number of times.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use layer_layout::{RepositoryPath, path};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::area::CREATE;
use super::beneath::Beneath;
use super::{guard, lock};
use crate::repository::{Error, JournalError, Result};

/// A change of one name. In JSON, what does not apply is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    /// Path in the repository, and in the staging area.
    pub(super) path: String,
    /// Permission bits that the directory gets after it has been moved, if they deny its owner to write:
    /// moving a directory needs that permission, because its `..` changes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) mode: Option<u32>,
    /// The name of the place that what is there now is moved aside to. Without it, something that replaces a file or
    /// symlink, or takes a free name, comes from the staging area.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) aside: Option<u64>,
    /// The inode number of what comes from the staging area in exchange for what is moved aside. Without it, nothing
    /// does. It tells whether the exchange was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) inode: Option<u64>,
}

impl Move {
    /// Something prepared gets its name.
    pub(super) fn appearing(path: &RepositoryPath, mode: Option<u32>) -> Self {
        Self { path: path.as_str().to_owned(), mode, aside: None, inode: None }
    }

    /// Something published loses its name.
    pub(super) fn disappearing(path: &RepositoryPath, aside: u64) -> Self {
        let path = path.as_str().to_owned();
        Self { path, mode: None, aside: Some(aside), inode: None }
    }

    /// Something prepared takes the name of something published.
    pub(super) fn replacing(
        path: &RepositoryPath,
        mode: Option<u32>,
        aside: u64,
        inode: u64,
    ) -> Self {
        let path = path.as_str().to_owned();
        Self { path, mode, aside: Some(aside), inode: Some(inode) }
    }
}

/// Suffix of the journal's name while it is being written.
const UNFINISHED: &[u8] = b".new";

/// Writes a journal into the publisher's directory, atomically and durably.
pub(super) fn write(publisher: &OwnedFd, moves: &[Move]) -> std::io::Result<()> {
    let path = path::publisher_journal();
    let name = lock::name(&path);
    let unfinished = [name, UNFINISHED].concat();
    let result = (|| {
        // One that a killed publisher was writing.
        match rustix::fs::unlinkat(publisher, &unfinished, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(publisher, &unfinished, CREATE, mode)?);
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
///
/// It counts only if this publisher's user has made it: who can make others publish or set modes has to be trusted.
pub(super) fn read(repository: &Beneath, publisher: &OwnedFd) -> Result<Option<Vec<Move>>> {
    let path = path::publisher_journal();
    let shown = repository.shown(path.as_str().as_bytes());
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(publisher, lock::name(&path), flags, Mode::empty()) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Ok(None),
        Err(cause) => return Err(Error::system("read", shown, cause)),
    };
    guard::check_own(repository, &path, &opened, FileType::RegularFile)?;
    let mut content = Vec::new();
    File::from(opened)
        .read_to_end(&mut content)
        .map_err(|cause| Error::system("read", &shown, cause))?;
    let damaged = |reason: JournalError| Error::Journal { path: shown.clone(), reason };
    let moves: Vec<Move> =
        serde_json::from_slice(&content).map_err(|error| damaged(JournalError::Json(error)))?;
    for Move { path, .. } in &moves {
        if RepositoryPath::parse(path).is_none() {
            return Err(damaged(JournalError::Path(path.clone())));
        }
    }
    Ok(Some(moves))
}

/// Removes the journal durably, after which there is nothing left to finish.
pub(super) fn remove(publisher: &OwnedFd) -> rustix::io::Result<()> {
    let path = path::publisher_journal();
    let name = lock::name(&path);
    let mut removed = false;
    for name in [name.to_vec(), [name, UNFINISHED].concat()] {
        match rustix::fs::unlinkat(publisher, name, AtFlags::empty()) {
            Ok(()) => removed = true,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    if removed { rustix::fs::fsync(publisher) } else { Ok(()) }
}
