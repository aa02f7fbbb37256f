//! What the files of trees hold: compared with the layers of the registry, or with the hashes in the repository.

use std::collections::BTreeMap;

use layer_layout::{Digest, LayerDigest, LayerPath, RepositoryPath};
use sha2::{Digest as _, Sha256};

use super::fault::{Difference, Fault};
use super::merged::Differences;
use crate::layer::{Metadata, Timestamp};
use crate::repository::expected::{Expected, ExpectedDirectory, ExpectedLeaf, ExpectedTree};
use crate::repository::{
    ContentId, Repository, Result, Stored, TreeDirectory, TreeEntry, TreeNode,
};
use crate::tree::Class;

/// An attribute that the security module of the machine gives to files, if the layer does not.
const OF_THE_MACHINE: &[u8] = b"security.selinux";
/// Setuid and setgid.
const SET_ID_BITS: u32 = 0o6000;
/// How the attributes begin that ordinary users may set.
const USER_XATTR: &[u8] = b"user.";

/// What was found out about the content of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Finding {
    pub(super) faults: Vec<Fault>,
    /// Files that this process may not read, with the reason for the first.
    pub(super) forbidden: Option<String>,
    /// The trees that the tree has files of: if one of those is wrong, so may these be.
    pub(super) leans_on: Vec<RepositoryPath>,
}

/// The SHA-256 of a file's content.
fn digest(
    repository: &dyn Repository,
    tree: &RepositoryPath,
    file: &LayerPath,
) -> Result<(Stored, Digest)> {
    let mut hash = Sha256::new();
    let stored = repository.read_content(tree, file, &mut |bytes| hash.update(bytes))?;
    Ok((stored, Digest::from_bytes(hash.finalize().into())))
}

/// Whether two files can be read and hold the same.
pub(super) fn same_content(
    repository: &dyn Repository,
    one: (&RepositoryPath, &LayerPath),
    other: (&RepositoryPath, &LayerPath),
) -> Result<bool> {
    let one = digest(repository, one.0, one.1)?;
    Ok(one.0 == Stored::Intact && one == digest(repository, other.0, other.1)?)
}

/// Reads the files of a tree that `wanted` names, and tells which of them are damaged.
///
/// # Errors
/// If the repository cannot be read.
pub(super) fn damage(
    repository: &dyn Repository,
    tree: &RepositoryPath,
    layer: Option<LayerDigest>,
    wanted: impl Fn(&LayerPath) -> bool,
) -> Result<Finding> {
    let mut damaged = Damaged::default();
    for_each_file(repository, tree, |path| {
        if wanted(path) {
            damaged.note(path, repository.read_content(tree, path, &mut |_| {})?);
        }
        Ok(())
    })?;
    Ok(damaged.finding(tree, layer))
}

/// Takes away what is damaged of a tree's stored content, so that publishing the tree again stores it anew.
///
/// # Errors
/// If the repository cannot be read, or refuses.
pub fn discard_damaged(repository: &dyn Repository, tree: &RepositoryPath) -> Result<()> {
    for_each_file(repository, tree, |path| repository.discard_damaged(tree, path))
}

