//! What wish lists say, round by round.

use layer_layout::{Architecture, path};

use super::{collect, day, options, schedule, want, write};
use crate::inventory::tests::model::{Image, Model};
use crate::inventory::tests::place;
use crate::removal::unwanted::{self, Bookkeeping};
use crate::removal::{Error, ListWishes, Platforms, Unknown, Wanted};

fn list(name: &str, wanted: Wanted) -> ListWishes {
    ListWishes { list: name.to_owned(), wanted }
}

/// A round of one loop.
fn round(model: &mut Model, lists: &[ListWishes], now: u64) -> Bookkeeping {
    let books = unwanted::round(model, lists, day(now)).unwrap();
    write(model, &books);
    books
}

fn published(names: &[&str]) -> Model {
    let mut model = Model::default();
    for (at, name) in (0..).zip(names) {
        model.publish(&place(name), &Image::new(&["base"], at));
    }
    model
}

#[test]
fn what_leaves_a_list_becomes_unwanted() {
    let mut model = published(&["r.io/a:1", "r.io/b:1", "r.io/by/hand:1"]);
    let books = round(&mut model, &[list("l", want(&["r.io/a:1", "r.io/b:1"]))], 0);
    assert_eq!((books.unwanted.len(), books.records.len()), (0, 1));
    let books = round(&mut model, &[list("l", want(&["r.io/a:1", "r.io/b:1"]))], 1);
    assert!(books.is_empty(), "a round without a change writes nothing: {books:?}");

    let books = round(&mut model, &[list("l", want(&["r.io/a:1"]))], 2);
    assert_eq!(books.unwanted, [place("r.io/b:1")], "what was published by hand is left alone");
    let books = round(&mut model, &[list("l", want(&["r.io/a:1"]))], 3);
    assert!(books.is_empty(), "{books:?}");
    collect(&mut model, &options(day(12)));
    let books = round(&mut model, &[list("l", want(&["r.io/a:1"]))], 13);
    assert_eq!(books.records[0].former_names.len(), 0, "what is gone is forgotten");
}

#[test]
fn a_list_that_cannot_be_read_makes_nothing_unwanted() {
    let mut model = published(&["r.io/a:1"]);
    round(&mut model, &[list("l", want(&["r.io/a:1"]))], 0);
    let books = round(&mut model, &[list("l", Wanted::nothing_known())], 1);
    assert!(books.is_empty(), "{books:?}");
    let books = round(&mut model, &[list("l", want(&[]))], 2);
    assert_eq!(books.unwanted, [place("r.io/a:1")]);
    let books = round(&mut model, &[list("l", Wanted::nothing_known())], 3);
    assert!(
        books.is_empty(),
        "nor is anything rescued that it did not want when it was read: {books:?}"
    );
    let error = unwanted::prune(&model, &Wanted::nothing_known(), day(3)).unwrap_err();
    assert!(matches!(error, Error::WishesUnknown));
}

/// A registry that does not answer leaves a pattern without its images.
#[test]
fn what_a_list_cannot_say_stays_as_it_is() {
    let mut model = published(&["r.io/a:1", "r.io/a:2", "r.io/b:1"]);
    let all = want(&["r.io/a:1", "r.io/a:2", "r.io/b:1"]);
    round(&mut model, &[list("l", all.clone())], 0);
    let unknown = Unknown::Repositories([("r.io".to_owned(), "a".to_owned())].into());
    let partly = Wanted { unknown, ..want(&[]) };
    let books = round(&mut model, &[list("l", partly.clone())], 1);
    assert_eq!(books.unwanted, [place("r.io/b:1")]);
    assert_eq!(books.records[0].names.len(), 2);
    let books = round(&mut model, &[list("l", partly.clone())], 2);
    assert!(books.is_empty(), "{books:?}");
    let books = unwanted::prune(&model, &partly, day(3)).unwrap();
    assert!(books.is_empty(), "{books:?}");
    let books = round(&mut model, &[list("l", all)], 4);
    assert_eq!(books.rescued, [place("r.io/b:1")]);
    let books = round(&mut model, &[list("l", want(&[]))], 5);
    assert_eq!(books.unwanted.len(), 3);
}

