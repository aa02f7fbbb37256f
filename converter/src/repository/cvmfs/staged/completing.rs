//! A layer in a database while it is completed.

use std::collections::HashMap;

use super::database::InodeKind;
use super::tree::Tree;
use super::{Attributes, Staged};
use crate::layer::{LayerPath, Metadata};
use crate::repository::byte_path::components;
use crate::repository::cvmfs::attributes::{NodeType, pack};
use crate::repository::cvmfs::shortfall::Shortfalls;
use crate::repository::cvmfs::view::{Identity, Lower};
use crate::repository::layer_rules::implied;
use crate::repository::parents::complete::{Existing, Incomplete};
use crate::repository::parents::inheritance::{Inheritance, LowerLink};
use crate::repository::{Result, parents};

/// Completes a layer from the layers below it. Returns what the format cannot hold of the attributes that it got.
pub(in super::super) fn complete(
    layer: &Staged,
    inheritance: &Inheritance,
    lower: &Lower,
) -> Result<Shortfalls> {
    let mut tree = layer.change()?;
    tree.at_once(|tree| {
        let mut incomplete =
            InDatabase { tree, lower, shortfalls: Shortfalls::default(), linked: HashMap::new() };
        parents::complete::complete(inheritance, &mut incomplete, &implied())?;
        Ok(incomplete.shortfalls)
    })
}

struct InDatabase<'a> {
    tree: &'a mut Tree,
    lower: &'a Lower,
    shortfalls: Shortfalls,
    /// Where the files of lower layers have got their first names.
    linked: HashMap<Identity, Vec<u8>>,
}

impl InDatabase<'_> {
    fn pack(&mut self, path: &[u8], metadata: &Metadata) -> Attributes {
        let path = components(path).fold(LayerPath::ROOT, |path, name| path.join(name));
        pack(metadata, NodeType::Directory, &path, &mut self.shortfalls)
    }
}

impl Incomplete for InDatabase<'_> {
    fn existing(&self, path: &[u8]) -> Result<Option<Existing>> {
        Ok(self.tree.find(path)?.map(|inode| match inode.kind {
            InodeKind::Directory => Existing::Directory,
            _ => Existing::Other,
        }))
    }

    fn make_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let attributes = self.pack(path, metadata);
        self.tree.make_directory(path, attributes)
    }

    fn dress(&mut self, directory: &[u8], metadata: &Metadata) -> Result<()> {
        let attributes = self.pack(directory, metadata);
        self.tree.dress(directory, &attributes)
    }

    fn link(&mut self, link: &LowerLink, names: &[&[u8]]) -> Result<()> {
        let (Some(&first), Some(child)) =
            (names.first(), self.lower.find(link.layer, &link.target)?)
        else {
            return Ok(());
        };
        let identity = Lower::identity(link.layer, &link.target, &child);
        match self.linked.get(&identity).cloned() {
            Some(known) => {
                for name in names {
                    self.tree.link(&known, name)?;
                }
            }
            None => {
                self.tree.put(names, child.entry)?;
                self.linked.insert(identity, first.to_vec());
            }
        }
        Ok(())
    }
}
