//! Whether a layer is in the form that overlayfs needs.

use std::collections::HashMap;

use layer_layout::overlay::WHITEOUT_PREFIX;
use layer_layout::{LayerDigest, LayerPath, RepositoryPath, path};

use super::fault::Fault;
use crate::repository::{Repository, Result, TreeNode};

/// The layers that have been looked at: each is looked at once, however many images have it.
#[derive(Default)]
pub(super) struct Layers(HashMap<LayerDigest, Option<Fault>>);

impl Layers {
    /// What is wrong with a layer's tree; `None` if it is as it should be.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn fault(
        &mut self,
        repository: &dyn Repository,
        layer: LayerDigest,
    ) -> Result<Option<Fault>> {
        if let Some(known) = self.0.get(&layer) {
            return Ok(known.clone());
        }
        let fault = look(repository, layer, &path::layerfs(&layer))?;
        self.0.insert(layer, fault.clone());
        Ok(fault)
    }
}

fn look(
    repository: &dyn Repository,
    layer: LayerDigest,
    tree: &RepositoryPath,
) -> Result<Option<Fault>> {
    let mut found: Vec<LayerPath> = Vec::new();
    let mut open = vec![LayerPath::ROOT];
    let mut is_there = false;
    while let Some(path) = open.pop() {
        let Some(directory) = repository.read_directory(tree, &path)? else { continue };
        is_there = true;
        for entry in directory.entries {
            if entry.node == TreeNode::Directory {
                // One with such a name, as AUFS's `.wh..wh.plnk`, holds ordinary files.
                open.push(path.join(&entry.name));
            } else if entry.name.starts_with(WHITEOUT_PREFIX) {
                found.push(path.join(&entry.name));
            }
        }
    }
    if !is_there {
        return Ok(Some(Fault::Missing(tree.clone())));
    }
    found.sort();
    let count = found.len();
    Ok(found.into_iter().next().map(|example| Fault::LiteralWhiteouts { layer, count, example }))
}
