//! Unpacking a layer into memory.

use layer_layout::Digest;
use sha2::{Digest as _, Sha256};
use std::io::Read;

use super::{Directory, ExpectedLeaf, ExpectedTree, Item};
use crate::layer::{Content, LayerPath, Metadata};
use crate::repository::layer_rules::{
    self, LayerStore, Leaf, Linked, Marks, Obstacle, Subdirectory,
};
use crate::repository::{ContentId, Error, Result, TreeNode};

/// Content is hashed in pieces of this size.
const BUFFER: usize = 64 * 1024;

type Name<'a> = layer_rules::Name<'a, usize>;

impl ExpectedTree {
    pub(super) fn get(&self, directory: usize, name: &[u8]) -> Option<Item> {
        self.directories[directory].names.get(name).copied()
    }

    /// Gives something a name; returns whether that was free.
    pub(super) fn put(&mut self, directory: usize, name: &[u8], item: Item) -> bool {
        let names = &mut self.directories[directory].names;
        let free = !names.contains_key(name);
        if free {
            names.insert(name.into(), item);
        }
        free
    }

    pub(super) fn add_directory(&mut self, metadata: Option<Metadata>) -> Item {
        self.directories.push(Directory { metadata, ..Directory::default() });
        Item::Directory(self.directories.len() - 1)
    }

    pub(super) fn add_leaf(&mut self, leaf: ExpectedLeaf) -> Item {
        self.leaves.push(leaf);
        Item::Leaf(self.leaves.len() - 1)
    }

    /// Takes a name away with all in it; returns whether it was a directory.
    pub(super) fn take(&mut self, directory: usize, name: &[u8]) -> bool {
        let Some(Item::Directory(number)) = self.directories[directory].names.remove(name) else {
            return false;
        };
        let mut gone = vec![number];
        while let Some(number) = gone.pop() {
            let directory = std::mem::take(&mut self.directories[number]);
            gone.extend(directory.names.into_values().filter_map(|item| match item {
                Item::Directory(number) => Some(number),
                _ => None,
            }));
        }
        true
    }
}

fn node(leaf: Leaf<'_>, path: &LayerPath, content: &mut Content<'_>) -> Result<TreeNode> {
    Ok(match leaf {
        Leaf::File { size } => {
            let content =
                hashed(content).map_err(|cause| Error::Content { path: path.clone(), cause })?;
            TreeNode::File { size, content: ContentId::Sha256(content) }
        }
        Leaf::Symlink { target } => TreeNode::Symlink(target.to_vec()),
        Leaf::CharacterDevice { major, minor } => TreeNode::CharacterDevice(major, minor),
        Leaf::BlockDevice { major, minor } => TreeNode::BlockDevice(major, minor),
        Leaf::Fifo => TreeNode::Fifo,
    })
}

fn hashed(content: &mut Content<'_>) -> std::io::Result<Digest> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(Digest::from_bytes(hash.finalize().into())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl LayerStore for ExpectedTree {
    type Directory = usize;

    fn root(&self) -> usize {
        0
    }

    fn directory(&mut self, at: Name<'_>) -> Result<Option<usize>> {
        Ok(match self.get(at.directory, at.name) {
            Some(Item::Directory(number)) => Some(number),
            _ => None,
        })
    }

    fn obstacle(&mut self, at: Name<'_>) -> Result<Option<Obstacle>> {
        Ok(self.get(at.directory, at.name).map(|item| match item {
            Item::Leaf(leaf) if matches!(self.leaves[leaf].node, TreeNode::Symlink(_)) => {
                Obstacle::Symlink
            }
            _ => Obstacle::Other,
        }))
    }

    fn symlink(&mut self, at: Name<'_>) -> Result<Option<Vec<u8>>> {
        Ok(match self.get(at.directory, at.name) {
            Some(Item::Leaf(leaf)) => match &self.leaves[leaf].node {
                TreeNode::Symlink(target) => Some(target.clone()),
                _ => None,
            },
            _ => None,
        })
    }

    fn make_directory(
        &mut self,
        at: Name<'_>,
        metadata: Option<&Metadata>,
    ) -> Result<Option<usize>> {
        if self.get(at.directory, at.name).is_some() {
            return Ok(None);
        }
        let made = self.add_directory(metadata.cloned());
        self.put(at.directory, at.name, made);
        Ok(match made {
            Item::Directory(number) => Some(number),
            _ => None,
        })
    }

    fn make_leaf(
        &mut self,
        at: Name<'_>,
        leaf: Leaf<'_>,
        metadata: &Metadata,
        content: &mut Content<'_>,
    ) -> Result<bool> {
        if self.get(at.directory, at.name).is_some() {
            return Ok(false);
        }
        let node = node(leaf, at.path, content)?;
        let made = self.add_leaf(ExpectedLeaf { node, metadata: metadata.clone() });
        Ok(self.put(at.directory, at.name, made))
    }

    fn link(&mut self, at: Name<'_>, target: Name<'_>) -> Result<Linked> {
        Ok(match self.get(target.directory, target.name) {
            None => Linked::NoTarget,
            Some(Item::Directory(_)) => Linked::ToDirectory,
            Some(item) => match self.put(at.directory, at.name, item) {
                true => Linked::Done,
                false => Linked::Taken,
            },
        })
    }

    fn remove(&mut self, at: Name<'_>) -> Result<bool> {
        Ok(self.take(at.directory, at.name))
    }

    fn describe(&mut self, directory: usize, _: &LayerPath, metadata: &Metadata) -> Result<()> {
        self.directories[directory].metadata = Some(metadata.clone());
        Ok(())
    }

    fn mark_opaque(&mut self, directory: usize, _: &LayerPath) -> Result<()> {
        self.directories[directory].opaque = true;
        Ok(())
    }

    fn marks(&mut self, directory: usize, _: &LayerPath) -> Result<Marks> {
        Ok(self.directories[directory].marks())
    }

    fn note_removed(&mut self, at: Name<'_>) -> Result<()> {
        self.directories[at.directory].removed.insert(at.name.to_vec());
        Ok(())
    }

    fn is_removed(&mut self, at: Name<'_>) -> Result<bool> {
        Ok(self.directories[at.directory].removed.contains(at.name))
    }

    fn removed(&mut self, directory: usize) -> Result<Vec<Vec<u8>>> {
        Ok(self.directories[directory].removed.iter().cloned().collect())
    }

    fn subdirectories(&mut self, directory: usize) -> Result<Vec<Subdirectory<usize>>> {
        let names = self.directories[directory].names.iter();
        let subdirectories = names.filter_map(|(name, item)| match *item {
            Item::Directory(directory) => {
                let marks = self.directories[directory].marks();
                Some(Subdirectory { name: name.to_vec(), directory, marks })
            }
            _ => None,
        });
        Ok(subdirectories.collect())
    }

    fn make_whiteout(&mut self, at: Name<'_>) -> Result<()> {
        self.put(at.directory, at.name, Item::Whiteout);
        Ok(())
    }

    fn close_directory(&mut self, directory: usize, _: &LayerPath) -> Result<()> {
        self.directories[directory].removed = std::collections::BTreeSet::new();
        Ok(())
    }
}

impl Directory {
    fn marks(&self) -> Marks {
        Marks { described: self.metadata.is_some(), opaque: self.opaque }
    }
}
