//! Removing a tree with untrusted content.
//!
//! Symlinks are removed, never followed; directories whose mode keeps their owner from reading them are
//! opened up first; and a tree that is too deep for any path is removed, too, with few open descriptors.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::{Errno, Result};

use super::beneath::set_directory_mode;

/// How many directories may be open at once. What lies deeper is moved up and removed there.
const DEPTH: usize = 64;

/// Removes `name` from `parent`, whatever it is. It need not exist.
pub(super) fn remove(parent: impl AsFd, name: &[u8]) -> Result<()> {
    let parent = parent.as_fd();
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        // EPERM is what POSIX prescribes for a directory, and what some file systems answer.
        Err(Errno::PERM) if is_directory(parent, name) => {}
        Err(error) => return Err(error),
    }
    let root = open(parent, name)?;
    empty(&root, &root, DEPTH, &mut 0)?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn is_directory(parent: impl AsFd, name: &[u8]) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens a directory that is to be emptied. For an ordinary user the mode is set first in any case: removing
/// names from a directory needs write and search permission for it.
fn open(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(&parent, name, flags, Mode::empty());
    if rustix::process::geteuid().is_root() && opened.is_ok() {
        return opened;
    }
    match opened {
        Ok(fd) => {
            rustix::fs::fchmod(&fd, Mode::RWXU)?;
            Ok(fd)
        }
        Err(Errno::ACCESS) => {
            set_directory_mode(&parent, name, Mode::RWXU)?;
            rustix::fs::openat(&parent, name, flags, Mode::empty())
        }
        Err(error) => Err(error),
    }
}

/// Removes everything in `directory`. What lies more than `depth` levels below it is moved to `root`, where
/// the outermost call finds and removes it.
fn empty(directory: &OwnedFd, root: &OwnedFd, depth: usize, moved: &mut u64) -> Result<()> {
    let mut buffer = Box::new([MaybeUninit::uninit(); 16 * 1024]);
    // Some file systems lose their position in a directory that shrinks, and the root may grow. So the
    // directory is read again until it is empty.
    loop {
        let mut directories = Vec::new();
        let mut seen = false;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let reader = rustix::fs::openat(directory, c".", flags, Mode::empty())?;
        let mut entries = RawDir::new(reader, &mut buffer[..]);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            seen = true;
            match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => directories.push(name.to_owned()),
                Err(Errno::PERM) if is_directory(directory, name.to_bytes()) => {
                    directories.push(name.to_owned());
                }
                Err(error) => return Err(error),
            }
        }
        if !seen {
            return Ok(());
        }
        for name in directories {
            let child = open(directory, name.to_bytes())?;
            if depth == 0 {
                move_up(directory, name.to_bytes(), root, moved)?;
            } else {
                empty(&child, root, depth - 1, moved)?;
                rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
            }
        }
    }
}

/// Moves a directory to `root` under the first name that is free there.
fn move_up(directory: &OwnedFd, name: &[u8], root: &OwnedFd, moved: &mut u64) -> Result<()> {
    loop {
        *moved += 1;
        match rustix::fs::renameat(directory, name, root, format!(".deep-{moved}")) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn removes_what_is_there_and_follows_nothing() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "x").unwrap();
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        std::fs::create_dir_all(tree.join("closed/inner")).unwrap();
        std::fs::write(tree.join("closed/inner/file"), "x").unwrap();
        symlink(outside.path(), tree.join("link")).unwrap();
        symlink(outside.path(), place.path().join("tree-link")).unwrap();
        for closed in ["closed/inner", "closed"] {
            let none = std::fs::Permissions::from_mode(0o0);
            std::fs::set_permissions(tree.join(closed), none).unwrap();
        }
        let parent = std::fs::File::open(place.path()).unwrap();
        for name in ["tree", "tree-link", "absent"] {
            remove(&parent, name.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(outside.path().join("kept")).unwrap(), "x");
    }

    #[test]
    fn removes_trees_deeper_than_any_path() {
        let place = tempfile::tempdir().unwrap();
        let parent = std::fs::File::open(place.path()).unwrap();
        let mut at: OwnedFd = rustix::io::dup(&parent).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "deep", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        remove(&parent, b"deep").unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
