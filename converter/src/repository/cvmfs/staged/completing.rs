//! A layer in a database while it is completed.

use std::collections::HashMap;

use super::database::{Inode, InodeKind, OPAQUE};
use super::tree::Tree;
use super::{Attributes, Staged};
use crate::layer::{LayerPath, Metadata};
use crate::repository::Result;
use crate::repository::below::completion::{Incomplete, There, carry_out};
use crate::repository::below::plan::{LowerLink, Plan};
use crate::repository::cvmfs::attributes::{NodeType, metadata, pack};
use crate::repository::cvmfs::remarks::Remarks;
use crate::repository::cvmfs::view::{Identity, Lower};
use crate::repository::layer_rules::implied;
use crate::repository::names::components;

/// Completes a layer from the layers below it. Gives remarks on attributes that it cannot have.
pub(in super::super) fn complete(layer: &Staged, plan: &Plan, lower: &Lower) -> Result<Remarks> {
    let mut tree = layer.change()?;
    tree.at_once(|tree| {
        let mut incomplete =
            InDatabase { tree, lower, remarks: Remarks::default(), linked: HashMap::new() };
        carry_out(plan, &mut incomplete, &implied())?;
        Ok(incomplete.remarks)
    })
}

struct InDatabase<'a> {
    tree: &'a mut Tree,
    lower: &'a Lower,
    remarks: Remarks,
    /// Where the files of lower layers have got their first names.
    linked: HashMap<Identity, Vec<u8>>,
}

impl InDatabase<'_> {
    fn directory(&self, path: &[u8]) -> Result<Option<Inode>> {
        Ok(self.tree.find(path)?.filter(|inode| inode.kind == InodeKind::Directory))
    }

    fn pack(&mut self, path: &[u8], metadata: &Metadata) -> Attributes {
        let path = components(path).fold(LayerPath::ROOT, |path, name| path.join(name));
        pack(metadata, NodeType::Directory, &path, &mut self.remarks)
    }
}

impl Incomplete for InDatabase<'_> {
    fn there(&self, path: &[u8]) -> Result<Option<There>> {
        Ok(self.tree.find(path)?.map(|inode| match inode.kind {
            InodeKind::Directory => There::Directory,
            InodeKind::Symlink => There::Symlink,
            InodeKind::Whiteout => There::Whiteout,
            _ => There::Other,
        }))
    }

    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.tree.names(directory)
    }

    fn make_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let attributes = self.pack(path, metadata);
        self.tree.make_directory(path, attributes)
    }

    fn attributes(&self, directory: &[u8]) -> Result<Metadata> {
        match self.directory(directory)? {
            Some(inode) => metadata(&inode.attributes),
            None => Ok(Metadata::default()),
        }
    }

    fn dress(&mut self, directory: &[u8], metadata: &Metadata) -> Result<()> {
        let attributes = self.pack(directory, metadata);
        self.tree.dress(directory, &attributes)
    }

    fn is_opaque(&self, directory: &[u8]) -> Result<bool> {
        Ok(self.directory(directory)?.is_some_and(|inode| inode.flags & OPAQUE != 0))
    }

    fn make_opaque(&mut self, directory: &[u8]) -> Result<()> {
        self.tree.make_opaque(directory)
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        self.tree.rename(from, to)
    }

    fn remove(&mut self, path: &[u8]) -> Result<()> {
        self.tree.remove(path)
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
