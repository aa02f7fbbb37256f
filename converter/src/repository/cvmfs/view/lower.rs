//! The layers on which a layer lies.

use std::cell::RefCell;
use std::collections::HashMap;

use cvmfs_repository::entry::EntryKind;
use cvmfs_repository::link_target::without_variables;

use super::dir::Dir;
use super::read_directory::{Child, ReadDirectory};
use crate::layer::Metadata;
use crate::repository::Result;
use crate::repository::byte_path::split;
use crate::repository::cvmfs::attributes::{class, metadata};
use crate::repository::cvmfs::staged::Attributes;
use crate::repository::parents::Layers;
use crate::tree::Class;

/// How many directories are cached.
const KNOWN: usize = 1024;

/// Layers, topmost first.
pub(in super::super) struct Lower {
    layers: Vec<Dir>,
    /// Directories by layer and path.
    known: RefCell<Known>,
}

type Known = HashMap<(usize, Vec<u8>), Option<Dir>>;

/// What the names of one inode have in common. In the repository format, names in different directories are
/// never hard links, so they are not here either, whether the layer is already published or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in super::super) struct Identity {
    layer: usize,
    directory: Vec<u8>,
    inode: Inode,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Inode {
    Group(u32),
    Name(Vec<u8>),
}

impl Lower {
    pub(in super::super) fn new(layers: Vec<Dir>) -> Self {
        Self { layers, known: RefCell::default() }
    }

    fn directory(&self, layer: usize, path: &[u8]) -> Result<Option<Dir>> {
        if path.is_empty() {
            return Ok(Some(self.layers[layer].clone()));
        }
        let key = (layer, path.to_vec());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let (parent, name) = split(path);
        let directory = match self.directory(layer, parent)? {
            Some(parent) => parent.enter(name)?,
            None => None,
        };
        let mut known = self.known.borrow_mut();
        if known.len() == KNOWN {
            known.clear();
        }
        known.insert(key, directory.clone());
        Ok(directory)
    }

    /// What a layer has at a path; a symlink there is not followed.
    pub(in super::super) fn find(&self, layer: usize, path: &[u8]) -> Result<Option<Child>> {
        let (parent, name) = split(path);
        match self.directory(layer, parent)? {
            Some(parent) => parent.child(name),
            None => Ok(None),
        }
    }

    /// Shows whether two names in lower layers are the same file: then their identities are equal.
    pub(in super::super) fn identity(layer: usize, path: &[u8], child: &Child) -> Identity {
        let inode = match child.entry.links.group {
            0 => Inode::Name(child.name.clone()),
            group => Inode::Group(group),
        };
        Identity { layer, directory: split(path).0.to_vec(), inode }
    }
}

impl Layers for Lower {
    fn count(&self) -> usize {
        self.layers.len()
    }

    fn class(&self, layer: usize, path: &[u8]) -> Result<Option<Class>> {
        if path.is_empty() {
            return class(self.layers[layer].entry()).map(Some);
        }
        self.find(layer, path)?.map(|child| class(&child.entry)).transpose()
    }

    fn symlink(&self, layer: usize, path: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.find(layer, path)?.and_then(|child| match child.entry.kind {
            EntryKind::Symlink(target) => Some(without_variables(&target).into_owned()),
            _ => None,
        }))
    }

    fn attributes(&self, layer: usize, path: &[u8]) -> Result<Metadata> {
        match self.directory(layer, path)? {
            Some(directory) => metadata(&Attributes::of(directory.entry())),
            None => Ok(Metadata::default()),
        }
    }
}
