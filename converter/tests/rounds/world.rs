//! A registry, a wish list and a repository, and what must be true of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ducc::convert::{Again, BatchSettings};
use ducc::inventory::{self, Inventory};
use ducc::layer::Limits;
use ducc::notification::Notifications;
use ducc::progress::{Progress, Style};
use ducc::removal::{
    self, ListWishes, Options, Removed, Stop, Subject, Wanted as WantedByList, unwanted,
};
use ducc::repository::{Published, Repository};
use ducc::round::{Common, Grouping, Round, RoundReport, Settings, Wanted};
use ducc::source;
use ducc::state::{Memory, State};
use ducc::verify::verify;
use ducc::wish::Platforms;
use jiff::{SignedDuration, Timestamp};
use layer_layout::path::{self, Unit};
use layer_layout::record::{Reason, ScheduleEntry};
use layer_layout::{ImagePlace, PublicName};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::image::{self, Image};
use crate::mortal::{Fate, Mortal};
use crate::place::{Kind, Place};
use crate::registry::Registry;
use crate::{Event, GRACE, TAGS};

const HOURS: i64 = 24;

/// What is known of everything.
pub(crate) struct World {
    registry: Registry,
    images: Vec<Image>,
    wished: BTreeSet<usize>,
    place: Arc<Place>,
    state: TempDir,
    runtime: Runtime,
    days: u64,
    /// The image under each name.
    published: BTreeMap<usize, usize>,
    /// Since which day images that have a name are unwanted.
    unwanted: BTreeMap<usize, u64>,
    /// Images that lost their name to another one, and on which day.
    replaced: Vec<(usize, u64)>,
}

fn no_wait(text: &str) -> bool {
    panic!("there is nobody else, and yet {text}")
}

fn hours(days: u64) -> SignedDuration {
    SignedDuration::from_hours(i64::try_from(days).unwrap() * HOURS)
}

impl World {
    pub(crate) fn new(kind: Kind) -> Self {
        let registry = Registry::start();
        for tag in 0..TAGS {
            registry.move_tag(tag, tag);
        }
        Self {
            registry,
            images: (0..image::NUMBER).map(Image::new).collect(),
            wished: [0, 1].into(),
            place: Arc::new(Place::new(kind)),
            state: TempDir::new().unwrap(),
            runtime: Runtime::new().unwrap(),
            days: 0,
            published: BTreeMap::new(),
            unwanted: BTreeMap::new(),
            replaced: Vec::new(),
        }
    }

    pub(crate) fn happen(&mut self, event: &Event) {
        match *event {
            Event::Wish { tag } => {
                if !self.wished.remove(&tag) {
                    self.wished.insert(tag);
                }
            }
            Event::Move { tag, image } => self.registry.move_tag(tag, image),
            Event::Round { killed } => self.round(killed),
            Event::Collect { killed, batch } => self.collect(killed, batch),
            Event::Pass(days) => self.pass(days),
        }
        self.check();
    }

    /// Everything is brought in order: first there is what is wished for and what waits, and when all grace periods are
    /// over, only what is wished for.
    pub(crate) fn come_to_an_end(&mut self) {
        self.round(None);
        self.collect(None, 5);
        self.check();
        let expected: BTreeSet<_> = self.wished.iter().chain(self.unwanted.keys()).collect();
        assert_eq!(self.published.keys().collect::<BTreeSet<_>>(), expected);
        for _ in 0..2 {
            self.pass(GRACE);
            self.round(None);
            self.collect(None, 5);
            self.check();
        }
        assert_eq!(
            self.published.keys().collect::<Vec<_>>(),
            self.wished.iter().collect::<Vec<_>>()
        );
        let inventory = Inventory::take(&*self.place.open()).unwrap();
        assert_eq!(inventory.content, self.needed());
        assert_eq!(inventory.schedule.entries, []);
        assert!(!self.place.repository().join(path::publisher()).exists(), "staging is left");
    }

    /// All tags are published in a round in which nothing can be stored of the first: the others do not mind.
    pub(crate) fn first_cannot_be_stored(&mut self) {
        self.wished = (0..TAGS).collect();
        let fate = Fate::without(&self.place, self.images[0].flat().path());
        let repository: Arc<dyn Repository> = Arc::new(Mortal::new(self.place.open(), &fate));
        let report = self.bring_in_step(&repository).unwrap();
        drop(repository);
        assert_eq!((report.failed.len(), report.converted.len()), (1, TAGS - 1), "{report:?}");
        self.published = (1..TAGS).map(|tag| (tag, tag)).collect();
        self.check();
    }