fn for_each_file(
    repository: &dyn Repository,
    tree: &RepositoryPath,
    mut each: impl FnMut(&LayerPath) -> Result<()>,
) -> Result<()> {
    let mut open = vec![LayerPath::ROOT];
    while let Some(path) = open.pop() {
        let Some(directory) = repository.read_directory(tree, &path)? else { continue };
        for entry in directory.entries {
            let child = path.join(&entry.name);
            match entry.node {
                TreeNode::Directory => open.push(child),
                TreeNode::File { .. } => each(&child)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Files that cannot be read as they should.
#[derive(Default)]
struct Damaged {
    count: usize,
    first: Option<(LayerPath, String)>,
    forbidden: Option<String>,
}

impl Damaged {
    fn note(&mut self, path: &LayerPath, stored: Stored) {
        match stored {
            Stored::Damaged(reason) => {
                self.count += 1;
                self.first.get_or_insert_with(|| (path.clone(), reason));
            }
            Stored::Forbidden(reason) => {
                self.forbidden.get_or_insert_with(|| format!("{path}: {reason}"));
            }
            // Removed in the meantime.
            Stored::Intact | Stored::Absent => {}
        }
    }

    fn finding(self, tree: &RepositoryPath, layer: Option<LayerDigest>) -> Finding {
        let Self { count, first, forbidden } = self;
        let fault = |(example, reason)| Fault::Damaged {
            tree: tree.clone(),
            layer,
            count,
            example,
            reason,
        };
        Finding { faults: first.map(fault).into_iter().collect(), forbidden, leans_on: Vec::new() }
    }
}

/// Compares the published tree of a layer with what the layer's tar gives, every file to its last byte.
///
/// # Errors
/// If the repository cannot be read.
pub(super) fn compare(
    repository: &dyn Repository,
    layer: LayerDigest,
    tree: &RepositoryPath,
    expected: &ExpectedTree,
) -> Result<Finding> {
    let mut comparison = Comparison {
        repository,
        tree,
        by_ordinary_user: is_by_ordinary_user(repository, layer)?,
        differences: Differences::default(),
        damaged: Damaged::default(),
    };
    let mut open = vec![(LayerPath::ROOT, expected.root())];
    while let Some((path, directory)) = open.pop() {
        match repository.read_directory(tree, &path)? {
            Some(published) => comparison.directory(&path, directory, &published, &mut open)?,
            None => comparison.differences.add(path, Difference::Missing),
        }
    }
    let Comparison { differences, damaged, .. } = comparison;
    let mut finding = damaged.finding(tree, Some(layer));
    let count = differences.count;
    let fault = |(example, what)| Fault::Layer { tree: tree.clone(), layer, count, example, what };
    finding.faults.extend(differences.first.map(fault));
    Ok(finding)
}

/// Whether somebody other than root has published a layer into a directory, who may set neither owners nor most
/// attributes, nor make devices.
fn is_by_ordinary_user(repository: &dyn Repository, layer: LayerDigest) -> Result<bool> {
    if repository.expands_variables() {
        return Ok(false);
    }
    let directory = layer_layout::path::layer(&layer);
    let directory = repository.read_directory(&directory, &LayerPath::ROOT)?;
    Ok(directory.is_some_and(|directory| directory.metadata.uid != 0))
}

struct Comparison<'a> {
    repository: &'a dyn Repository,
    tree: &'a RepositoryPath,
    by_ordinary_user: bool,
    differences: Differences,
    damaged: Damaged,
}

impl Comparison<'_> {
    fn directory<'e>(
        &mut self,
        path: &LayerPath,
        expected: ExpectedDirectory<'e>,
        published: &TreeDirectory,
        open: &mut Vec<(LayerPath, ExpectedDirectory<'e>)>,
    ) -> Result<()> {
        if path.is_root() {
            let metadata = expected.metadata();
            let same = expected.is_opaque() == published.opaque
                && self.same_attributes(b"", &TreeNode::Directory, &metadata, &published.metadata);
            if !same {
                self.differences.add(path.clone(), Difference::Attributes);
            }
        }
        let mut there: BTreeMap<&[u8], &TreeEntry> =
            published.entries.iter().map(|entry| (&*entry.name, entry)).collect();
        for (name, expected) in expected.names() {
            let child = path.join(name);
            let difference = match (expected, there.remove(name)) {
                (expected, None) => self.is_needed(name, &expected).then_some(Difference::Missing),
                (Expected::Whiteout, Some(entry)) => {
                    (entry.class != Class::Whiteout).then_some(Difference::Content)
                }
                (Expected::Directory(directory), Some(entry)) => {
                    let difference = self.of_directory(name, &directory, entry);
                    if difference != Some(Difference::Content) {
                        open.push((child.clone(), directory));
                    }
                    difference
                }
                (Expected::Leaf(leaf), Some(entry)) => self.of_leaf(&child, name, leaf, entry)?,
            };
            if let Some(difference) = difference {
                self.differences.add(child, difference);
            }
        }
        for name in there.into_keys() {
            self.differences.add(path.join(name), Difference::Surplus);
        }
        Ok(())
    }

    /// Whether a name has to be there, as far as the repository and its publisher can make it.
    fn is_needed(&self, name: &[u8], expected: &Expected<'_>) -> bool {
        let device = |node: &TreeNode| {
            matches!(node, TreeNode::CharacterDevice(..) | TreeNode::BlockDevice(..))
        };
        match expected {
            Expected::Leaf(leaf) => {
                self.repository.kept(name, &leaf.node, &leaf.metadata).is_some()
                    && !(self.by_ordinary_user && device(&leaf.node))
            }
            Expected::Directory(_) | Expected::Whiteout => true,
        }
    }

    fn of_directory(
        &self,
        name: &[u8],
        expected: &ExpectedDirectory<'_>,
        entry: &TreeEntry,
    ) -> Option<Difference> {
        if entry.node != TreeNode::Directory {
            return Some(Difference::Content);
        }
        let same = entry.class == Class::Directory { opaque: expected.is_opaque() }
            && self.same_attributes(name, &entry.node, &expected.metadata(), &entry.metadata);
        (!same).then_some(Difference::Attributes)
    }

    fn of_leaf(
        &mut self,
        path: &LayerPath,
        name: &[u8],
        expected: &ExpectedLeaf,
        entry: &TreeEntry,
    ) -> Result<Option<Difference>> {
        match (&expected.node, &entry.node) {
            (TreeNode::File { size, content }, TreeNode::File { size: found, .. }) => {
                if size != found {
                    return Ok(Some(Difference::Content));
                }
                let (stored, digest) = digest(self.repository, self.tree, path)?;
                if stored == Stored::Intact
                    && matches!(content, ContentId::Sha256(expected) if *expected != digest)
                {
                    return Ok(Some(Difference::Content));
                }
                self.damaged.note(path, stored);
            }
            (expected, found) if expected != found => return Ok(Some(Difference::Content)),
            _ => {}
        }
        let same = self.same_attributes(name, &expected.node, &expected.metadata, &entry.metadata);
        Ok((!same).then_some(Difference::Attributes))
    }

    fn same_attributes(
        &self,
        name: &[u8],
        node: &TreeNode,
        expected: &Metadata,
        found: &Metadata,
    ) -> bool {
        let Some(expected) = self.repository.kept(name, node, expected) else { return true };
        let mut found = found.clone();
        if !expected.xattrs.contains_key(OF_THE_MACHINE) {
            found.xattrs.remove(OF_THE_MACHINE);
        }
        let [expected, found] = [expected, found].map(|metadata| self.comparable(metadata));
        expected == found
    }

    /// The part of attributes that has to be as in the tar. File systems store times more or less exactly, so whole
    /// seconds have to do.
    fn comparable(&self, mut metadata: Metadata) -> Metadata {
        metadata.mtime = Timestamp { nanoseconds: 0, ..metadata.mtime };
        if self.by_ordinary_user {
            (metadata.uid, metadata.gid) = (0, 0);
            metadata.mode &= !SET_ID_BITS;
            metadata.xattrs.retain(|name, _| name.starts_with(USER_XATTR));
        }
        metadata
    }
}
