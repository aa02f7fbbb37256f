//! What the tree of a layer has to be, worked out in memory from the layer's tar, to compare published trees with.
//!
//! It takes some hundred bytes for each entry; of content only the SHA-256 is kept. The rules are those by which layers
//! are unpacked ([`layer_rules`](super::layer_rules), [`parents`](super::parents)), so what comes out is what a publisher
//! should have written, whatever the repository can hold of it ([`Repository::kept`](super::Repository::kept)).
//!
//! | file | what it is for |
//! |---|---|
//! | `store` | unpacking into memory |
//! | `completing` | giving a layer what it takes from its parents |
//! | `published` | the parents, where they are published |

mod completing;
mod published;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use layer_layout::{DiffId, RepositoryPath};

use self::completing::Completing;
use self::published::PublishedLayers;
use super::layer_rules::{LayerRules, implied};
use super::parents;
use super::parents::inheritance::inherit;
use super::{OpenEnds, Repository, Result, TreeNode};
use crate::error::LayerError;
use crate::layer::{LayerReader, Limits, Metadata};

/// The tree of a layer.
#[derive(Debug, Clone)]
pub struct ExpectedTree {
    /// By number; the root is the first. Those that were removed are empty.
    directories: Vec<Directory>,
    /// By number; hard links are names of one.
    leaves: Vec<ExpectedLeaf>,
}

#[derive(Debug, Clone, Default)]
struct Directory {
    names: BTreeMap<Box<[u8]>, Item>,
    /// `None` if no entry describes it.
    metadata: Option<Metadata>,
    opaque: bool,
    /// Names that are removed from the lower layers.
    removed: BTreeSet<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Directory(usize),
    Leaf(usize),
    Whiteout,
}

/// Something that holds no names.
#[derive(Debug, Clone)]
pub struct ExpectedLeaf {
    /// What it is; the content of a file by its SHA-256, if that is known.
    pub node: TreeNode,
    /// Its attributes.
    pub metadata: Metadata,
}

/// What a name in a layer has to be.
#[derive(Debug)]
pub enum Expected<'a> {
    /// A directory.
    Directory(ExpectedDirectory<'a>),
    /// Anything else that is seen.
    Leaf(&'a ExpectedLeaf),
    /// It is removed from the lower layers.
    Whiteout,
}

/// A directory of a layer.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedDirectory<'a> {
    tree: &'a ExpectedTree,
    number: usize,
}

impl ExpectedTree {
    /// Reads a layer's blob to its end. Gives also what only the layers below can tell, and the digest of the tar.
    ///
    /// # Errors
    /// If it cannot be read, or is no layer.
    pub fn read(
        blob: impl Read + Send + 'static,
        limits: Limits,
    ) -> Result<(Self, OpenEnds, DiffId), LayerError> {
        let mut reader = LayerReader::new(blob, limits)?;
        let mut rules = LayerRules::new(Self::new());
        while let Some(entry) = reader.next_entry()? {
            rules.apply(&entry, &mut reader.content())?;
        }
        let summary = reader.finish()?;
        let (tree, open_ends) = rules.finish()?;
        Ok((tree, open_ends, summary.diff_id))
    }

    /// Completes the layer from the published trees that it lies on, topmost first.
    ///
    /// # Errors
    /// If those cannot be read, or the layer does not fit on them.
    pub fn complete(
        &mut self,
        open_ends: &OpenEnds,
        repository: &dyn Repository,
        parents: &[RepositoryPath],
    ) -> Result<()> {
        let layers = PublishedLayers::new(repository, parents);
        let inheritance = inherit(open_ends, parents, &layers)?;
        let mut completing = Completing { tree: self, layers: &layers };
        parents::complete::complete(&inheritance, &mut completing, &implied())
    }

    /// Its root.
    pub fn root(&self) -> ExpectedDirectory<'_> {
        ExpectedDirectory { tree: self, number: 0 }
    }

    fn new() -> Self {
        Self { directories: vec![Directory::default()], leaves: Vec::new() }
    }
}

impl<'a> ExpectedDirectory<'a> {
    /// Its attributes.
    pub fn metadata(&self) -> Metadata {
        self.directory().metadata.clone().unwrap_or_else(implied)
    }

    /// Whether it hides what lower layers have there.
    pub fn is_opaque(&self) -> bool {
        self.directory().opaque
    }

    /// Its names, in order.
    pub fn names(&self) -> impl Iterator<Item = (&'a [u8], Expected<'a>)> {
        let tree = self.tree;
        self.directory().names.iter().map(move |(name, item)| {
            let expected = match *item {
                Item::Directory(number) => Expected::Directory(Self { tree, number }),
                Item::Leaf(number) => Expected::Leaf(&tree.leaves[number]),
                Item::Whiteout => Expected::Whiteout,
            };
            (&**name, expected)
        })
    }

    fn directory(&self) -> &'a Directory {
        &self.tree.directories[self.number]
    }
}