#[test]
fn what_another_list_wants_stays() {
    let mut model = published(&["r.io/a:1"]);
    let wanted = want(&["r.io/a:1"]);
    round(&mut model, &[list("one", wanted.clone())], 0);
    round(&mut model, &[list("two", wanted.clone())], 0);
    for lists in [
        vec![list("one", want(&[]))],
        vec![list("one", want(&[])), list("two", wanted.clone())],
        vec![list("one", want(&[])), list("two", Wanted::nothing_known())],
    ] {
        let books = round(&mut model, &lists, 1);
        assert_eq!(books.unwanted, [], "{lists:?}");
    }
    let books = round(&mut model, &[list("two", want(&[]))], 2);
    assert_eq!(books.unwanted, [place("r.io/a:1")], "the last one to want it decides");
    let books = round(&mut model, &[list("one", wanted)], 3);
    assert_eq!(books.rescued, [place("r.io/a:1")]);
}

/// DUCC drops what it does not know when it adds to the schedule.
#[test]
fn what_was_lost_from_the_schedule_is_noticed_again() {
    let mut model = published(&["r.io/a:1"]);
    round(&mut model, &[list("l", want(&["r.io/a:1"]))], 0);
    round(&mut model, &[list("l", want(&[]))], 1);
    model.remove(path::remove_schedule().as_str());
    let books = round(&mut model, &[list("l", want(&[]))], 2);
    assert_eq!(books.unwanted, [place("r.io/a:1")]);
    assert_eq!(schedule(&model).entries.len(), 1);
}

#[test]
fn platforms_are_wanted_one_by_one() {
    let mut model = published(&["amd64 r.io/a:1", "arm64:v8 r.io/a:1", "r.io/a:1"]);
    let only = |names: &[&str]| {
        let platforms = names.iter().map(|name| name.parse().unwrap()).collect();
        let names = [("r.io/a:1".parse().unwrap(), Platforms::Only(platforms))].into();
        Wanted { names, ..Wanted::default() }
    };
    round(&mut model, &[list("l", only(&["amd64", "arm64:v8"]))], 0);
    let books = round(&mut model, &[list("l", only(&["amd64"]))], 1);
    assert_eq!(books.unwanted, [place("arm64:v8 r.io/a:1")]);
    let books = round(&mut model, &[list("l", only(&["amd64", "arm64:v8"]))], 2);
    assert_eq!(books.rescued, [place("arm64:v8 r.io/a:1")]);
    let books = round(&mut model, &[list("l", want(&[]))], 3);
    assert_eq!(books.unwanted.len(), 3);
}

/// DUCC keeps images in `arm64` and `arm` whose index tells no variant, and so does who publishes beside it.
#[test]
fn a_directory_without_a_variant_is_for_the_platform_that_it_stands_for() {
    let all = ["arm64 r.io/a:1", "arm64:v8 r.io/a:1", "arm r.io/a:1", "arm:v6 r.io/a:1"];
    let mut model = published(&all);
    let wanted = |platforms: &[&str]| {
        let of = |text: &&str| Architecture::of(&text.parse().unwrap()).unwrap();
        let platforms = Platforms::Only(platforms.iter().map(of).collect());
        let names = [("r.io/a:1".parse().unwrap(), platforms)].into();
        Wanted { names, ..Wanted::default() }
    };
    let every = wanted(&["linux/arm64", "linux/arm", "linux/arm/v6"]);
    for now in 0..2 {
        let books = round(&mut model, &[list("l", every.clone())], now);
        assert_eq!(books.unwanted, [], "in round {now}");
    }
    assert_eq!(unwanted::prune(&model, &every, day(2)).unwrap().unwanted, []);
    let few = wanted(&["linux/arm/v7"]);
    let expected = ["arm64 r.io/a:1", "arm64:v8 r.io/a:1", "arm:v6 r.io/a:1"].map(place);
    assert_eq!(unwanted::prune(&model, &few, day(2)).unwrap().unwanted.len(), expected.len());
    let books = round(&mut model, &[list("l", few)], 3);
    assert!(expected.iter().all(|place| books.unwanted.contains(place)), "{:?}", books.unwanted);
    assert_eq!(books.unwanted.len(), expected.len());
}

#[test]
fn a_damaged_record_is_an_error() {
    let mut model = published(&["r.io/a:1"]);
    model.file(path::wish_record("l").as_str(), "{");
    let error = unwanted::round(&model, &[list("l", want(&[]))], day(0)).unwrap_err();
    assert!(error.to_string().contains(".metadata/.wishes/"), "{error}");
}

/// An image that nobody can read stays, and is named.
#[test]
fn broken_metadata_are_told() {
    let mut model = published(&["r.io/a:1"]);
    round(&mut model, &[list("l", want(&["r.io/a:1"]))], 0);
    model.file(".metadata/r.io/a:1/manifest.json", "");
    let books = round(&mut model, &[list("l", want(&[]))], 1);
    assert_eq!((books.unwanted.len(), books.broken.len()), (0, 1));
}