    fn name(&self, tag: usize) -> PublicName {
        self.registry.reference(tag).public_name().unwrap()
    }

    fn image_place(&self, tag: usize) -> ImagePlace {
        self.name(tag).into()
    }

    fn round(&mut self, killed: Option<usize>) {
        let fate = Fate::new(&self.place, killed);
        let repository: Arc<dyn Repository> = Arc::new(Mortal::new(self.place.open(), &fate));
        let report = self.bring_in_step(&repository);
        drop(repository);
        match fate.left_behind() {
            Some(left) => {
                self.place = Arc::new(left);
                self.place.open().finish_abandoned().unwrap();
                self.look_at_names(false);
                self.look_at_marks();
            }
            None => {
                let report = report.unwrap();
                assert!(report.is_success(), "{report:?}");
                self.look_at_names(true);
                self.unwanted.retain(|tag, _| !self.wished.contains(tag));
                for tag in self.published.keys().filter(|tag| !self.wished.contains(tag)) {
                    self.unwanted.entry(*tag).or_insert(self.days);
                }
                assert_eq!(self.marks(), self.unwanted);
            }
        }
    }

    /// A round as `ducc convert` does it.
    fn bring_in_step(&self, repository: &Arc<dyn Repository>) -> Result<RoundReport, String> {
        let told = |error: removal::Error| error.to_string();
        repository.finish_abandoned().map_err(|error| error.to_string())?;
        let names = self.wished.iter().map(|&tag| self.name(tag));
        let wanted = WantedByList::all_platforms(names);
        let lists = [ListWishes { list: "list".to_owned(), wanted }];
        let now = Timestamp::now();
        let books = |view: &dyn Repository| unwanted::round(view, &lists, now);
        if !books(&**repository).map_err(told)?.is_empty() {
            removal::keep_books(&**repository, &mut no_wait, &Stop::default(), books)
                .map_err(told)?;
        }
        let wanted = self.wished.iter().map(|&tag| Wanted {
            reference: self.registry.reference(tag),
            name: self.name(tag),
            platforms: Platforms::HostOnly,
            flat: true,
            thin: None,
            user: None,
            credentials: None,
            priority: 0,
            may_fail: false,
        });
        let source = source::Options { max_concurrent_downloads: 1, ..Default::default() };
        let (progress, nobody) = (Progress::new(Style::Quiet), Notifications::default());
        let round = Round {
            repository: Arc::clone(repository),
            state: Arc::new(Memory::at(&State::path(self.state.path(), "r"))),
            settings: Settings {
                common: Common { source, again: Again::default(), push_password: None },
                batch: BatchSettings::new(Limits::default(), progress, nobody),
                looks: 2,
                jobs: 1,
                grouping: Grouping { images: 2, interval: Duration::from_secs(300) },
                pauses: false,
            },
            cancel: CancellationToken::new(),
        };
        Ok(self.runtime.block_on(round.run(wanted.collect())))
    }

    fn collect(&mut self, killed: Option<usize>, batch: usize) {
        let fate = Fate::new(&self.place, killed);
        let repository: Arc<dyn Repository> = Arc::new(Mortal::new(self.place.open(), &fate));
        let options = Options {
            now: Timestamp::now(),
            grace: hours(GRACE).unsigned_abs(),
            ducc_chains: false,
            batch,
        };
        let mut removed = Removed::default();
        let collected = removal::carry_out(
            &*repository,
            &Subject::Expired,
            &options,
            &mut no_wait,
            &Stop::default(),
            &mut |batch| removed.add(batch),
        );
        drop(repository);
        let left = fate.left_behind();
        let is_over = |since: u64| self.days - since >= GRACE;
        let over: Vec<usize> = self
            .unwanted
            .iter()
            .filter(|(_, since)| is_over(**since))
            .map(|(&tag, _)| tag)
            .collect();
        self.replaced.retain(|(_, since)| !is_over(*since));
        match left {
            Some(left) => {
                self.place = Arc::new(left);
                let repository = self.place.open();
                repository.finish_abandoned().unwrap();
                for tag in over {
                    if self.image_at(&*repository, tag).is_none() {
                        self.published.remove(&tag);
                    }
                }
                self.look_at_marks();
            }
            None => {
                collected.unwrap();
                for tag in over {
                    self.published.remove(&tag);
                    self.unwanted.remove(&tag);
                }
                assert_eq!(self.marks(), self.unwanted);
            }
        }
    }

