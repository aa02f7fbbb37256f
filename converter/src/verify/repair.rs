//! What has to be published again to mend what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use layer_layout::path::Unit;
use layer_layout::{ImagePlace, LayerDigest, RepositoryPath};

use super::Verdict;
use super::fault::Fault;
use super::republish::has_flat;
use crate::inventory::Inventory;

/// What has to be published again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepairPlan {
    /// Layers to be fetched again and to take the place of those that are there.
    pub layers: BTreeSet<LayerDigest>,
    /// What each image needs, in the order of their places.
    pub images: BTreeMap<ImagePlace, ImageRepair>,
    /// Trees with stored content that is damaged and must not be used again.
    pub damaged: BTreeSet<RepositoryPath>,
}

/// What has to be published again of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageRepair {
    /// The documents, from the registry.
    pub metadata: bool,
    /// The links of its chains.
    pub chains: bool,
    /// The merged root, in place of the one that is there.
    pub rootfs: bool,
    /// The flat root, in place of the one that is there.
    pub flat: bool,
    /// The link that leads to the flat root.
    pub link: bool,
}

impl RepairPlan {
    /// Plans to mend all that was found. A layer that is replaced changes the roots of every image that has it, also of
    /// those that nobody has looked at.
    pub fn new(inventory: &Inventory, verdicts: &[Verdict]) -> Self {
        let mut plan = Self::default();
        for verdict in verdicts {
            for fault in &verdict.faults {
                plan.add(&verdict.place, fault);
            }
            plan.layers.extend(&verdict.leaning);
        }
        for image in &inventory.images {
            let Some(place) = &image.place else { continue };
            if image.layers.iter().any(|layer| plan.layers.contains(layer)) {
                let repair = plan.images.entry(place.clone()).or_default();
                (repair.rootfs, repair.flat) = (true, true);
            }
        }
        for (place, repair) in &mut plan.images {
            // Without a flat root it was published so.
            repair.flat &= has_flat(inventory, place);
        }
        plan
    }

    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty() && self.images.is_empty()
    }

    fn add(&mut self, place: &ImagePlace, fault: &Fault) {
        if matches!(fault, Fault::Unsigned(_)) {
            // Nothing that is published again would change that.
            return;
        }
        let image = self.images.entry(place.clone()).or_default();
        match fault {
            Fault::Document { .. } | Fault::Manifest { .. } => image.metadata = true,
            Fault::Unsigned(_) => {}
            Fault::NoChains => (image.chains, image.rootfs) = (true, true),
            Fault::DiffId { layer, .. }
            | Fault::DuccForm { layer }
            | Fault::LiteralWhiteouts { layer, .. }
            | Fault::Layer { layer, .. } => drop(self.layers.insert(*layer)),
            Fault::Tree { tree, .. } => match Unit::of_path(tree) {
                Some(Unit::Flat(_)) => image.flat = true,
                _ => (image.rootfs, image.flat) = (true, true),
            },
            Fault::Damaged { tree, layer, .. } => {
                self.damaged.insert(tree.clone());
                match layer {
                    Some(layer) => drop(self.layers.insert(*layer)),
                    None => image.flat = true,
                }
            }
            Fault::Singularity { .. } => image.flat = true,
            Fault::Dangling { .. } => image.chains = true,
            Fault::Link { path, .. } | Fault::Missing(path) => match Unit::of_path(path) {
                Some(Unit::Layer(layer)) => drop(self.layers.insert(layer)),
                Some(Unit::Flat(_)) => image.flat = true,
                Some(Unit::Chain(_)) if path.as_str().ends_with("/rootfs") => image.rootfs = true,
                Some(Unit::Chain(_)) => image.chains = true,
                None if *path == place.link() => image.link = true,
                None => image.metadata = true,
            },
        }
    }
}
