//! The tree of a layer on disk while it is completed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::area::{Area, refused};
use super::attributes::{self, Holder};
use super::beneath::{Beneath, split};
use super::copy::Linker;
use super::layer::mark_opaque;
use super::listing::{Lister, is_opaque, is_whiteout};
use super::remove::remove;
use super::shortfall::Shortfalls;
use super::unchanged::unchanged;
use crate::layer::Metadata;
use crate::repository::layer_rules::implied;
use crate::repository::parents::complete::{Existing, Incomplete};
use crate::repository::parents::inheritance::{Inheritance, LowerLink};
use crate::repository::{Result, parents};

/// Completes the layer in `tree` from those below it, topmost first.
pub(super) fn complete(
    area: &Area,
    tree: &Arc<Beneath>,
    inheritance: &Inheritance,
    layers: &[Arc<Beneath>],
) -> Result<()> {
    let linker = Linker::new(tree, area.fresh);
    let mut layer = OnDisk { area, tree, layers, linker, missing: Shortfalls::default() };
    parents::complete::complete(inheritance, &mut layer, &implied())?;
    area.tally.add(layer.linker.missing);
    area.tally.add(layer.missing);
    Ok(())
}

struct OnDisk<'a> {
    area: &'a Area,
    tree: &'a Arc<Beneath>,
    layers: &'a [Arc<Beneath>],
    linker: Linker<'a>,
    missing: Shortfalls,
}

impl OnDisk<'_> {
    /// Opens a directory of the layer.
    fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        self.area.directory(self.tree, path).map_err(self.tree.failed("open", path))
    }

    /// Changes the names in a directory of the layer and nothing else of it.
    fn change<T>(&self, path: &[u8], change: impl FnOnce(&OwnedFd) -> Result<T>) -> Result<T> {
        let failed = |error| self.tree.failed("change", path)(error);
        unchanged(&self.open(path)?, failed, change)
    }
}

impl Incomplete for OnDisk<'_> {
    fn existing(&self, path: &[u8]) -> Result<Option<Existing>> {
        let stat = match self.tree.stat(path) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.tree.failed("look at", path)(error)),
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Existing::Directory,
            FileType::Symlink => Existing::Symlink,
            _ if is_whiteout(&stat) => Existing::Whiteout,
            _ => Existing::Other,
        }))
    }

    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        Lister::new()
            .names(&self.open(directory)?, |name, _| {
                names.push(name.to_vec());
                Ok(())
            })
            .map_err(self.tree.failed("read", directory))?;
        Ok(names)
    }

    fn make_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let (parent, name) = split(path);
        self.change(parent, |directory| {
            rustix::fs::mkdirat(directory, name, Mode::RWXU).map_err(self.tree.failed("make", path))
        })?;
        self.dress(path, metadata)
    }

    fn attributes(&self, directory: &[u8]) -> Result<Metadata> {
        let opened = self.open(directory)?;
        rustix::fs::fstat(&opened)
            .and_then(|stat| attributes::read(Holder::Open(opened.as_fd()), &stat))
            .map_err(self.tree.failed("read the attributes of", directory))
    }

    fn dress(&mut self, directory: &[u8], metadata: &Metadata) -> Result<()> {
        let opened = self.open(directory)?;
        self.area
            .fresh
            .redress(Holder::Open(opened.as_fd()), metadata, &mut self.missing)
            .map_err(refused(self.tree, directory))
    }

    fn is_opaque(&self, directory: &[u8]) -> Result<bool> {
        is_opaque(self.open(directory)?).map_err(self.tree.failed("look at", directory))
    }

    fn make_opaque(&mut self, directory: &[u8]) -> Result<()> {
        mark_opaque(self.open(directory)?).map_err(self.tree.failed("mark as opaque", directory))
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        let ((old_parent, old), (parent, name)) = (split(from), split(to));
        let source = self.open(old_parent)?;
        self.change(parent, |directory| {
            rustix::fs::renameat_with(&source, old, directory, name, RenameFlags::NOREPLACE)
                .map_err(self.tree.failed("move", to))
        })
    }

    fn remove(&mut self, path: &[u8]) -> Result<()> {
        let (parent, name) = split(path);
        self.change(parent, |directory| {
            remove(directory, name).map_err(self.tree.failed("remove", path))
        })
    }

    fn link(&mut self, link: &LowerLink, names: &[&[u8]]) -> Result<()> {
        let lower = &self.layers[link.layer];
        let (file_parent, file) = split(&link.target);
        let source = self.area.directory(lower, file_parent);
        let source = source.map_err(lower.failed("open", file_parent))?;
        for path in names {
            let (parent, name) = split(path);
            let opened = self.open(parent)?;
            let failed = |error| self.tree.failed("change", parent)(error);
            unchanged(&opened, failed, |directory| {
                self.linker
                    .link((source.as_fd(), file), (directory.as_fd(), name), parent)
                    .map_err(refused(self.tree, path))
            })?;
        }
        Ok(())
    }
}
