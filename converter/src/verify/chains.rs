//! What nodes look up by ChainID: whether there is something where it leads.
//!
//! Chains that belong to no image count, too, because nodes do not know of images.

use layer_layout::RepositoryPath;
use layer_layout::path::{self, Unit};

use super::fault::Fault;
use super::verify;
use crate::inventory::{Inventory, is_ducc_chain, leads_to_layer, places};
use crate::repository::{Published, Repository, Result};

/// What is wrong with the chains of a repository: links that lead nowhere, and merged roots that are missing or are not
/// what the layers give. Neither registries nor the content of files are looked at, and nothing is told of DUCC's chains.
///
/// # Errors
/// If the repository cannot be read.
pub fn chain_faults(repository: &dyn Repository) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for unit in Inventory::take(repository)?.content {
        let Unit::Chain(chain) = unit else { continue };
        if !is_ducc_chain(repository, &chain)? {
            faults.extend(link_fault(repository, &path::chain_layer(&chain))?);
        }
    }
    verify(repository, &places(repository)?, |verdict| {
        let of_roots = verdict.faults.into_iter().filter(is_of_root);
        let new: Vec<_> = of_roots.filter(|fault| !faults.contains(fault)).collect();
        faults.extend(new);
    })?;
    Ok(faults)
}

/// What is wrong with the link that leads to the top layer of a chain.
fn link_fault(repository: &dyn Repository, link: &RepositoryPath) -> Result<Option<Fault>> {
    let Some(published) = repository.lookup(link)? else {
        return Ok(Some(Fault::Missing(link.clone())));
    };
    let target = match published {
        Published::Symlink(target) => target,
        _ => "something that is no link".to_owned(),
    };
    if leads_to_layer(repository, &target)? {
        return Ok(None);
    }
    Ok(Some(Fault::Dangling { path: link.clone(), target }))
}

/// Whether a fault is about the merged root of a chain.
fn is_of_root(fault: &Fault) -> bool {
    match fault {
        Fault::Tree { tree, .. } => matches!(Unit::of_path(tree), Some(Unit::Chain(_))),
        Fault::Missing(path) => {
            matches!(Unit::of_path(path), Some(Unit::Chain(chain)) if *path == path::chain_rootfs(&chain))
        }
        _ => false,
    }
}
