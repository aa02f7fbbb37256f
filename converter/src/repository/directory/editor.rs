//! Adding files to a tree that shares its content with others.
//!
//! The tree's own symlinks are followed as they will be in a container, with the tree's root as `/`
//! (openat2(2), `RESOLVE_IN_ROOT`). A file is never overwritten in place, since its inode may have names in
//! other trees: it gets a new inode. Additions have the time of the tree's root, so that the same image
//! always gives the same tree.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::area::{Area, CREATE, refused};
use super::attributes::{self, Holder};
use super::beneath::{Beneath, components, join, split};
use super::remove::remove;
use super::shortfall::Shortfalls;
use super::unchanged::unchanged;
use crate::layer::{Metadata, Timestamp};
use crate::repository::{Error, OPEN_ROOT, Result, TreeEditor};

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Adds to one prepared tree.
pub(super) struct Editor {
    area: Arc<Area>,
    tree: Beneath,
    time: Timestamp,
}

/// A path as components below the root. What this program itself adds has no `..`.
fn clean(path: &Path) -> Vec<u8> {
    components(path.as_os_str().as_bytes()).collect::<Vec<_>>().join(&b'/')
}

impl Editor {
    pub(super) fn new(area: Arc<Area>, tree: Beneath) -> Result<Self> {
        let root = rustix::fs::fstat(&tree).map_err(tree.failed("look at", b""))?;
        Ok(Self { area, time: attributes::mtime_of(&root), tree })
    }

    fn find(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        loop {
            // openat2(2): if a symlink leads through `..`, any rename or mount on the machine at that moment
            // makes the kernel give up and ask for another attempt.
            match rustix::fs::openat2(&self.tree, path, flags, Mode::empty(), IN_ROOT) {
                Err(Errno::AGAIN) => {}
                found => return found,
            }
        }
    }

    /// Whether `path` leads to anything. Symlinks in a circle do not.
    fn resolves(&self, path: &[u8]) -> Result<bool> {
        match self.find(path, OFlags::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(error) => Err(self.tree.failed("look at", path)(error)),
        }
    }

    /// Changes the names in a directory and nothing else about it.
    fn change<T>(&self, path: &[u8], change: impl FnOnce(&OwnedFd) -> Result<T>) -> Result<T> {
        let failed = |error| self.tree.failed("change", path)(error);
        unchanged(&self.find(path, OFlags::DIRECTORY).map_err(failed)?, failed, change)
    }

    fn dress(&self, holder: Holder<'_>, path: &[u8], mode: u32) -> Result<()> {
        let metadata = Metadata { mode, mtime: self.time, ..Metadata::default() };
        let mut missing = Shortfalls::default();
        let dressed = self.area.fresh.redress(holder, &metadata, &mut missing);
        self.area.tally.add(missing);
        dressed.map_err(refused(&self.tree, path))
    }
}

impl TreeEditor for Editor {
    fn ensure_directory(&mut self, path: &Path) -> Result<()> {
        let path = clean(path);
        let mut at = Vec::new();
        for name in components(&path) {
            let parent = at.clone();
            at = join(&at, name);
            if self.resolves(&at)? {
                continue;
            }
            self.change(&parent, |directory| {
                let failed = |error| self.tree.failed("make", &at)(error);
                // A symlink that leads nowhere is replaced.
                remove(directory, name).map_err(failed)?;
                rustix::fs::mkdirat(directory, name, Mode::RWXU).map_err(failed)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made =
                    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(failed)?;
                self.dress(Holder::Open(made.as_fd()), &at, 0o755)
            })?;
        }
        Ok(())
    }

    fn write_file(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let path = clean(path);
        let (parent, name) = split(&path);
        self.change(parent, |directory| {
            let failed = |error: Errno| self.tree.failed("write", &path)(error);
            remove(directory, name).map_err(failed)?;
            let file = rustix::fs::openat(directory, name, CREATE, Mode::RUSR | Mode::WUSR);
            let mut file = File::from(file.map_err(failed)?);
            file.write_all(content)
                .map_err(|cause| Error::system("write", self.tree.shown(&path), cause))?;
            self.dress(Holder::Open(file.as_fd()), &path, mode)
        })
    }

    fn ensure_file(&mut self, path: &Path, mode: u32) -> Result<()> {
        if self.resolves(&clean(path))? { Ok(()) } else { self.write_file(path, mode, b"") }
    }

    fn ensure_symlink(&mut self, path: &Path, target: &str) -> Result<()> {
        let path = clean(path);
        if self.resolves(&path)? {
            return Ok(());
        }
        let (parent, name) = split(&path);
        self.change(parent, |directory| {
            let failed = |error| self.tree.failed("make", &path)(error);
            remove(directory, name).map_err(failed)?;
            rustix::fs::symlinkat(target, directory, name).map_err(failed)?;
            self.dress(Holder::Symlink(directory.as_fd(), name), &path, 0o777)
        })
    }

    fn open_root(&mut self) -> Result<()> {
        let failed = |error| self.tree.failed("set the mode of", b"")(error);
        let root = rustix::fs::fstat(&self.tree).map_err(failed)?;
        let mode = Mode::from_raw_mode(attributes::mode_of(&root) | OPEN_ROOT);
        rustix::fs::fchmod(&self.tree, mode).map_err(failed)
    }
}