    /// Lets days pass: everything in the schedule becomes older.
    fn pass(&mut self, days: u64) {
        self.days += days;
        let repository = self.place.open();
        let mut schedule = inventory::schedule(&*repository).unwrap();
        if schedule.entries.is_empty() {
            return;
        }
        for entry in &mut schedule.entries {
            let since = match entry {
                ScheduleEntry::Image(image) => &mut image.unwanted_since,
                ScheduleEntry::Content(content) => &mut content.unwanted_since,
                ScheduleEntry::OfDucc(_) => panic!("this is not DUCC"),
            };
            let time: Timestamp = since.parse().unwrap();
            *since = time.checked_sub(hours(days)).unwrap().to_string();
        }
        let transaction = repository.begin(&mut no_wait).unwrap();
        transaction.write_file(&path::remove_schedule(), &schedule.to_json()).unwrap();
        transaction.commit().unwrap();
    }

    /// The image that the public path of a tag leads to.
    fn image_at(&self, repository: &dyn Repository, tag: usize) -> Option<usize> {
        let link = self.image_place(tag).link();
        let Published::Symlink(target) = repository.lookup(&link).unwrap()? else {
            panic!("{link} is no link")
        };
        let unit = Unit::of_link_target(&target);
        let number = self.images.iter().position(|image| Some(image.flat()) == unit);
        Some(number.unwrap_or_else(|| panic!("{link} leads to {target}")))
    }

    /// What a round has done to the names: each is as it was, or as the registry has it. If it is complete, all that is
    /// wished for is as the registry has it.
    fn look_at_names(&mut self, complete: bool) {
        let repository = self.place.open();
        for tag in 0..TAGS {
            let now = self.image_at(&*repository, tag);
            let before = self.published.get(&tag).copied();
            let in_registry = self.registry.image(tag);
            if now != before {
                assert!(self.wished.contains(&tag), "{tag} was published and not wished for");
                assert_eq!(now, Some(in_registry), "{tag} was {before:?}");
                self.published.insert(tag, in_registry);
                self.replaced.extend(before.map(|image| (image, self.days)));
            }
            if complete && self.wished.contains(&tag) {
                assert_eq!(now, Some(in_registry), "{tag} is out of step");
            }
        }
    }

    /// The names that the schedule says nobody wishes for, and since which day.
    fn marks(&self) -> BTreeMap<usize, u64> {
        let schedule = inventory::schedule(&*self.place.open()).unwrap();
        let mut marks = BTreeMap::new();
        for entry in schedule.entries {
            let ScheduleEntry::Image(image) = entry else { continue };
            if image.reason == Reason::Unwished {
                let tag = (0..TAGS).find(|&tag| self.image_place(tag) == image.place).unwrap();
                let since: Timestamp = image.unwanted_since.parse().unwrap();
                let age = Timestamp::now().duration_since(since).as_hours() / HOURS;
                let before = marks.insert(tag, self.days - u64::try_from(age).unwrap());
                assert_eq!(before, None, "{tag} is in the schedule twice");
            }
        }
        marks
    }

    /// What a publisher that was killed has done to the marks: each is there, or not there, for a reason.
    fn look_at_marks(&mut self) {
        let marks = self.marks();
        for (tag, since) in &marks {
            let before = self.unwanted.get(tag);
            let is_new = !self.wished.contains(tag) && *since == self.days;
            assert!(before == Some(since) || (before.is_none() && is_new), "{tag} since {since}");
        }
        for tag in self.unwanted.keys().filter(|tag| !marks.contains_key(tag)) {
            let is_gone = !self.published.contains_key(tag);
            assert!(is_gone || self.wished.contains(tag), "{tag} is forgotten");
        }
        self.unwanted = marks;
    }

    /// What is needed by all that has a name or waits.
    fn needed(&self) -> BTreeSet<Unit> {
        let replaced = self.replaced.iter().map(|(image, _)| image);
        let images = self.published.values().chain(replaced);
        images.flat_map(|&image| self.images[image].units()).collect()
    }

    /// Every image that has a name is whole, nothing else has one, and what was replaced is there as long as it waits.
    fn check(&self) {
        let repository = self.place.open();
        for tag in 0..TAGS {
            let found = self.image_at(&*repository, tag);
            assert_eq!(found, self.published.get(&tag).copied(), "{tag}");
        }
        let places = inventory::places(&*repository).unwrap();
        let expected: Vec<_> = self.published.keys().map(|&tag| self.image_place(tag)).collect();
        assert_eq!(places, expected);
        verify(&*repository, &places, |verdict| {
            assert_eq!(verdict.faults, [], "{}", verdict.place);
        })
        .unwrap();
        let inventory = Inventory::take(&*repository).unwrap();
        assert_eq!(inventory.broken, []);
        let missing: Vec<_> = self.needed().difference(&inventory.content).copied().collect();
        assert_eq!(missing, []);
    }
}
