//! The layers on which a layer lies, on disk.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::area::Area;
use super::attributes::{self, Holder};
use super::beneath::{Beneath, split};
use super::listing::{class_of, is_opaque};
use crate::layer::Metadata;
use crate::repository::Result;
use crate::repository::below::Layers;
use crate::tree::Class;

/// Layers that are published or prepared, topmost first.
pub(super) struct OnDisk<'a> {
    pub(super) area: &'a Area,
    pub(super) trees: &'a [Arc<Beneath>],
}

impl Layers for OnDisk<'_> {
    fn count(&self) -> usize {
        self.trees.len()
    }

    fn class(&self, layer: usize, path: &[u8]) -> Result<Option<Class>> {
        let tree = &self.trees[layer];
        let class = || -> Result<_, Errno> {
            let class = if path.is_empty() {
                Some(Class::Directory { opaque: false })
            } else {
                let (parent, name) = split(path);
                class_of(self.area.directory(tree, parent)?, name)?
            };
            if let Some(Class::Directory { .. }) = class {
                let opaque = is_opaque(self.area.directory(tree, path)?)?;
                return Ok(Some(Class::Directory { opaque }));
            }
            Ok(class)
        };
        class().map_err(tree.failed("look at", path))
    }

    fn symlink(&self, layer: usize, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let tree = &self.trees[layer];
        let (parent, name) = split(path);
        let read = || -> Result<_, Errno> {
            let parent = self.area.directory(tree, parent)?;
            let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                return Ok(None);
            }
            Ok(Some(rustix::fs::readlinkat(&parent, name, Vec::new())?.into_bytes()))
        };
        read().map_err(tree.failed("read", path))
    }

    fn attributes(&self, layer: usize, path: &[u8]) -> Result<Metadata> {
        let tree = &self.trees[layer];
        let read = || -> Result<_, Errno> {
            let directory = self.area.directory(tree, path)?;
            let stat = rustix::fs::fstat(&directory)?;
            attributes::read(Holder::Open(directory.as_fd()), &stat)
        };
        let mut metadata: Metadata = read().map_err(tree.failed("read the attributes of", path))?;
        metadata.mode = self.area.original_mode(tree, path, metadata.mode);
        Ok(metadata)
    }
}
