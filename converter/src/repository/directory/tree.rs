//! Published trees, to compare them.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, Result};

use super::attributes::{self, Holder};
use super::beneath::Beneath;
use super::listing::{Lister, is_opaque, is_whiteout};
use crate::repository::{ContentId, TreeDirectory, TreeEntry, TreeNode};
use crate::tree::Class;

/// Reads a directory; `None` if there is none.
pub(super) fn read(root: &Beneath, path: &[u8]) -> Result<Option<TreeDirectory>> {
    let directory = match root.directory(path) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::fstat(&directory)?;
    let metadata = attributes::read(Holder::Open(directory.as_fd()), &stat)?;
    let mut names = Vec::new();
    Lister::new().names(&directory, |name, _| {
        names.push(name.to_vec());
        Ok(())
    })?;
    let mut entries = Vec::with_capacity(names.len());
    for name in names {
        match entry(&directory, name) {
            Ok(entry) => entries.push(entry),
            // Removed in the meantime.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(TreeDirectory { opaque: is_opaque(&directory)?, metadata, entries }))
}

fn entry(directory: &OwnedFd, name: Vec<u8>) -> Result<TreeEntry> {
    let stat = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
    let file_type = FileType::from_raw_mode(stat.st_mode);
    let here = directory.as_fd();
    let holder = match file_type {
        FileType::Symlink => Holder::Symlink(here, &name),
        _ => Holder::Special(here, &name),
    };
    let metadata = attributes::read(holder, &stat)?;
    let class = match file_type {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let child = rustix::fs::openat(directory, &*name, flags, Mode::empty())?;
            Class::Directory { opaque: is_opaque(child)? }
        }
        _ if is_whiteout(&stat) => Class::Whiteout,
        _ => Class::Leaf,
    };
    let node = node(directory, &name, file_type, &stat)?;
    Ok(TreeEntry { name, class, node, metadata })
}

fn node(directory: &OwnedFd, name: &[u8], file_type: FileType, stat: &Stat) -> Result<TreeNode> {
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(match file_type {
        FileType::Directory => TreeNode::Directory,
        FileType::Symlink => {
            TreeNode::Symlink(rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes())
        }
        FileType::CharacterDevice => TreeNode::CharacterDevice(device.0, device.1),
        FileType::BlockDevice => TreeNode::BlockDevice(device.0, device.1),
        FileType::Fifo => TreeNode::Fifo,
        FileType::Socket => TreeNode::Socket,
        FileType::RegularFile | FileType::Unknown => TreeNode::File {
            size: stat.st_size.unsigned_abs(),
            content: ContentId::Inode(stat.st_dev, stat.st_ino),
        },
    })
}
