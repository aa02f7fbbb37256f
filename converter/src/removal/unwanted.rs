//! What has become unwanted, and what is wanted again.
//!
//! Nothing is removed here: what is unwanted enters the schedule with the time, and what is wanted again leaves it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use layer_layout::record::{Reason, RemoveSchedule, ScheduleEntry, ScheduledImage, WishRecord};
use layer_layout::{Architecture, ConfigDigest, ImagePlace, PublicName, RepositoryPath, path};

use super::wish::{Answer, ListWishes, Platforms, Unknown, Wanted, Wishes};
use super::{Error, Result};
use crate::inventory::{self, Broken, LayerRecords, View};
use crate::repository::{Published, Transaction};

/// What a round changes in the books of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bookkeeping {
    /// The schedule, if it changes.
    pub schedule: Option<RemoveSchedule>,
    /// The records of wish lists that change.
    pub records: Vec<WishRecord>,
    /// Images that have become unwanted.
    pub unwanted: Vec<ImagePlace>,
    /// Images that were to be removed and are wanted again.
    pub rescued: Vec<ImagePlace>,
    /// Unwanted images whose metadata cannot be read, so that they stay.
    pub broken: Vec<Broken>,
}

impl Bookkeeping {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.schedule.is_none() && self.records.is_empty()
    }

    /// The files to write.
    pub fn files(&self) -> impl Iterator<Item = (RepositoryPath, Vec<u8>)> {
        let schedule =
            self.schedule.iter().map(|schedule| (path::remove_schedule(), schedule.to_json()));
        let records =
            self.records.iter().map(|record| (path::wish_record(&record.list), record.to_json()));
        schedule.chain(records)
    }

    /// Puts the files into a transaction.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn write(&self, transaction: &dyn Transaction) -> Result<()> {
        for (path, bytes) in self.files() {
            transaction.write_file(&path, &bytes)?;
        }
        Ok(())
    }
}

/// Compares what wish lists want now with what they wanted before. To be done at the beginning of a round, before
/// anything is published, so that no image is published without a list that knows of it.
///
/// # Errors
/// If the books cannot be read.
pub fn round(
    view: &(impl View + ?Sized),
    lists: &[ListWishes],
    now: Timestamp,
) -> Result<Bookkeeping> {
    let wishes = Wishes::read(view, lists)?;
    let mut books = Books::open(view, now)?;
    books.rescue(|place| wishes.contain(place));
    let architectures = architectures(view)?;
    for (before, wanted) in &wishes.own {
        let is_known =
            |name: &&PublicName| wanted.says(&ImagePlace::from((*name).clone())) != Answer::Unknown;
        let (mut names, mut former_names): (BTreeSet<_>, BTreeSet<_>) =
            (wanted.names.keys().cloned().collect(), BTreeSet::new());
        for name in before.names.union(&before.former_names) {
            if wanted.names.contains_key(name) {
                continue;
            }
            if !is_known(&name) {
                let kept = if before.names.contains(name) { &mut names } else { &mut former_names };
                kept.insert(name.clone());
                continue;
            }
            for place in places(name, &architectures) {
                let is_published = is_published(view, &place)?;
                if is_published {
                    former_names.insert(name.clone());
                }
                if is_published && !wishes.contain(&place) {
                    books.enter(place);
                }
            }
        }
        // Platforms that are wanted no longer, of images that are.
        for (name, platforms) in &wanted.names {
            if *platforms == Platforms::All || !is_known(&name) {
                continue;
            }
            for place in places(name, &architectures) {
                if !wishes.contain(&place) && is_published(view, &place)? {
                    books.enter(place);
                }
            }
        }
        let now = WishRecord { list: before.list.clone(), names, former_names };
        if now != *before {
            books.changes.records.push(now);
        }
    }
    Ok(books.close())
}

/// Puts every published image into the schedule that is known to be unwanted, whoever has published it.
///
/// # Errors
/// If the books cannot be read, or what is wanted is not known.
pub fn prune(view: &(impl View + ?Sized), wanted: &Wanted, now: Timestamp) -> Result<Bookkeeping> {
    if wanted.unknown == Unknown::All {
        return Err(Error::WishesUnknown);
    }
    let mut books = Books::open(view, now)?;
    books.rescue(|place| wanted.says(place) == Answer::Wanted);
    for place in inventory::places(view)? {
        if wanted.says(&place) == Answer::Unwanted {
            books.enter(place);
        }
    }
    Ok(books.close())
}

/// The entry for the image that is published at a place, if it is another than `config`, which is to be published there.
/// To be asked before that, and to be put into the schedule with [`moved`] after it.
///
/// # Errors
/// If the repository cannot be read. If only the image's own metadata cannot, there is no entry.
pub fn replaced(
    view: &(impl View + ?Sized),
    place: &ImagePlace,
    config: ConfigDigest,
    now: Timestamp,
) -> Result<Option<ScheduledImage>> {
    let metadata = place.metadata_directory();
    let Ok(manifest) = inventory::read_manifest(view, &metadata) else { return Ok(None) };
    if manifest.config.digest == config {
        return Ok(None);
    }
    let diff_ids = inventory::diff_ids(view, &metadata, &manifest, &LayerRecords::default())?;
    Ok(Some(ScheduledImage {
        manifest,
        place: place.clone(),
        reason: Reason::Moved,
        unwanted_since: now.to_string(),
        diff_ids,
    }))
}

