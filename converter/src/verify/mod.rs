//! Whether published images are what they should be: every path, link, digest and merged tree.
//!
//! What is looked at is what is published, and the documents that the registries have; layers are fetched only to compare
//! the content of files. Layers are checked against their records and for the form that overlayfs needs, merged and flat
//! roots against what the layers give, name by name with all attributes.
//!
//! | file | what it is for |
//! |---|---|
//! | `fault` | what can be wrong |
//! | `registry` | whether the documents are those of the registry |
//! | `image` | documents, links, chains and roots of one image |
//! | `chains` | what nodes look up by ChainID |
//! | `public_path` | where public paths have to lead |
//! | `layer` | the form of a layer |
//! | `layer_tars` | layers of the registry, to compare published trees with |
//! | `content` | what files hold |
//! | `merged` | comparing a tree with what layers give |
//! | `repair` | what has to be published again |
//! | `republish` | where that comes from |

mod chains;
mod content;
mod fault;
mod image;
mod layer;
mod layer_tars;
mod merged;
mod public_path;
mod registry;
mod repair;
mod republish;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use layer_layout::path::ImageMetadata;
use layer_layout::{ImagePlace, LayerDigest, RepositoryPath};

pub use self::chains::chain_faults;
use self::content::Finding;
pub use self::content::discard_damaged;
pub use self::fault::{Difference, Fault};
use self::image::{Looked, Verifier};
use self::layer::Layers;
use self::layer_tars::{LayerTree, Tars};
use self::registry::Compared;
pub use self::registry::Comparison;
pub use self::repair::{ImageRepair, RepairPlan};
pub use self::republish::{Republication, Republications, republications};
use crate::inventory::LayerRecords;
use crate::layer::Limits;
use crate::repository::Repository;
use crate::{Error, Result, repository, source};

/// How images are verified.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How registries are asked; `None` if they are not.
    pub registry: Option<source::Options>,
    /// Whether the content of files is compared, too: with the layers of the registry, or else with the hashes that the
    /// repository has noted.
    pub data: bool,
    /// What no layer may exceed.
    pub limits: Limits,
    /// How many images are compared with their registries at a time.
    pub at_a_time: usize,
}

/// What was found out about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The image.
    pub place: ImagePlace,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
    /// What came of comparing it with its registry, if it was.
    pub comparison: Option<Comparison>,
    /// What could not be looked at, with the reasons.
    pub not_compared: Vec<String>,
    /// Layers that have files of others whose content is wrong, so that they have to be made again with those.
    pub leaning: BTreeSet<LayerDigest>,
}

impl Verdict {
    /// Whether the image was published by DUCC, which stores no configuration.
    pub fn is_of_ducc(&self) -> bool {
        let config = self.place.metadata(ImageMetadata::Config);
        self.faults.iter().any(|fault| *fault == Fault::Missing(config.clone()))
    }
}

/// Looks at images as they are published, one after the other, and hands out what was found out about each. Neither
/// registries nor the content of files are looked at.
///
/// # Errors
/// If the repository cannot be read. What is missing or damaged in it is among the faults.
pub fn verify(
    repository: &dyn Repository,
    places: &[ImagePlace],
    mut each: impl FnMut(Verdict),
) -> repository::Result<()> {
    let looked = look(repository, places, false, &BTreeMap::new())?;
    for (place, looked) in places.iter().zip(looked.images) {
        each(Verdict {
            place: place.clone(),
            faults: looked.faults,
            comparison: None,
            not_compared: Vec::new(),
            leaning: BTreeSet::new(),
        });
    }
    Ok(())
}

/// Verifies images, each as far as `settings` say.
///
/// # Errors
/// If the repository cannot be read. What registries do is in the verdicts.
pub async fn verify_with(
    repository: &Arc<dyn Repository>,
    places: Vec<ImagePlace>,
    settings: &Settings,
) -> Result<Vec<Verdict>> {
    let mut compared = match &settings.registry {
        Some(options) => {
            registry::compare(repository, &places, options, settings.at_a_time).await?
        }
        None => BTreeMap::new(),
    };
    let (reader, data) = (Arc::clone(repository), settings.data);
    let looking = tokio::task::spawn_blocking(move || {
        let looked = look(&*reader, &places, data, &compared)?;
        for compared in compared.values_mut() {
            compared.config = None;
        }
        Ok::<_, Error>((places, looked, compared))
    });
    let (places, looked, mut compared) = looking.await??;
    let contents = contents(repository, looked.trees, &compared, settings).await?;
    let verdicts = places.into_iter().zip(looked.images).map(|(place, looked)| {
        let comparison = compared.remove(&place).map(|compared| compared.comparison);
        verdict(place, looked, comparison, &contents)
    });
    Ok(verdicts.collect())
}

