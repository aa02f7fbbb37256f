//! How images are published again as they were: the same image at the same place, also if its name leads to another by now.

use std::collections::BTreeSet;
use std::sync::Arc;

use layer_layout::path::Unit;
use layer_layout::{Digest, ImagePlace, Platform, RegistryReference};

use super::registry::{self, Comparison, Published};
use super::{RepairPlan, public_path};
use crate::inventory::{self, Inventory};
use crate::repository::Repository;
use crate::source::{Options, lists};
use crate::{Error, Result, repository};

/// How an image is published again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Republication {
    /// Where.
    pub place: ImagePlace,
    /// Where it comes from: its name, with a digest if the name leads to another image by now.
    pub reference: RegistryReference,
    /// The platform to take of an index.
    pub platform: Platform,
    /// What the link at the place says, if not where the flat root is.
    pub link: Option<String>,
    /// Whether it has a flat root and a public path.
    pub flat: bool,
}

/// How the images of a plan are published again, in the order of their places. Registries are asked what the names lead
/// to, `at_a_time` names at a time.
///
/// # Errors
/// If the repository cannot be read.
pub async fn republications(
    repository: &Arc<dyn Repository>,
    plan: &RepairPlan,
    options: &Options,
    at_a_time: usize,
) -> Result<Vec<Republication>> {
    let (reader, places) = (Arc::clone(repository), plan.images.keys().cloned().collect());
    let reading = tokio::task::spawn_blocking(move || Known::read(&*reader, places));
    let known = reading.await.map_err(Error::from)??;
    let shown: BTreeSet<_> = known.iter().map(|known| known.shown.clone()).collect();
    let shown: Vec<_> = shown.into_iter().collect();
    let compared = registry::compare(repository, &shown, options, at_a_time).await?;
    let republication = |known: Known| {
        let has_moved = compared
            .get(&known.shown)
            .is_some_and(|compared| matches!(compared.comparison, Comparison::Moved { .. }));
        let name = &known.place.name;
        let digest = known.published.as_ref().filter(|_| has_moved);
        let reference = match digest.map(|published| pinned(published, options)) {
            Some(digest) => format!("{}/{}@{digest}", name.registry(), name.repository()),
            None => name.to_string(),
        };
        Ok(Republication {
            reference: reference.parse()?,
            platform: known.published.as_ref().map_or_else(Platform::host, registry::platform),
            place: known.place,
            link: known.link,
            flat: known.flat,
        })
    };
    known.into_iter().map(republication).collect()
}

/// What names the published image for good. With a policy it is the index, if there is one: that is what is signed.
fn pinned(published: &Published, options: &Options) -> Digest {
    let manifest = Digest::of(&published.manifest);
    let index = published.index.as_ref().filter(|index| lists(index, &manifest));
    match index {
        Some(index) if options.policy.is_some() => Digest::of(index),
        _ => manifest,
    }
}

/// What a repository says of an image that is to be published again.
struct Known {
    place: ImagePlace,
    /// The place that has the image to be shown there.
    shown: ImagePlace,
    published: Option<Published>,
    link: Option<String>,
    flat: bool,
}

impl Known {
    fn read(repository: &dyn Repository, places: Vec<ImagePlace>) -> repository::Result<Vec<Self>> {
        let inventory = Inventory::take(repository)?;
        let read = |place: ImagePlace| {
            let found = inventory.links.of_images.get(&place).map(String::as_str);
            let shown = public_path::shown(repository, &place)?;
            Ok(Self {
                published: registry::read(repository, shown.clone())?,
                link: public_path::variant_link(repository, &place, found)?,
                flat: has_flat(&inventory, &place),
                place,
                shown,
            })
        };
        places.into_iter().map(read).collect()
    }
}

/// Whether an image was published with a flat root: it has one, or a link to it.
pub(super) fn has_flat(inventory: &Inventory, place: &ImagePlace) -> bool {
    let is_there = |image: &&inventory::PublishedImage| {
        image.place.as_ref() == Some(place) && inventory.content.contains(&Unit::Flat(image.config))
    };
    inventory.links.of_images.contains_key(place) || inventory.images.iter().any(|it| is_there(&it))
}
