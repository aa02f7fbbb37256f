//! Giving a file one more name, or a copy if the file system does not allow another name.
//!
//! A file that is in many images (a licence text, an empty `__init__.py`) gets a name for each of them. File
//! systems limit the number of names: ext4 to 65,000, btrfs to fewer in one directory. At the limit a copy
//! starts a new inode, and later names in the same tree are linked to the copy, so that a group of hard links
//! remains one group.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, SeekFrom, Stat};
use rustix::io::Errno;

use super::area::CREATE;
use super::attributes::{self, Fresh, Holder, Refusal};
use super::beneath::{Beneath, join, split};
use super::listing::open_file;
use super::shortfall::Shortfalls;

/// Gives files of other trees names in a new tree.
pub(super) struct Linker<'a> {
    tree: &'a Beneath,
    fresh: Fresh,
    /// The paths of copies, by device and inode number of the original.
    copies: HashMap<(u64, u64), Vec<u8>>,
    pub(super) missing: Shortfalls,
}

/// A name in an open directory.
type At<'a> = (BorrowedFd<'a>, &'a [u8]);

impl<'a> Linker<'a> {
    pub(super) fn new(tree: &'a Beneath, fresh: Fresh) -> Self {
        Self { tree, fresh, copies: HashMap::new(), missing: Shortfalls::default() }
    }

    /// Gives what `from` names the additional name `to`, whose directory is at `path` in the new tree.
    ///
    /// EPERM is the answer of a file system without hard links, and of a kernel that does not permit links to
    /// other users' files (`fs.protected_hardlinks`).
    pub(super) fn link(&mut self, from: At<'_>, to: At<'_>, path: &[u8]) -> Result<(), Refusal> {
        match rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::MLINK | Errno::PERM) => self.copy(from, to, path),
            Err(error) => Err(Refusal::System("link", error)),
        }
    }

    fn copy(&mut self, from: At<'_>, to: At<'_>, path: &[u8]) -> Result<(), Refusal> {
        let system = |error| Refusal::System("copy to", error);
        let stat = rustix::fs::statat(from.0, from.1, AtFlags::SYMLINK_NOFOLLOW).map_err(system)?;
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(copy) = self.copies.get(&inode) {
            let (parent, name) = split(copy);
            let linked = self
                .tree
                .handle(parent)
                .and_then(|parent| rustix::fs::linkat(parent, name, to.0, to.1, AtFlags::empty()));
            match linked {
                Ok(()) => return Ok(()),
                Err(Errno::MLINK | Errno::PERM) => {}
                Err(error) => return Err(system(error)),
            }
        }
        copy_one(from, to, &stat, self.fresh, &mut self.missing)?;
        self.copies.insert(inode, join(path, to.1));
        Ok(())
    }
}

fn copy_one(
    from: At<'_>,
    to: At<'_>,
    stat: &Stat,
    fresh: Fresh,
    missing: &mut Shortfalls,
) -> Result<(), Refusal> {
    let system = |error| Refusal::System("copy to", error);
    let kind = FileType::from_raw_mode(stat.st_mode);
    match kind {
        FileType::RegularFile => {
            let source = open_file(from.0, from.1).map_err(system)?;
            let metadata = attributes::read(Holder::Open(source.as_fd()), stat).map_err(system)?;
            let mode = fresh.creation_mode(&metadata);
            let target = rustix::fs::openat(to.0, to.1, CREATE, mode).map_err(system)?;
            let (source, target) = (File::from(source), File::from(target));
            copy_data(&source, &target, stat.st_size)
                .map_err(|error| system(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
            return fresh.dress(Holder::Open(target.as_fd()), &metadata, missing);
        }
        FileType::Symlink => {
            let text = rustix::fs::readlinkat(from.0, from.1, Vec::new()).map_err(system)?;
            rustix::fs::symlinkat(text, to.0, to.1).map_err(system)?;
            let metadata =
                attributes::read(Holder::Symlink(from.0, from.1), stat).map_err(system)?;
            return fresh.dress(Holder::Symlink(to.0, to.1), &metadata, missing);
        }
        _ => {}
    }
    let metadata = attributes::read(Holder::Special(from.0, from.1), stat).map_err(system)?;
    let mode = Mode::from_raw_mode(metadata.mode);
    rustix::fs::mknodat(to.0, to.1, kind, mode, stat.st_rdev).map_err(system)?;
    fresh.dress(Holder::Special(to.0, to.1), &metadata, missing)
}

/// Copies the data; holes remain holes.
fn copy_data(source: &File, target: &File, size: i64) -> std::io::Result<()> {
    use std::io::{Read, Seek};
    let size = u64::try_from(size).expect("no file has a negative size");
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Only a hole follows.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(data))?;
        (&mut &*source).seek(std::io::SeekFrom::Start(data))?;
        (&mut &*target).seek(std::io::SeekFrom::Start(data))?;
        std::io::copy(&mut (&mut &*source).take(end - data), &mut &*target)?;
        at = end;
    }
    target.set_len(size)
}
