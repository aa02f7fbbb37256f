//! What can be removed: whose time has come, and what nothing else refers to.
//!
//! Needed is
//! - what images need that stay: their flat roots, the chains of all their layers, their layers;
//! - what images in the schedule need whose time has not come;
//! - what any symlink leads to that is not removed: people's own, and those of DUCC's store for Podman;
//! - what the `layer` link of a chain leads to that stays.
//!
//! Everything else that an image in the schedule needs goes with it. What is in no schedule either is unneeded without
//! anybody having said when it became so: content of images that DUCC has replaced, or that a run which was killed had
//! not come to. It enters the schedule now, and goes when its own grace period is over.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use layer_layout::path::{Unit, is_through_architectures};
use layer_layout::record::{Reason, ScheduleEntry, ScheduledContent, ScheduledImage};
use layer_layout::{ImagePlace, RepositoryPath, path};

use super::batch::{self, Batch, Books};
use super::{Error, Result};
use crate::inventory::{self, Broken, Inventory, PublishedImage, View};
use crate::repository::Published;

/// How to plan.
#[derive(Debug, Clone)]
pub struct Options {
    /// The time that counts as now.
    pub now: Timestamp,
    /// How long something stays after it has become unwanted.
    pub grace: Duration,
    /// Whether DUCC's own chains go, which nothing else reads.
    pub ducc_chains: bool,
    /// After how many paths a batch ends.
    pub batch: usize,
}

/// What is to be removed.
#[derive(Debug, Clone)]
pub enum Subject {
    /// What is in the schedule and whose time has come.
    Expired,
    /// These images, at once.
    Images(Vec<ImagePlace>),
}

/// What is to be done.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What is removed, one batch after the other.
    pub batches: Vec<Batch>,
    /// The schedule, if it changes and nothing is removed.
    pub schedule: Option<Vec<u8>>,
    /// How many images wait for their time to come.
    pub waiting: usize,
    /// Content that has been found to be unneeded now, and waits.
    pub found: Vec<Unit>,
    /// DUCC's chains that are left alone.
    pub ducc_chains: usize,
    /// What nobody can tell the needs of, so that all content stays. Not empty only if names go nevertheless.
    pub broken: Vec<Broken>,
}

/// What goes together: an image, or content of none.
#[derive(Debug, Clone, Default)]
pub struct Doomed {
    /// The entry of the schedule that goes with it.
    pub entry: Option<usize>,
    /// The image, if its names go.
    pub image: Option<ImagePlace>,
    /// Its names: links, then the directory of its metadata.
    pub names: Vec<RepositoryPath>,
    /// What it needs.
    pub units: Vec<Unit>,
}

/// Plans a removal.
///
/// # Errors
/// [`Error::Broken`] if content would be removed and something in the inventory is broken; others if the repository
/// cannot be read.
pub fn plan(
    view: &(impl View + ?Sized),
    inventory: &Inventory,
    subject: &Subject,
    options: &Options,
) -> Result<Plan> {
    if matches!(subject, Subject::Expired) && !inventory.broken.is_empty() {
        return Err(Error::Broken(inventory.broken.clone()));
    }
    let scene = Scene::new(view, inventory, options)?;
    match subject {
        Subject::Expired => scene.expired(view),
        Subject::Images(places) => scene.images(view, places),
    }
}

/// An inventory in which images are found by their places.
struct Scene<'a> {
    inventory: &'a Inventory,
    options: &'a Options,
    images: BTreeMap<&'a ImagePlace, &'a PublishedImage>,
    /// What the `layer` link of each chain leads to: a layer, or a chain's own variant of one.
    layers_of_chains: HashMap<Unit, Unit>,
}

impl<'a> Scene<'a> {
    fn new(
        view: &(impl View + ?Sized),
        inventory: &'a Inventory,
        options: &'a Options,
    ) -> Result<Self> {
        let placed = |image: &'a PublishedImage| Some((image.place.as_ref()?, image));
        let images = inventory.images.iter().filter_map(placed).collect();
        let is_chain = |unit: &&Unit| matches!(unit, Unit::Chain(_));
        // In the order of their paths, so that those in one catalog come one after the other.
        let chains: Vec<Unit> = inventory.content.iter().filter(is_chain).copied().collect();
        let links = inventory::readers().each(&chains, |unit| {
            let Unit::Chain(chain) = unit else { return Ok(None) };
            inventory::linked_layer(view, chain)
        })?;
        let links = chains.into_iter().zip(links);
        let layers_of_chains =
            links.filter_map(|(unit, target)| Some((unit, target.filter(|it| *it != unit)?)));
        let layers_of_chains = layers_of_chains.collect();
        Ok(Self { inventory, options, images, layers_of_chains })
    }