/// What was found out about the content of trees, or why it was not looked at.
type Contents = BTreeMap<RepositoryPath, Result<Finding, String>>;

fn verdict(
    place: ImagePlace,
    looked: Looked,
    comparison: Option<Comparison>,
    contents: &Contents,
) -> Verdict {
    let Looked { mut faults, trees, layers, forbidden } = looked;
    let mut not_compared = Vec::new();
    match &comparison {
        Some(Comparison::Wrong(fault)) => faults.push(fault.clone()),
        Some(Comparison::NotCompared(reason)) => not_compared.push(reason.clone()),
        Some(Comparison::Same | Comparison::Moved { .. }) | None => {}
    }
    not_compared.extend(forbidden);
    for content in trees.iter().filter_map(|tree| contents.get(tree)) {
        match content {
            Ok(Finding { faults: found, forbidden, .. }) => {
                let new = found.iter().filter(|fault| !faults.contains(fault));
                let new: Vec<_> = new.cloned().collect();
                faults.extend(new);
                not_compared.extend(forbidden.clone());
            }
            Err(reason) => not_compared.push(reason.clone()),
        }
    }
    not_compared.dedup();
    let is_wrong = |tree: &RepositoryPath| {
        contents.get(tree).is_some_and(|it| it.as_ref().is_ok_and(|it| !it.faults.is_empty()))
    };
    let leans = |tree: &&RepositoryPath| {
        let finding = contents.get(*tree).and_then(|content| content.as_ref().ok());
        finding.is_some_and(|finding| finding.leans_on.iter().any(is_wrong))
    };
    let leaning = trees.iter().zip(layers).filter(|(tree, _)| leans(tree)).map(|(_, layer)| layer);
    Verdict { place, faults, comparison, not_compared, leaning: leaning.collect() }
}

/// What a look at published images has shown.
struct Look {
    /// Of each image, in order.
    images: Vec<Looked>,
    /// The trees of their layers.
    trees: BTreeMap<RepositoryPath, LayerTree>,
}

fn look(
    repository: &dyn Repository,
    places: &[ImagePlace],
    data: bool,
    compared: &BTreeMap<ImagePlace, Compared>,
) -> repository::Result<Look> {
    let (layers, records) = (Layers::default(), LayerRecords::default());
    let mut verifier = Verifier { repository, layers, records, data, trees: BTreeMap::new() };
    let mut images = Vec::new();
    for place in places {
        let config = compared.get(place).and_then(|compared| compared.config.as_deref());
        images.push(verifier.image(place, config)?);
    }
    Ok(Look { images, trees: verifier.trees })
}

/// Looks at the content of the trees of layers.
async fn contents(
    repository: &Arc<dyn Repository>,
    trees: BTreeMap<RepositoryPath, LayerTree>,
    compared: &BTreeMap<ImagePlace, Compared>,
    settings: &Settings,
) -> Result<Contents> {
    let Some(options) = &settings.registry else {
        let repository = Arc::clone(repository);
        let reading = tokio::task::spawn_blocking(move || {
            let read = |(tree, LayerTree { layer, .. })| {
                let found = content::damage(&*repository, &tree, Some(layer.digest), |_| true)?;
                Ok::<_, Error>((tree, Ok(found)))
            };
            trees.into_iter().map(read).collect()
        });
        return reading.await?;
    };
    // Of an image whose manifest is not known to be the registry's, nobody knows which layers it should have.
    let unknown: BTreeMap<_, _> = compared
        .iter()
        .filter_map(|(place, compared)| Some((place.name.clone(), compared.why_not()?.to_owned())))
        .collect();
    let mut contents = Contents::new();
    let mut known = BTreeMap::new();
    for (path, tree) in trees {
        match unknown.get(&tree.name) {
            Some(reason) => drop(contents.insert(path, Err(reason.clone()))),
            None => drop(known.insert(path, tree)),
        }
    }
    let tars = Tars { repository: Arc::clone(repository), options, limits: settings.limits };
    contents.extend(tars.compare(known).await?);
    Ok(contents)
}
