//! Published trees as the rules for [`parents`](crate::repository::parents) see them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use layer_layout::{Digest, LayerPath, RepositoryPath};
use sha2::{Digest as _, Sha256};

use super::ExpectedLeaf;
use crate::layer::Metadata;
use crate::repository::byte_path::{components, split};
use crate::repository::parents::Layers;
use crate::repository::{
    ContentId, Repository, Result, Stored, TreeDirectory, TreeEntry, TreeNode,
};
use crate::tree::Class;

/// Directories that have been read, by the number of their layer and their path.
type Known = HashMap<(usize, Vec<u8>), Option<Rc<TreeDirectory>>>;

/// Published layers, topmost first.
pub(super) struct PublishedLayers<'a> {
    repository: &'a dyn Repository,
    trees: &'a [RepositoryPath],
    known: RefCell<Known>,
}

/// A clean path out of its bytes.
fn layer_path(path: &[u8]) -> LayerPath {
    components(path).fold(LayerPath::ROOT, |path, name| path.join(name))
}

impl<'a> PublishedLayers<'a> {
    pub(super) fn new(repository: &'a dyn Repository, trees: &'a [RepositoryPath]) -> Self {
        Self { repository, trees, known: RefCell::default() }
    }

    fn directory(&self, layer: usize, path: &[u8]) -> Result<Option<Rc<TreeDirectory>>> {
        let key = (layer, path.to_vec());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let read = self.repository.read_directory(&self.trees[layer], &layer_path(path))?;
        let read = read.map(Rc::new);
        self.known.borrow_mut().insert(key, read.clone());
        Ok(read)
    }

    fn entry(&self, layer: usize, path: &[u8]) -> Result<Option<TreeEntry>> {
        let (parent, name) = split(path);
        let directory = self.directory(layer, parent)?;
        Ok(directory.and_then(|directory| {
            directory.entries.iter().find(|entry| entry.name == name).cloned()
        }))
    }

    /// What is no directory at a path of a layer, with the hash of its content if that can be read; `None` if nothing is.
    pub(super) fn leaf(&self, layer: usize, path: &[u8]) -> Result<Option<ExpectedLeaf>> {
        let Some(TreeEntry { node, metadata, .. }) = self.entry(layer, path)? else {
            return Ok(None);
        };
        let node = match node {
            TreeNode::File { size, content } => {
                let mut hash = Sha256::new();
                let (tree, file) = (&self.trees[layer], layer_path(path));
                let mut each = |bytes: &[u8]| hash.update(bytes);
                let content = match self.repository.read_content(tree, &file, &mut each)? {
                    Stored::Intact => ContentId::Sha256(Digest::from_bytes(hash.finalize().into())),
                    // What is wrong with it is told where it is.
                    _ => content,
                };
                TreeNode::File { size, content }
            }
            node => node,
        };
        Ok(Some(ExpectedLeaf { node, metadata }))
    }
}

impl Layers for PublishedLayers<'_> {
    fn count(&self) -> usize {
        self.trees.len()
    }

    fn class(&self, layer: usize, path: &[u8]) -> Result<Option<Class>> {
        if path.is_empty() {
            let root = self.directory(layer, path)?;
            return Ok(root.map(|root| Class::Directory { opaque: root.opaque }));
        }
        Ok(self.entry(layer, path)?.map(|entry| entry.class))
    }

    fn symlink(&self, layer: usize, path: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.entry(layer, path)?.and_then(|entry| match entry.node {
            TreeNode::Symlink(target) => Some(target),
            _ => None,
        }))
    }

    fn attributes(&self, layer: usize, path: &[u8]) -> Result<Metadata> {
        let directory = self.directory(layer, path)?;
        Ok(directory.map(|directory| directory.metadata.clone()).unwrap_or_default())
    }
}