    fn expired(&self, view: &(impl View + ?Sized)) -> Result<Plan> {
        let entries = &self.inventory.schedule.entries;
        let mut doomed = Vec::new();
        let mut kept = HashSet::new();
        let mut noticed = HashSet::new();
        let mut waiting = 0;
        for (at, entry) in entries.iter().enumerate() {
            match entry {
                ScheduleEntry::Image(image) if self.is_over(&image.unwanted_since) => {
                    doomed.push(self.doomed_image(at, image));
                }
                ScheduleEntry::Image(image) => {
                    waiting += 1;
                    kept.extend(units_of(image));
                }
                ScheduleEntry::Content(content) if self.is_over(&content.unwanted_since) => {
                    let units = content.units.clone();
                    doomed.push(Doomed { entry: Some(at), units, ..Doomed::default() });
                }
                ScheduleEntry::Content(content) => noticed.extend(content.units.iter().copied()),
                ScheduleEntry::OfDucc(_) => {}
            }
        }
        self.add_public_links(&mut doomed);
        let needed = self.needed(&doomed, kept);
        self.spare(&mut doomed, &needed);

        let claimed: HashSet<Unit> =
            doomed.iter().flat_map(|doomed| doomed.units.iter().copied()).collect();
        let unclaimed = self.inventory.content.iter().copied().filter(|unit| {
            !needed.contains(unit) && !claimed.contains(unit) && !noticed.contains(unit)
        });
        let (mut found, mut ducc_s) = (Vec::new(), Vec::new());
        for unit in unclaimed {
            match unit {
                Unit::Chain(chain) if inventory::is_ducc_chain(view, &chain)? => ducc_s.push(unit),
                unit => found.push(unit),
            }
        }
        if self.options.grace.is_zero() {
            let units = std::mem::take(&mut found);
            doomed.push(Doomed { units, ..Doomed::default() });
        }
        let mut rest = Vec::new();
        if self.options.ducc_chains {
            doomed.push(Doomed { units: std::mem::take(&mut ducc_s), ..Doomed::default() });
            if view.lookup(&path::dirty_chains())? == Some(Published::Directory) {
                rest.push(path::dirty_chains());
            }
        }

        let mut schedule = self.inventory.schedule.clone();
        for entry in &mut schedule.entries {
            if let ScheduleEntry::Content(content) = entry {
                let is_unneeded =
                    |unit: &Unit| self.inventory.content.contains(unit) && !needed.contains(unit);
                content.units.retain(is_unneeded);
            }
        }
        if !found.is_empty() {
            schedule.entries.push(ScheduleEntry::Content(ScheduledContent {
                unwanted_since: self.options.now.to_string(),
                units: found.clone(),
            }));
        }
        let changed = batch::written(&schedule) != self.inventory.schedule.to_json();
        let books = Books::new(&schedule, changed);
        let batches =
            batch::batches(doomed, rest, &self.layers_of_chains, books, self.options.batch);
        Ok(Plan {
            schedule: (changed && batches.is_empty()).then(|| batch::written(&schedule)),
            batches,
            waiting,
            found,
            ducc_chains: ducc_s.len(),
            broken: Vec::new(),
        })
    }

    fn images(&self, view: &(impl View + ?Sized), places: &[ImagePlace]) -> Result<Plan> {
        let mut doomed = Vec::new();
        for place in places {
            let names = self.names(view, place)?;
            if names.is_empty() {
                return Err(Error::NoSuchImage(place.to_string()));
            }
            let image = self.images.get(place);
            doomed.push(Doomed {
                entry: self.entry_of(place),
                image: Some(place.clone()),
                names,
                units: image.map(|image| image.units().collect()).unwrap_or_default(),
            });
        }
        self.add_public_links(&mut doomed);
        let mut kept = HashSet::new();
        let gone: HashSet<usize> = doomed.iter().filter_map(|doomed| doomed.entry).collect();
        for (at, entry) in self.inventory.schedule.entries.iter().enumerate() {
            match entry {
                ScheduleEntry::Image(image) if !gone.contains(&at) => kept.extend(units_of(image)),
                _ => {}
            }
        }
        // The image that is deleted may be the broken one.
        let own: Vec<RepositoryPath> = places.iter().map(ImagePlace::metadata_directory).collect();
        let is_others = |broken: &&Broken| !own.contains(&broken.path);
        let broken: Vec<Broken> = self.inventory.broken.iter().filter(is_others).cloned().collect();
        if broken.is_empty() {
            let needed = self.needed(&doomed, kept);
            self.spare(&mut doomed, &needed);
        } else {
            for doomed in &mut doomed {
                doomed.units.clear();
            }
        }
        let books = Books::new(&self.inventory.schedule, false);
        let links = &self.layers_of_chains;
        let batches = batch::batches(doomed, Vec::new(), links, books, self.options.batch);
        Ok(Plan { batches, broken, ..Plan::default() })
    }

    /// Whether the grace period of something that has become unwanted at a time is over. If the time makes no sense,
    /// it is not.
    fn is_over(&self, since: &str) -> bool {
        let grace = SignedDuration::try_from(self.options.grace).unwrap_or(SignedDuration::MAX);
        match since.parse::<Timestamp>() {
            Ok(since) => self.options.now.duration_since(since) >= grace,
            Err(error) => {
                tracing::warn!(
                    "the time {since:?} in {} means nothing: {error}",
                    path::remove_schedule()
                );
                false
            }
        }
    }

