//! Deletes trees whose content cannot be trusted, because containers wrote it.
//!
//! Every step is relative to an open directory and refuses symbolic links and mount points (openat2(2),
//! `RESOLVE_NO_SYMLINKS`, `RESOLVE_NO_XDEV`; Linux 5.6). So nothing outside the tree can be reached, neither
//! through a link nor through a forgotten bind mount.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, openat2, renameat_with,
    unlinkat,
};
use rustix::io::Errno;

/// Directories below this depth are moved up and deleted from there, so that few files are open however deep a tree is.
const MAX_DEPTH: usize = 64;

fn open(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

/// Deletes everything in `directory`, which must not be a symbolic link. Goes on after an error, and returns the
/// first one.
pub(super) fn empty(directory: &Path) -> io::Result<()> {
    let trash = rustix::fs::openat(
        CWD,
        directory,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut removal = Removal { trash, number: 0, moved: true, failure: None };
    // Every round shortens the deepest path by `MAX_DEPTH`.
    while std::mem::take(&mut removal.moved) {
        let trash = removal.trash.try_clone()?;
        removal.contents(trash, 0);
    }
    removal.failure.map_or(Ok(()), Err)
}

struct Removal {
    trash: OwnedFd,
    number: usize,
    /// Whether something was moved up, so that there is more to do.
    moved: bool,
    failure: Option<io::Error>,
}

impl Removal {
    fn note(&mut self, name: &std::ffi::CStr, error: Errno) {
        if error != Errno::NOENT && self.failure.is_none() {
            let message = format!("{}: {error}", name.to_string_lossy());
            self.failure = Some(io::Error::new(io::Error::from(error).kind(), message));
        }
    }

    fn contents(&mut self, directory: OwnedFd, depth: usize) {
        let names = Dir::read_from(&directory).and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| (entry.file_name().to_owned(), entry.file_type())))
                .filter(|entry| {
                    !matches!(entry, Ok((name, _)) if matches!(name.to_bytes(), b"." | b".."))
                })
                .collect::<Result<Vec<_>, _>>()
        });
        let names = match names {
            Ok(names) => names,
            Err(error) => return self.note(c"(directory)", error),
        };
        for (name, kind) in names {
            let removed = match kind {
                FileType::Directory => self.tree(&directory, &name, depth),
                FileType::Unknown => match unlinkat(&directory, &name, AtFlags::empty()) {
                    Err(Errno::ISDIR | Errno::PERM) => self.tree(&directory, &name, depth),
                    other => other,
                },
                _ => unlinkat(&directory, &name, AtFlags::empty()),
            };
            if let Err(error) = removed {
                self.note(&name, error);
            }
        }
    }

    fn move_up(&mut self, parent: &OwnedFd, name: &std::ffi::CStr) -> Result<(), Errno> {
        loop {
            self.number += 1;
            let free = format!("deep-{}", self.number);
            match renameat_with(parent, name, &self.trash, free, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.moved = true;
                    return Ok(());
                }
            }
        }
    }

    fn tree(&mut self, parent: &OwnedFd, name: &std::ffi::CStr, depth: usize) -> Result<(), Errno> {
        if depth == MAX_DEPTH {
            return self.move_up(parent, name);
        }
        self.contents(open(parent, name)?, depth + 1);
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            // Something in it could not be deleted, which is noted already.
            Err(Errno::NOTEMPTY) if self.failure.is_some() => Ok(()),
            other => other,
        }
    }
}
