//! A layer in memory while it is completed.

use super::published::PublishedLayers;
use super::{ExpectedTree, Item};
use crate::layer::Metadata;
use crate::repository::Result;
use crate::repository::byte_path::{components, split};
use crate::repository::parents::complete::{Existing, Incomplete};
use crate::repository::parents::inheritance::LowerLink;

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
            Item::Whiteout | Item::Leaf(_) => Existing::Other,
        }))
    }

    fn make_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let made = self.tree.add_directory(Some(metadata.clone()));
        self.put(path, made);
        Ok(())
    }

    fn dress(&mut self, directory: &[u8], metadata: &Metadata) -> Result<()> {
        if let Some(number) = self.directory(directory) {
            self.tree.directories[number].metadata = Some(metadata.clone());
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
