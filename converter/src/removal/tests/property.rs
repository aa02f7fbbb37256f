//! Whatever happens in which order, no image that has a name lacks anything, and in the end there is what is wished for
//! and what waits.

use std::collections::{BTreeMap, BTreeSet};

use layer_layout::ImagePlace;
use layer_layout::path::Unit;
use layer_layout::record::ScheduleEntry;
use proptest::prelude::*;

use super::{DAY, apply, assert_chains_lead_somewhere, day, planned, want, write, write_schedule};
use crate::inventory::Inventory;
use crate::inventory::tests::model::{Image, Model};
use crate::inventory::tests::place;
use crate::removal::unwanted;
use crate::removal::{ListWishes, Options, Subject, Wanted};

/// How many tags there are.
const TAGS: usize = 4;
const GRACE: u64 = 3;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A list begins to want a tag, or wants it no longer.
    Wish { list: usize, tag: usize, wanted: bool },
    /// A tag moves in the registry.
    Move { tag: usize, image: usize },
    /// A round of a list: it looks at what is wished for, or cannot, publishes, and may be killed after so many steps.
    Round { list: usize, readable: bool, steps: usize },
    /// Garbage is collected, and the collector may be killed after so many batches.
    Collect { batches: usize, size: usize },
    /// Days pass.
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let often = 0..3_usize;
    let steps = prop_oneof![1 => often.clone(), 3 => Just(usize::MAX)];
    let event = prop_oneof![
        3 => (0..2_usize, 0..TAGS, any::<bool>())
            .prop_map(|(list, tag, wanted)| Event::Wish { list, tag, wanted }),
        2 => (0..TAGS, 0..6_usize).prop_map(|(tag, image)| Event::Move { tag, image }),
        5 => (0..2_usize, 0..5_u8, steps)
            .prop_map(|(list, luck, steps)| Event::Round { list, readable: luck > 0, steps }),
        3 => (prop_oneof![often, Just(usize::MAX)], 1..8_usize)
            .prop_map(|(batches, size)| Event::Collect { batches, size }),
        3 => (1..=GRACE).prop_map(Event::Pass),
    ];
    proptest::collection::vec(event, 1..60)
}

/// Images that share layers, and layers that are compressed in two ways.
fn image(number: usize) -> Image {
    let layers: [&[&str]; 6] =
        [&["a", "b"], &["a", "c"], &["a-z", "b"], &["a", "b", "d"], &["d"], &["a", "b-z", "d"]];
    Image::new(layers[number], u32::try_from(number % 2).unwrap())
}

/// The world: a registry, two wish lists, and a repository.
struct World {
    days: u64,
    registry: [usize; TAGS],
    lists: [BTreeSet<usize>; 2],
    repository: Model,
    /// What is published under each name.
    published: BTreeMap<ImagePlace, Image>,
    /// What was replaced, and until when it stays.
    replaced: Vec<(Image, u64)>,
}

fn tag(number: usize) -> ImagePlace {
    place(&format!("r.io/x:{number}"))
}

