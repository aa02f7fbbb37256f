//! Whether a tree is what its layers give.
//!
//! In a directory, a file of the tree usually is the layer's file under another name. Where it is not, only a reading of
//! both tells whether they hold the same.

use std::collections::BTreeMap;

use layer_layout::{LayerPath, RepositoryPath};

use super::content::same_content;
use super::fault::Difference;
use crate::layer::Metadata;
use crate::repository::{Repository, Result, TreeDirectory, TreeEntry, TreeNode};
use crate::tree::{Listing, Merged, seen, stack};

/// How far a name may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Not at all.
    Nothing,
    /// In its attributes: something was added below it.
    Attributes,
    /// In any way, and all that is below it, too: it was added.
    Everything,
}

/// In how many names a tree differs, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Differences {
    pub(super) count: usize,
    pub(super) first: Option<(LayerPath, Difference)>,
}

impl Differences {
    pub(super) fn add(&mut self, path: LayerPath, what: Difference) {
        self.count += 1;
        self.first.get_or_insert((path, what));
    }
}

/// Compares `tree` with what is seen of `layers`, topmost first, name by name; with `data` also the content of files
/// that are separate from those of the layers.
///
/// # Errors
/// If one of the trees cannot be read.
pub(super) fn differences(
    repository: &dyn Repository,
    layers: &[RepositoryPath],
    tree: &RepositoryPath,
    data: bool,
    allowed: impl Fn(&LayerPath) -> Allowed,
) -> Result<Differences> {
    let mut differences = Differences::default();
    let mut open = vec![(LayerPath::ROOT, (0..layers.len()).collect::<Vec<_>>())];
    while let Some((path, sources)) = open.pop() {
        let mut merging = Vec::new();
        for &layer in &sources {
            if let Some(directory) = repository.read_directory(&layers[layer], &path)? {
                let opaque = directory.opaque;
                merging.push((layer, directory));
                // Only the root may turn out to be opaque here; below it, sources end there already.
                if opaque && path.is_root() {
                    break;
                }
            }
        }
        let Some(published) = repository.read_directory(tree, &path)? else {
            differences.add(path, Difference::Missing);
            continue;
        };
        if path.is_root()
            && let Some((_, top)) = merging.first()
            && allowed(&path) == Allowed::Nothing
            && top.metadata != published.metadata
        {
            differences.add(path.clone(), Difference::Attributes);
        }
        let compared = compare(&path, &merging, &published, &allowed, &mut differences);
        for (layer, path) in compared.copies.into_iter().filter(|_| data) {
            if !same_content(repository, (&layers[layer], &path), (tree, &path))? {
                differences.add(path, Difference::Content);
            }
        }
        open.extend(compared.below);
    }
    Ok(differences)
}

/// What is left to do for a directory.
struct Compared {
    /// The directories in it, with the layers that contribute to them.
    below: Vec<(LayerPath, Vec<usize>)>,
    /// The files that may be copies of a layer's.
    copies: Vec<(usize, LayerPath)>,
}

/// Compares one directory.
fn compare(
    path: &LayerPath,
    merging: &[(usize, TreeDirectory)],
    published: &TreeDirectory,
    allowed: &impl Fn(&LayerPath) -> Allowed,
    differences: &mut Differences,
) -> Compared {
    let listings = merging.iter().map(|(layer, directory)| -> Listing<(usize, &TreeEntry)> {
        let entries = directory.entries.iter();
        entries.map(|entry| (entry.name.clone(), (entry.class, (*layer, entry)))).collect()
    });
    let mut there: BTreeMap<&[u8], &TreeEntry> =
        published.entries.iter().map(|entry| (&*entry.name, entry)).collect();
    let (mut below, mut copies) = (Vec::new(), Vec::new());
    for (name, merged) in seen(stack(listings)) {
        let child = path.join(&name);
        let entry = there.remove(&*name);
        let allowed = allowed(&child);
        if allowed == Allowed::Everything {
            continue;
        }
        let (expected, sources) = match &merged {
            Merged::Leaf((_, entry)) => (*entry, Vec::new()),
            Merged::Directory { sources, .. } => {
                let Some(&(_, top)) = sources.first() else { continue };
                (top, sources.iter().map(|(layer, _)| *layer).collect())
            }
            Merged::Whiteout => continue,
        };
        if let (Merged::Leaf((layer, from)), Some(entry)) = (&merged, entry)
            && from.node != entry.node
            && from.node.may_equal(&entry.node)
        {
            copies.push((*layer, child.clone()));
        }
        match entry.map(|entry| difference(expected, entry, allowed)) {
            None => differences.add(child, Difference::Missing),
            Some(Some(what @ Difference::Content)) => differences.add(child, what),
            Some(what) => {
                if let Some(what) = what {
                    differences.add(child.clone(), what);
                }
                if expected.node == TreeNode::Directory {
                    below.push((child, sources));
                }
            }
        }
    }
    for name in there.into_keys() {
        let child = path.join(name);
        // A directory may have been made for what was added below it.
        if allowed(&child) == Allowed::Nothing {
            differences.add(child, Difference::Surplus);
        }
    }
    Compared { below, copies }
}

fn difference(expected: &TreeEntry, found: &TreeEntry, allowed: Allowed) -> Option<Difference> {
    if !expected.node.may_equal(&found.node) {
        return Some(Difference::Content);
    }
    let same = |left: &Metadata, right: &Metadata| allowed != Allowed::Nothing || left == right;
    (!same(&expected.metadata, &found.metadata)).then_some(Difference::Attributes)
}
