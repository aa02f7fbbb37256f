//! Whether published images are what they should be: every path, link, digest and merged tree.
//!
//! What is looked at is what is published; no layer is fetched. Layers are checked against their records and for the form
//! that overlayfs needs, merged and flat roots against what the layers give, name by name with all attributes. That the
//! content of a file is what the registry has is not seen: who wants to know that has to fetch the layer.
//!
//! | file | what it is for |
//! |---|---|
//! | `fault` | what can be wrong |
//! | `image` | documents, links, chains and roots of one image |
//! | `layer` | the form of a layer |
//! | `merged` | comparing a tree with what layers give |
//! | `repair` | what has to be published again |

mod fault;
mod image;
mod layer;
mod merged;
mod repair;
#[cfg(test)]
pub(crate) mod tests;

use layer_layout::ImagePlace;
use layer_layout::path::ImageMetadata;

pub use self::fault::{Difference, Fault};
use self::image::Verifier;
use self::layer::Layers;
pub use self::repair::{ImageRepair, RepairPlan};
use crate::inventory::LayerRecords;
use crate::repository::{Repository, Result};

/// What was found out about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The image.
    pub place: ImagePlace,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

impl Verdict {
    /// Whether the image was published by DUCC, which stores no configuration.
    pub fn is_of_ducc(&self) -> bool {
        let config = self.place.metadata(ImageMetadata::Config);
        self.faults.iter().any(|fault| *fault == Fault::Missing(config.clone()))
    }
}

/// Looks at images, one after the other, and hands out what was found out about each.
///
/// # Errors
/// If the repository cannot be read. What is missing or damaged in it is among the faults.
pub fn verify(
    repository: &dyn Repository,
    places: &[ImagePlace],
    mut each: impl FnMut(Verdict),
) -> Result<()> {
    let (layers, records) = (Layers::default(), LayerRecords::default());
    let mut verifier = Verifier { repository, layers, records };
    for place in places {
        let faults = verifier.image(place)?;
        each(Verdict { place: place.clone(), faults });
    }
    Ok(())
}
