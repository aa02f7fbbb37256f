//! How images are published again as they were: the same image at the same place, also if its name leads to another by now.

use std::collections::BTreeSet;
use std::sync::Arc;

use layer_layout::path::{ImageMetadata, Unit};
use layer_layout::record::PublishedManifest;
use layer_layout::{ConfigDigest, Digest, ImagePlace, Platform, RegistryReference};

use super::fault::Fault;
use super::registry::{self, Comparison, Published};
use super::{RepairPlan, public_path};
use crate::convert::Identity;
use crate::inventory::{self, Inventory};
use crate::repository::Repository;
use crate::source::{Options, lists};
use crate::{Error, Result, repository};

/// How images are published again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Republications {
    /// Those that can be, in the order of their places.
    pub images: Vec<Republication>,
    /// Those that cannot, because nobody knows any more which images they were, with the reason.
    pub unknown: Vec<(ImagePlace, String)>,
}

/// How an image is published again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Republication {
    /// Where.
    pub place: ImagePlace,
    /// Where it comes from: its name, with a digest unless the name is known to lead to it.
    pub reference: RegistryReference,
    /// Which image it is. What its source has may be another one by then.
    pub identity: Identity,
    /// The platform to take of an index.
    pub platform: Platform,
    /// What the link at the place says, if not where the flat root is.
    pub link: Option<String>,
    /// Whether it has a flat root and a public path.
    pub flat: bool,
    /// Why it could not be compared with its registry, if it could not.
    pub not_compared: Option<String>,
}

/// How the images of a plan are published again: each as the image that it was, whatever its name leads to. Registries are
/// asked what the names lead to, `at_a_time` names at a time.
///
/// # Errors
/// If the repository cannot be read.
pub async fn republications(
    repository: &Arc<dyn Repository>,
    plan: &RepairPlan,
    options: &Options,
    at_a_time: usize,
) -> Result<Republications> {
    let (reader, places) = (Arc::clone(repository), plan.images.keys().cloned().collect());
    let reading = tokio::task::spawn_blocking(move || Known::read(&*reader, places));
    let known = reading.await.map_err(Error::from)??;
    let shown: BTreeSet<_> = known.iter().map(|known| known.shown.clone()).collect();
    let shown: Vec<_> = shown.into_iter().collect();
    let compared = registry::compare(repository, &shown, options, at_a_time).await?;
    let mut republications = Republications::default();
    for known in known {
        let comparison = compared.get(&known.shown).map(|compared| &compared.comparison);
        let not_compared = match comparison {
            Some(Comparison::NotCompared(reason)) => Some(reason.clone()),
            _ => None,
        };
        let Some(identity) = known.identity(comparison) else {
            let reason = "neither a manifest nor a configuration tells which image it was; `ducc delete-image` removes \
                          what is left of it, and the next round publishes what its name leads to";
            republications.unknown.push((known.place, reason.to_owned()));
            continue;
        };
        let name = &known.place.name;
        let leads_elsewhere =
            matches!(comparison, Some(Comparison::Moved { .. } | Comparison::NotCompared(_)));
        let published = known.published.as_ref().filter(|_| leads_elsewhere);
        let reference = match published.map(|published| pinned(published, options)) {
            Some(digest) => format!("{}/{}@{digest}", name.registry(), name.repository()),
            None => name.to_string(),
        };
        republications.images.push(Republication {
            reference: reference.parse()?,
            identity,
            platform: known.platform,
            place: known.place,
            link: known.link,
            flat: known.flat,
            not_compared,
        });
    }
    Ok(republications)
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
    /// Its documents, if its manifest can be read.
    published: Option<Published>,
    /// Its configuration, as far as that is known without a manifest.
    config: Option<ConfigDigest>,
    platform: Platform,
    link: Option<String>,
    flat: bool,
}

impl Known {
    fn read(repository: &dyn Repository, places: Vec<ImagePlace>) -> repository::Result<Vec<Self>> {
        let inventory = Inventory::take(repository)?;
        let read = |place: ImagePlace| {
            let found = inventory.links.of_images.get(&place).map(String::as_str);
            let shown = public_path::shown(repository, &place)?;
            let config = repository.read(&shown.metadata(ImageMetadata::Config))?;
            let published = registry::read(repository, shown.clone())?;
            let readable =
                |published: &Published| PublishedManifest::parse(&published.manifest).is_ok();
            Ok(Self {
                platform: registry::platform(&shown, config.as_deref()),
                config: likely_config(&inventory, found, config.as_deref()),
                published: published.filter(readable),
                link: public_path::variant_link(repository, &place, found)?,
                flat: has_flat(&inventory, &place),
                place,
                shown,
            })
        };
        places.into_iter().map(read).collect()
    }

    /// Which image it is. A manifest that DUCC has written anew is known to registries by another digest.
    fn identity(&self, comparison: Option<&Comparison>) -> Option<Identity> {
        match (comparison, &self.published) {
            (Some(Comparison::Wrong(Fault::Manifest { registry, .. })), Some(_)) => {
                Some(Identity::Manifest(*registry))
            }
            (_, Some(published)) => Some(Identity::Manifest(Digest::of(&published.manifest))),
            (_, None) => self.config.map(Identity::Config),
        }
    }
}

/// The configuration of an image that has no manifest: the one that its public link names, or the one that is stored,
/// whichever has a flat root.
fn likely_config(
    inventory: &Inventory,
    link: Option<&str>,
    stored: Option<&[u8]>,
) -> Option<ConfigDigest> {
    let linked = match link.and_then(Unit::of_link_target) {
        Some(Unit::Flat(config)) => Some(config),
        _ => None,
    };
    let stored = stored.map(|config| ConfigDigest::from(Digest::of(config)));
    let is_there = |config: &ConfigDigest| inventory.content.contains(&Unit::Flat(*config));
    let known = || linked.into_iter().chain(stored);
    known().find(is_there).or_else(|| known().next())
}

/// Whether an image was published with a flat root: it has one, or a link to it.
pub(super) fn has_flat(inventory: &Inventory, place: &ImagePlace) -> bool {
    let is_there = |image: &&inventory::PublishedImage| {
        image.place.as_ref() == Some(place) && inventory.content.contains(&Unit::Flat(image.config))
    };
    inventory.links.of_images.contains_key(place) || inventory.images.iter().any(|it| is_there(&it))
}