/// Puts images that others have replaced into the schedule, and takes those out that are published again.
///
/// # Errors
/// If the books cannot be read.
pub fn moved(
    view: &(impl View + ?Sized),
    replaced: Vec<ScheduledImage>,
    published: &BTreeSet<ImagePlace>,
    now: Timestamp,
) -> Result<Bookkeeping> {
    let mut books = Books::open(view, now)?;
    books.rescue(|place| published.contains(place));
    for image in replaced {
        books.add(image);
    }
    Ok(books.close())
}

/// The schedule while it is changed.
struct Books<'a, V: ?Sized> {
    view: &'a V,
    now: Timestamp,
    schedule: RemoveSchedule,
    /// The images in it that are still published, and their entries.
    unwished: BTreeMap<ImagePlace, ConfigDigest>,
    layers: LayerRecords,
    changed: bool,
    changes: Bookkeeping,
}

impl<'a, V: View + ?Sized> Books<'a, V> {
    fn open(view: &'a V, now: Timestamp) -> Result<Self> {
        let schedule = inventory::schedule(view).map_err(|broken| Error::Broken(vec![broken]))?;
        let unwished = |entry: &ScheduleEntry| match entry {
            ScheduleEntry::Image(image) if image.reason == Reason::Unwished => {
                Some((image.place.clone(), image.manifest.config.digest))
            }
            _ => None,
        };
        let unwished = schedule.entries.iter().filter_map(unwished).collect();
        let (layers, changes) = (LayerRecords::default(), Bookkeeping::default());
        Ok(Self { view, now, schedule, unwished, layers, changed: false, changes })
    }

    /// Takes images out of the schedule that are wanted. If another image has their name by now, their content stays
    /// there, with its time.
    fn rescue(&mut self, is_wanted: impl Fn(&ImagePlace) -> bool) {
        let Self { view, schedule, unwished, changes, changed, .. } = self;
        schedule.entries.retain_mut(|entry| {
            let ScheduleEntry::Image(image) = entry else { return true };
            if image.reason != Reason::Unwished || !is_wanted(&image.place) {
                return true;
            }
            *changed = true;
            unwished.remove(&image.place);
            let published = inventory::read_manifest(*view, &image.place.metadata_directory());
            let is_there = published
                .is_ok_and(|manifest| manifest.config.digest == image.manifest.config.digest);
            if is_there {
                changes.rescued.push(image.place.clone());
            } else {
                image.reason = Reason::Moved;
            }
            !is_there
        });
    }

    /// Puts the image at a place into the schedule, unless it is there.
    fn enter(&mut self, place: ImagePlace) {
        match self.entry(&place) {
            Ok(image) => {
                if self.unwished.get(&place) != Some(&image.manifest.config.digest) {
                    self.unwished.insert(place.clone(), image.manifest.config.digest);
                    self.changes.unwanted.push(place);
                    self.schedule.entries.push(ScheduleEntry::Image(Box::new(image)));
                    self.changed = true;
                }
            }
            Err(reason) => {
                let path = place.metadata_directory();
                self.changes.broken.push(Broken { path, reason });
            }
        }
    }

    fn entry(&self, place: &ImagePlace) -> Result<ScheduledImage, String> {
        let metadata = place.metadata_directory();
        let manifest = inventory::read_manifest(self.view, &metadata)?;
        let diff_ids = inventory::diff_ids(self.view, &metadata, &manifest, &self.layers)
            .map_err(|error| error.to_string())?;
        Ok(ScheduledImage {
            manifest,
            place: place.clone(),
            reason: Reason::Unwished,
            unwanted_since: self.now.to_string(),
            diff_ids,
        })
    }

    /// Adds an entry, unless there is one for the same image.
    fn add(&mut self, image: ScheduledImage) {
        let same = |entry: &ScheduleEntry| {
            matches!(entry, ScheduleEntry::Image(there) if there.place == image.place
                && there.reason == image.reason
                && there.manifest.config.digest == image.manifest.config.digest)
        };
        // Its time is that of the last move.
        self.schedule.entries.retain(|entry| !same(entry));
        self.schedule.entries.push(ScheduleEntry::Image(Box::new(image)));
        self.changed = true;
    }

    fn close(self) -> Bookkeeping {
        let schedule = self.changed.then_some(self.schedule);
        Bookkeeping { schedule, ..self.changes }
    }
}

/// The directories of platforms that there are.
fn architectures(view: &(impl View + ?Sized)) -> Result<Vec<Architecture>> {
    let mut architectures = Vec::new();
    for directory in [path::architectures(), path::architectures_metadata()] {
        let names = view.list(Some(&directory))?.into_iter();
        let directories = names.filter(|(_, published)| *published == Published::Directory);
        architectures.extend(directories.filter_map(|(name, _)| name.parse::<Architecture>().ok()));
    }
    architectures.sort();
    architectures.dedup();
    Ok(architectures)
}

/// All places at which an image of this name may be published.
fn places(name: &PublicName, architectures: &[Architecture]) -> Vec<ImagePlace> {
    let with = |architecture| ImagePlace { name: name.clone(), architecture };
    let of_platforms = architectures.iter().cloned().map(Some);
    std::iter::once(None).chain(of_platforms).map(with).collect()
}

fn is_published(view: &(impl View + ?Sized), place: &ImagePlace) -> Result<bool> {
    Ok(view.lookup(&place.metadata_directory())? == Some(Published::Directory))
}
