//! The tree of a layer on disk while it is completed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::area::{Area, refused};
use super::attributes::Holder;
use super::beneath::{Beneath, split};
use super::copy::Linker;
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
            _ => Existing::Other,
        }))
    }

    fn make_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let (parent, name) = split(path);
        self.change(parent, |directory| {
            rustix::fs::mkdirat(directory, name, Mode::RWXU).map_err(self.tree.failed("make", path))
        })?;
        self.dress(path, metadata)
    }

    fn dress(&mut self, directory: &[u8], metadata: &Metadata) -> Result<()> {
        let opened = self.open(directory)?;
        self.area
            .fresh
            .redress(Holder::Open(opened.as_fd()), metadata, &mut self.missing)
            .map_err(refused(self.tree, directory))
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
