//! Whatever happens in which order, each image that has a name is whole, and in the end there are the images that are wished
//! for and those whose grace period is not over.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod image;
mod mortal;
mod place;
mod registry;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use self::place::Kind;
use self::world::World;

/// How many tags there are.
const TAGS: usize = 3;
/// How long something stays after it has become unwanted, in days.
const GRACE: u64 = 3;
/// Sequences of events that are tried, unless `PROPTEST_CASES` says something else.
const CASES: u32 = 12;
/// The same in a bucket, where all takes longer.
const CASES_IN_BUCKET: u32 = 3;
/// How many attempts are made at making a sequence that fails shorter.
const SHORTER: u32 = 200;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A tag is wished for from now on, or, if it was, not any more.
    Wish { tag: usize },
    /// A tag moves in the registry.
    Move { tag: usize, image: usize },
    /// A round, which may be killed after so many steps.
    Round { killed: Option<usize> },
    /// Garbage is collected, so many paths at a time.
    Collect { killed: Option<usize>, batch: usize },
    /// Days pass.
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let killed = |most: usize| {
        prop_oneof![
            4 => Just(None),
            1 => (0..most / 4).prop_map(Some),
            1 => (0..most).prop_map(Some),
        ]
    };
    let event = prop_oneof![
        4 => (0..TAGS).prop_map(|tag| Event::Wish { tag }),
        3 => (0..TAGS, 0..image::NUMBER).prop_map(|(tag, image)| Event::Move { tag, image }),
        5 => killed(200).prop_map(|killed| Event::Round { killed }),
        3 => (killed(30), 1..8_usize)
            .prop_map(|(killed, batch)| Event::Collect { killed, batch }),
        2 => (1..=GRACE).prop_map(Event::Pass),
    ];
    proptest::collection::vec(event, 1..40)
}

fn check(kind: Kind) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let cases = if kind == Kind::Bucket { CASES_IN_BUCKET } else { CASES };
    let config = ProptestConfig {
        cases: number("PROPTEST_CASES").map_or(cases, |cases| cases.try_into().unwrap()),
        max_shrink_iters: SHORTER,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let result = TestRunner::new_with_rng(config, random).run(&events(), |events| {
        let mut world = World::new(kind);
        for event in &events {
            world.happen(event);
        }
        world.come_to_an_end();
        Ok(())
    });
    if let Err(error) = result {
        panic!("with SEED={seed}: {error}");
    }
}

#[test]
fn in_a_directory() {
    check(Kind::Directory);
}

#[test]
fn in_a_native_repository() {
    check(Kind::Native);
}

#[test]
fn in_a_native_repository_in_a_bucket() {
    check(Kind::Bucket);
}

#[test]
fn an_image_that_cannot_be_stored_fails_alone() {
    for kind in [Kind::Directory, Kind::Native, Kind::Bucket] {
        World::new(kind).first_cannot_be_stored();
    }
}
