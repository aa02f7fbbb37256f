//! The layers, chains and flat roots that there are.

use std::collections::BTreeSet;

use layer_layout::path::{self, Unit};
use layer_layout::{ChainId, RepositoryPath};

use super::View;
use super::view::walk;
use crate::repository::{Published, Result};

/// All of them, whether or not anything refers to them. What does not have a name of theirs is not among them.
///
/// # Errors
/// If a directory cannot be read.
pub(super) fn find(view: &(impl View + ?Sized)) -> Result<BTreeSet<Unit>> {
    let mut units = BTreeSet::new();
    for root in [path::flats(), path::chains(), path::layers()] {
        let take = |directory: Option<&RepositoryPath>, names: &[(String, Published)]| {
            for (name, published) in names {
                let unit = RepositoryPath::of_name(directory, name)
                    .filter(|_| *published == Published::Directory)
                    .and_then(|path| Unit::of_path(&path));
                units.extend(unit);
            }
            Ok(())
        };
        let is_shard = |directory: Option<&RepositoryPath>, _: &str| directory == Some(&root);
        walk(view, Some(root.clone()), take, is_shard)?;
    }
    Ok(units)
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