    /// What goes with an image in the schedule. Its names go only if they still are its names.
    fn doomed_image(&self, at: usize, scheduled: &ScheduledImage) -> Doomed {
        let mut doomed =
            Doomed { entry: Some(at), units: units_of(scheduled).collect(), ..Doomed::default() };
        let place = &scheduled.place;
        let config = scheduled.manifest.config.digest;
        let published = self.images.get(place).filter(|image| image.config == config);
        if let (Reason::Unwished, Some(image)) = (scheduled.reason, published) {
            doomed.image = Some(place.clone());
            let link = self.inventory.links.of_images.get(place);
            if link.and_then(|target| Unit::of_link_target(target)) == Some(Unit::Flat(config)) {
                doomed.names.push(place.link());
            }
            doomed.names.push(image.metadata.clone());
            doomed.units.extend(image.units());
            doomed.units.sort_unstable();
            doomed.units.dedup();
        }
        doomed
    }

    /// The names of an image that there are.
    fn names(
        &self,
        view: &(impl View + ?Sized),
        place: &ImagePlace,
    ) -> Result<Vec<RepositoryPath>> {
        let mut names = Vec::new();
        if self.inventory.links.of_images.contains_key(place) {
            names.push(place.link());
        }
        let metadata = place.metadata_directory();
        if view.lookup(&metadata)? == Some(Published::Directory) {
            names.push(metadata);
        }
        Ok(names)
    }

    fn entry_of(&self, place: &ImagePlace) -> Option<usize> {
        let is_its = |entry: &ScheduleEntry| {
            matches!(entry, ScheduleEntry::Image(image)
                if image.place == *place && image.reason == Reason::Unwished)
        };
        self.inventory.schedule.entries.iter().position(is_its)
    }

    /// Adds the public links that lead each client to its platform, if the last platform goes.
    fn add_public_links(&self, doomed: &mut [Doomed]) {
        let going: BTreeSet<ImagePlace> =
            doomed.iter().filter_map(|doomed| doomed.image.clone()).collect();
        for doomed in doomed {
            let Some(ImagePlace { name, .. }) = &doomed.image else { continue };
            let public = ImagePlace::from(name.clone());
            let leads_to_platforms = self
                .inventory
                .links
                .of_images
                .get(&public)
                .is_some_and(|target| is_through_architectures(target));
            let one_stays = self.images.keys().any(|place| {
                place.name == *name && place.architecture.is_some() && !going.contains(*place)
            });
            let link = public.link();
            if leads_to_platforms && !one_stays && !doomed.names.contains(&link) {
                doomed.names.insert(0, link);
            }
        }
    }

    /// What is needed after these are gone, and if what is in `kept` stays, too.
    fn needed(&self, doomed: &[Doomed], kept: HashSet<Unit>) -> HashSet<Unit> {
        let going: HashSet<&RepositoryPath> =
            doomed.iter().flat_map(|doomed| &doomed.names).collect();
        let mut needed = kept;
        for image in &self.inventory.images {
            if !going.contains(&image.metadata) {
                needed.extend(image.units());
            }
        }
        for (place, target) in &self.inventory.links.of_images {
            if !going.contains(&place.link()) {
                needed.extend(Unit::of_link_target(target));
            }
        }
        needed.extend(self.inventory.links.others.iter().map(|(_, unit)| *unit));
        let chains = needed.iter().filter(|unit| self.layers_of_chains.contains_key(unit));
        let chains = chains.copied().collect();
        self.follow(chains, &mut needed);
        needed
    }

    /// What must stay although it is not needed: a chain that stays must not lead to nothing, because the next image with
    /// this chain takes its link as it is.
    fn led_to(&self, doomed: &[Doomed], needed: &HashSet<Unit>) -> HashSet<Unit> {
        let doomed: HashSet<Unit> =
            doomed.iter().flat_map(|doomed| doomed.units.iter().copied()).collect();
        let stays = |chain: &&Unit| needed.contains(chain) || !doomed.contains(chain);
        let chains = self.layers_of_chains.keys().filter(stays).copied().collect();
        let mut led_to = HashSet::new();
        self.follow(chains, &mut led_to);
        led_to
    }

    /// Adds what the links of these chains lead to.
    fn follow(&self, mut chains: Vec<Unit>, found: &mut HashSet<Unit>) {
        while let Some(chain) = chains.pop() {
            if let Some(&target) = self.layers_of_chains.get(&chain)
                && found.insert(target)
            {
                chains.push(target);
            }
        }
    }

    /// Leaves of what goes only what is there, and neither needed nor led to.
    fn spare(&self, doomed: &mut [Doomed], needed: &HashSet<Unit>) {
        let led_to = self.led_to(doomed, needed);
        for doomed in doomed {
            let goes = |unit: &Unit| {
                self.inventory.content.contains(unit)
                    && !needed.contains(unit)
                    && !led_to.contains(unit)
            };
            doomed.units.retain(goes);
        }
    }
}

fn units_of(image: &ScheduledImage) -> impl Iterator<Item = Unit> {
    let manifest = &image.manifest;
    inventory::units(manifest.config.digest, &image.diff_ids, manifest.layers())
}