impl World {
    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Wish { list, tag, wanted: true } => {
                self.lists[list].insert(tag);
            }
            Event::Wish { list, tag, wanted: false } => {
                self.lists[list].remove(&tag);
            }
            Event::Move { tag, image } => self.registry[tag] = image,
            Event::Round { list, readable, steps } => self.round(list, readable, steps),
            Event::Collect { batches, size } => self.collect(batches, size),
            Event::Pass(days) => self.days += days,
        }
        self.check();
    }

    /// A round: the books, then each image, then what was replaced.
    fn round(&mut self, list: usize, readable: bool, mut steps: usize) {
        let names: Vec<String> =
            self.lists[list].iter().map(|&number| tag(number).name.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let wanted = if readable { want(&names) } else { Wanted::nothing_known() };
        let wishes = [ListWishes { list: list.to_string(), wanted }];
        let now = day(self.days);
        let mut step = || {
            let goes_on = steps > 0;
            steps = steps.saturating_sub(1);
            goes_on
        };
        if !step() {
            return;
        }
        let books = unwanted::round(&self.repository, &wishes, now).unwrap();
        write(&mut self.repository, &books);
        if !readable {
            return;
        }
        let (mut replaced, mut published) = (Vec::new(), BTreeSet::new());
        for &number in &self.lists[list] {
            if !step() {
                return;
            }
            let (place, image) = (tag(number), image(self.registry[number]));
            let old = unwanted::replaced(&self.repository, &place, image.config(), now).unwrap();
            self.repository.publish(&place, &image);
            published.insert(place.clone());
            let before = self.published.insert(place, image);
            replaced.extend(old.zip(before));
        }
        if step() && !replaced.is_empty() {
            let (entries, images): (Vec<_>, Vec<_>) = replaced.into_iter().unzip();
            let books = unwanted::moved(&self.repository, entries, &published, now).unwrap();
            write(&mut self.repository, &books);
            let until = self.days + GRACE;
            self.replaced.extend(images.into_iter().map(|image| (image, until)));
        }
    }

    fn collect(&mut self, batches: usize, size: usize) {
        let options = Options {
            now: day(self.days),
            grace: std::time::Duration::from_secs(GRACE * DAY),
            ducc_chains: false,
            batch: size,
        };
        let plan = planned(&self.repository, &Subject::Expired, &options).unwrap();
        write_schedule(&mut self.repository, plan.schedule.as_deref());
        for batch in plan.batches.iter().take(batches) {
            apply(&mut self.repository, batch);
            for place in &batch.images {
                self.published.remove(place);
            }
            self.check();
        }
    }

    /// Every image that has a name is complete, and nothing else has one. What was replaced is complete until its time is
    /// over.
    fn check(&self) {
        assert_chains_lead_somewhere(&self.repository);
        for (image, until) in &self.replaced {
            if self.days < *until {
                assert_eq!(self.repository.missing_content(image), [""; 0], "replaced");
            }
        }
        for (place, image) in &self.published {
            assert_eq!(self.repository.missing(place, image), [""; 0], "{place}");
        }
        let inventory = Inventory::take(&self.repository).unwrap();
        assert_eq!(inventory.broken, []);
        let named: Vec<_> = inventory.links.of_images.keys().collect();
        assert_eq!(named, self.published.keys().collect::<Vec<_>>());
    }

    fn wished(&self) -> BTreeSet<ImagePlace> {
        self.lists.iter().flatten().map(|&number| tag(number)).collect()
    }

    /// Lets both lists have their rounds and the collector finish.
    fn settle(&mut self) {
        for list in [0, 1] {
            self.round(list, true, usize::MAX);
        }
        // What one list rescues, the other may have found unwanted before.
        self.round(0, true, usize::MAX);
        self.collect(usize::MAX, 5);
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_wished_for_and_what_waits_is_there_and_nothing_else(events in events()) {
        let mut world = World {
            days: 0,
            registry: [0, 1, 2, 3],
            lists: [[0, 2].into(), [1, 2].into()],
            repository: Model::default(),
            published: BTreeMap::new(),
            replaced: Vec::new(),
        };
        for event in &events {
            world.happen(event);
        }
        world.settle();
        for wished in world.wished() {
            let number = (0..TAGS).find(|&number| tag(number) == wished).unwrap();
            prop_assert_eq!(&world.published[&wished], &image(world.registry[number]));
        }
        let inventory = Inventory::take(&world.repository).unwrap();
        let mut kept: BTreeSet<Unit> = BTreeSet::new();
        let mut waiting = BTreeSet::new();
        for entry in &inventory.schedule.entries {
            if let ScheduleEntry::Image(image) = entry {
                let since: jiff::Timestamp = image.unwanted_since.parse().unwrap();
                let end = since + std::time::Duration::from_secs(GRACE * DAY);
                prop_assert!(end > day(world.days), "{:?} is over", image);
                waiting.insert(image.place.clone());
            }
        }
        for place in world.published.keys() {
            prop_assert!(world.wished().contains(place) || waiting.contains(place), "{}", place);
        }

        // When all grace periods are over, only what is wished for is left.
        for _ in 0..2 {
            world.days += GRACE;
            world.settle();
        }
        let left: BTreeSet<_> = world.published.keys().cloned().collect();
        prop_assert_eq!(left, world.wished());
        for image in world.published.values() {
            let layers = image.layers.iter().map(|name| crate::inventory::tests::model::layer(name));
            kept.extend(crate::inventory::units(image.config(), &image.diff_ids(), layers));
        }
        // Links of chains may lead to layers that were published in another form.
        let linked = kept.iter().filter_map(|unit| match unit {
            Unit::Chain(chain) => crate::inventory::linked_layer(&world.repository, chain).unwrap(),
            _ => None,
        });
        let linked: Vec<Unit> = linked.collect();
        kept.extend(linked);
        prop_assert_eq!(world.repository.content(), kept);
        prop_assert_eq!(inventory_of(&world).schedule.entries, []);
    }
}

fn inventory_of(world: &World) -> Inventory {
    Inventory::take(&world.repository).unwrap()
}
