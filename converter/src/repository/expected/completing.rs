//! A layer in memory while it is completed.

use super::published::PublishedLayers;
use super::{ExpectedTree, Item};
use crate::layer::Metadata;
use crate::repository::Result;
use crate::repository::byte_path::{components, split};
use crate::repository::layer_rules::implied;
use crate::repository::parents::complete::{Existing, Incomplete};
use crate::repository::parents::inheritance::LowerLink;
use crate::repository::tree::TreeNode;

pub(super) struct Completing<'a> {
    pub(super) tree: &'a mut ExpectedTree,
    pub(super) layers: &'a PublishedLayers<'a>,
}

impl Completing<'_> {
    fn find(&self, path: &[u8]) -> Option<Item> {
        let mut found = Item::Directory(0);
        for name in components(path) {
            let Item::Directory(directory) = found else { return None };
            found = self.tree.get(directory, name)?;
        }
        Some(found)
    }

    fn directory(&self, path: &[u8]) -> Option<usize> {
        match self.find(path) {
            Some(Item::Directory(number)) => Some(number),
            _ => None,
        }
    }

    fn put(&mut self, path: &[u8], item: Item) {
        let (parent, name) = split(path);
        if let Some(parent) = self.directory(parent) {
            self.tree.put(parent, name, item);
        }
    }
}

impl Incomplete for Completing<'_> {
    fn existing(&self, path: &[u8]) -> Result<Option<Existing>> {
        Ok(self.find(path).map(|item| match item {
            Item::Directory(_) => Existing::Directory,
            Item::Whiteout => Existing::Whiteout,
            Item::Leaf(leaf) => match self.tree.leaves[leaf].node {
                TreeNode::Symlink(_) => Existing::Symlink,
                _ => Existing::Other,
            },
        }))
    }

    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>> {
        let directory = self.directory(directory).map(|number| &self.tree.directories[number]);
        let names = directory.into_iter().flat_map(|directory| directory.names.keys());
        Ok(names.map(|name| name.to_vec()).collect())
    }

    fn make_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let made = self.tree.add_directory(Some(metadata.clone()));
        self.put(path, made);
        Ok(())
    }

    fn attributes(&self, directory: &[u8]) -> Result<Metadata> {
        let directory = self.directory(directory).map(|number| &self.tree.directories[number]);
        Ok(directory.and_then(|directory| directory.metadata.clone()).unwrap_or_else(implied))
    }

    fn dress(&mut self, directory: &[u8], metadata: &Metadata) -> Result<()> {
        if let Some(number) = self.directory(directory) {
            self.tree.directories[number].metadata = Some(metadata.clone());
        }
        Ok(())
    }

    fn is_opaque(&self, directory: &[u8]) -> Result<bool> {
        Ok(self.directory(directory).is_some_and(|number| self.tree.directories[number].opaque))
    }

    fn make_opaque(&mut self, directory: &[u8]) -> Result<()> {
        if let Some(number) = self.directory(directory) {
            self.tree.directories[number].opaque = true;
        }
        Ok(())
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        let (parent, name) = split(from);
        let moved = self
            .directory(parent)
            .and_then(|number| self.tree.directories[number].names.remove(name));
        if let Some(moved) = moved {
            self.put(to, moved);
        }
        Ok(())
    }

    fn remove(&mut self, path: &[u8]) -> Result<()> {
        let (parent, name) = split(path);
        if let Some(parent) = self.directory(parent) {
            self.tree.take(parent, name);
        }
        Ok(())
    }

    fn link(&mut self, link: &LowerLink, names: &[&[u8]]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        if let Some(lower) = self.layers.leaf(link.layer, &link.target)? {
            let leaf = self.tree.add_leaf(lower);
            names.iter().for_each(|name| self.put(name, leaf));
        }
        Ok(())
    }
}
