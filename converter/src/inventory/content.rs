//! The layers, chains and flat roots that there are.

use std::collections::BTreeSet;

use layer_layout::path::{self, Unit};
use layer_layout::{ChainId, RepositoryPath};

use super::View;
use super::view::readers;
use crate::repository::{Published, Result};

/// All of them, whether or not anything refers to them. What does not have a name of theirs is not among them.
///
/// # Errors
/// If a directory cannot be read.
pub(super) fn find(view: &(impl View + ?Sized)) -> Result<BTreeSet<Unit>> {
    let mut shards = Vec::new();
    for root in [path::flats(), path::chains(), path::layers()] {
        for (name, published) in view.list(Some(&root))? {
            if published == Published::Directory {
                shards.extend(RepositoryPath::of_name(Some(&root), &name));
            }
        }
    }
    let in_shard = |shard: &RepositoryPath| -> Result<Vec<_>> {
        let names = view.list(Some(shard))?.into_iter();
        let directories = names.filter(|(_, published)| *published == Published::Directory);
        let paths = directories.filter_map(|(name, _)| RepositoryPath::of_name(Some(shard), &name));
        Ok(paths.filter_map(|path| Unit::of_path(&path)).collect())
    };
    Ok(readers().each(&shards, in_shard)?.into_iter().flatten().collect())
}

/// Whether a directory below `.chains` is one of DUCC's: a root file system, and not what this program puts into every
/// chain. Its name is no ChainID, and nobody but DUCC reads it, while it makes a flat root.
///
/// # Errors
/// If it cannot be looked at.
pub fn is_ducc_chain(view: &(impl View + ?Sized), chain: &ChainId) -> Result<bool> {
    for part in [path::chain_layer(chain), path::chain_rootfs(chain), path::chain_layerfs(chain)] {
        if view.lookup(&part)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The content that the `layer` link of a chain leads to. Usually it is one of the image's own layers; it is another if
/// an image with the same layers, compressed in another way, was published first.
///
/// # Errors
/// If the link cannot be read.
pub fn linked_layer(view: &(impl View + ?Sized), chain: &ChainId) -> Result<Option<Unit>> {
    Ok(match view.lookup(&path::chain_layer(chain))? {
        Some(Published::Symlink(target)) => Unit::of_link_target(&target),
        _ => None,
    })
}

/// Whether the target of a chain's `layer` link leads to the tree of a layer that is there.
///
/// # Errors
/// If it cannot be looked at.
pub fn leads_to_layer(view: &(impl View + ?Sized), target: &str) -> Result<bool> {
    let tree = match Unit::of_link_target(target) {
        Some(Unit::Layer(layer)) => path::layerfs(&layer),
        Some(Unit::Chain(chain)) => path::chain_layerfs(&chain),
        _ => return Ok(false),
    };
    let is_its_tree = target.ends_with(tree.as_str());
    Ok(is_its_tree && view.lookup(&tree)? == Some(Published::Directory))
}
