//! What goes, what stays, and since when.

mod property;
mod real;
mod wishes;

use std::time::Duration;

use jiff::Timestamp;
use layer_layout::path::{self, ImageMetadata, Unit};
use layer_layout::record::{RemoveSchedule, ScheduleEntry};
use layer_layout::{ChainId, ImagePlace};

use super::unwanted::{self, Bookkeeping};
use super::{Batch, Error, Options, Plan, Platforms, Result, Subject, Wanted, plan};
use crate::inventory::tests::model::{Image, Model, diff_id, layer};
use crate::inventory::tests::place;
use crate::inventory::{Inventory, PublishedImage, linked_layer};

const DAY: u64 = 24 * 60 * 60;

/// So many days after some day.
fn day(days: u64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + Duration::from_secs(days * DAY)
}

/// A grace period of ten days.
fn options(now: Timestamp) -> Options {
    let grace = Duration::from_secs(10 * DAY);
    Options { now, grace, ducc_chains: false, batch: 1000 }
}

fn planned(model: &Model, subject: &Subject, options: &Options) -> Result<Plan> {
    plan(model, &Inventory::take(model).unwrap(), subject, options)
}

/// Does what a batch says.
fn apply(model: &mut Model, batch: &Batch) {
    for path in &batch.paths {
        assert!(model.has(path.as_str()), "{path} is to be removed and is not there");
        model.remove(path.as_str());
    }
    write_schedule(model, batch.schedule.as_deref());
}

fn write_schedule(model: &mut Model, schedule: Option<&[u8]>) {
    if let Some(schedule) = schedule {
        model.file(path::remove_schedule().as_str(), schedule);
    }
}

fn write(model: &mut Model, books: &Bookkeeping) {
    for (path, bytes) in books.files() {
        model.file(path.as_str(), bytes);
    }
}

/// Collects garbage, and gives what was removed.
fn collect(model: &mut Model, options: &Options) -> Vec<String> {
    let plan = planned(model, &Subject::Expired, options).unwrap();
    write_schedule(model, plan.schedule.as_deref());
    for batch in &plan.batches {
        apply(model, batch);
    }
    plan.batches.iter().flat_map(|batch| &batch.paths).map(ToString::to_string).collect()
}

/// Every chain leads to something: the next image with this chain takes its link as it is.
fn assert_chains_lead_somewhere(model: &Model) {
    let content = model.content();
    for unit in &content {
        if let Unit::Chain(chain) = unit {
            let target = linked_layer(model, chain).unwrap();
            assert!(target.is_none_or(|target| content.contains(&target)), "{unit} to {target:?}");
        }
    }
}

fn schedule(model: &Model) -> RemoveSchedule {
    Inventory::take(model).unwrap().schedule
}

fn want(names: &[&str]) -> Wanted {
    Wanted::all_platforms(names.iter().map(|name| name.parse().unwrap()))
}

/// Marks what is not among these names as unwanted.
fn prune(model: &mut Model, names: &[&str], now: Timestamp) {
    let books = unwanted::prune(model, &want(names), now).unwrap();
    write(model, &books);
}

/// Two images that share a layer.
fn two() -> (Model, Image, Image) {
    let mut model = Model::default();
    let (one, two) = (Image::new(&["a", "b"], 1), Image::new(&["a", "c"], 2));
    model.publish(&place("r.io/one:1"), &one);
    model.publish(&place("r.io/two:2"), &two);
    (model, one, two)
}

#[test]
fn an_image_goes_when_its_grace_period_is_over() {
    let (mut model, one, two) = two();
    prune(&mut model, &["r.io/two:2"], day(0));
    let before = model.clone();
    assert_eq!(collect(&mut model, &options(day(9))), [""; 0]);
    assert_eq!(model, before, "nothing happens before");
    assert_eq!(one.config().to_string().len(), 71);

    let removed = collect(&mut model, &options(day(10)));
    let chain = ChainId::base(diff_id("a")).child(diff_id("b"));
    let expected = [
        "r.io/one:1".to_owned(),
        ".metadata/r.io/one:1".to_owned(),
        path::flat(&one.config()).to_string(),
        path::chain(&chain).to_string(),
        path::layer(&layer("b")).to_string(),
    ];
    assert_eq!(removed, expected, "names first, layers last, and nothing that the other needs");
    assert_eq!(model.missing(&place("r.io/two:2"), &two), [""; 0]);
    assert_eq!(schedule(&model).entries, []);
    assert_eq!(collect(&mut model, &options(day(100))), [""; 0]);
}

#[test]
fn a_dry_look_changes_nothing_and_says_the_same() {
    let (mut model, ..) = two();
    prune(&mut model, &[], day(0));
    let seen = planned(&model, &Subject::Expired, &options(day(10))).unwrap();
    let paths: Vec<_> =
        seen.batches.iter().flat_map(|batch| &batch.paths).map(ToString::to_string).collect();
    assert_eq!(collect(&mut model, &options(day(10))), paths);
    assert_eq!(model.content().len(), 0);
    let waiting =
        |model: &Model| planned(model, &Subject::Expired, &options(day(1))).unwrap().waiting;
    assert_eq!(waiting(&model), 0);
}

#[test]
fn an_image_that_is_wished_for_again_is_rescued() {
    let (mut model, ..) = two();
    prune(&mut model, &["r.io/two:2"], day(0));
    assert_eq!(schedule(&model).entries.len(), 1);
    let books = unwanted::prune(&model, &want(&["r.io/one:1", "r.io/two:2"]), day(9)).unwrap();
    assert_eq!(books.rescued, [place("r.io/one:1")]);
    write(&mut model, &books);
    assert_eq!(schedule(&model).entries, []);
    assert_eq!(collect(&mut model, &options(day(100))), [""; 0]);

    prune(&mut model, &["r.io/two:2"], day(100));
    assert_eq!(collect(&mut model, &options(day(109))), [""; 0], "its time begins anew");
    assert!(!collect(&mut model, &options(day(110))).is_empty());
}

#[test]
fn the_time_of_an_image_begins_once() {
    let (mut model, ..) = two();
    for now in [0, 5, 9] {
        prune(&mut model, &["r.io/two:2"], day(now));
    }
    assert_eq!(schedule(&model).entries.len(), 1);
    assert!(!collect(&mut model, &options(day(10))).is_empty());
}

#[test]
fn what_a_moved_tag_leaves_waits_too() {
    let (mut model, one, _) = two();
    let at = place("r.io/one:1");
    let new = Image::new(&["a", "d"], 3);
    let replaced = unwanted::replaced(&model, &at, new.config(), day(0)).unwrap().unwrap();
    assert_eq!(unwanted::replaced(&model, &at, one.config(), day(0)).unwrap(), None);
    model.publish(&at, &new);
    let published = [at.clone()].into();
    let books = unwanted::moved(&model, vec![replaced], &published, day(0)).unwrap();
    write(&mut model, &books);
    assert_eq!(collect(&mut model, &options(day(9))), [""; 0]);
    let removed = collect(&mut model, &options(day(10)));
    let gone = ["flat", "chain", "layer"].len();
    assert_eq!(removed.len(), gone, "the name stays: {removed:?}");
    assert_eq!(model.missing(&at, &new), [""; 0]);
}

/// DUCC replaces images without saying so, and drops what it does not know from the schedule.
#[test]
fn what_nobody_has_said_to_be_unneeded_is_found() {
    let (mut model, one, _) = two();
    model.remove("r.io/one:1");
    model.remove(".metadata/r.io/one:1");
    let options = |now| options(day(now));
    assert_eq!(collect(&mut model, &options(0)), [""; 0]);
    let [ScheduleEntry::Content(found)] = &schedule(&model).entries[..] else { panic!() };
    let chain = ChainId::base(diff_id("a")).child(diff_id("b"));
    let units = [Unit::Flat(one.config()), Unit::Chain(chain), Unit::Layer(layer("b"))];
    assert_eq!(found.units, units);
    let before = model.clone();
    assert_eq!(collect(&mut model, &options(9)), [""; 0]);
    assert_eq!(model, before);
    assert_eq!(collect(&mut model, &options(10)).len(), 3);
    assert_eq!(schedule(&model).entries, []);
}

#[test]
fn what_is_needed_again_leaves_the_schedule() {
    let (mut model, one, _) = two();
    model.remove("r.io/one:1");
    model.remove(".metadata/r.io/one:1");
    collect(&mut model, &options(day(0)));
    model.publish(&place("r.io/three:3"), &one);
    assert_eq!(collect(&mut model, &options(day(20))), [""; 0]);
    assert_eq!(schedule(&model).entries, []);
    assert_eq!(model.missing(&place("r.io/three:3"), &one), [""; 0]);
}

#[test]
fn without_a_grace_period_all_goes_at_once() {
    let (mut model, ..) = two();
    model.directory(path::layer(&layer("left behind")).as_str());
    prune(&mut model, &[], day(0));
    let now = Options { grace: Duration::ZERO, ..options(day(0)) };
    assert!(!collect(&mut model, &now).is_empty());
    assert_eq!(model.content().len(), 0);
}

#[test]
fn links_keep_what_they_lead_to() {
    let (mut model, one, _) = two();
    let flat = path::flat(&one.config());
    model.link("mine/favourite", format!("../{flat}"));
    model.link("podmanStore/overlay/x/diff", format!("../../../{}", path::layerfs(&layer("b"))));
    prune(&mut model, &["r.io/two:2"], day(0));
    let removed = collect(&mut model, &options(day(10)));
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert!(model.has(flat.as_str()) && model.has(path::layerfs(&layer("b")).as_str()));
    model.remove("mine");
    assert_eq!(collect(&mut model, &options(day(11))), [""; 0], "it is found to be unneeded now");
    assert_eq!(collect(&mut model, &options(day(21))), [flat.to_string()]);
}

/// The same layers, compressed in another way, have the same chains; the links are those of who came first.
#[test]
fn a_chain_keeps_the_layer_of_another_image_that_it_leads_to() {
    let mut model = Model::default();
    let (gzip, zstd) = (Image::new(&["a-gzip", "b-gzip"], 1), Image::new(&["a-zstd", "b-zstd"], 1));
    model.publish(&place("r.io/gzip:1"), &gzip);
    model.publish(&place("r.io/zstd:1"), &Image { version: 2, ..zstd.clone() });
    prune(&mut model, &["r.io/zstd:1"], day(0));
    let removed = collect(&mut model, &options(day(10)));
    assert_eq!(removed.len(), 3, "{removed:?}");
    let left = Image { version: 2, ..zstd };
    assert_eq!(model.missing(&place("r.io/zstd:1"), &left), [""; 0]);
}

#[test]
fn layers_do_not_go_before_the_chains_that_lead_to_them() {
    let mut model = Model::default();
    let images = [(&["a-gzip", "b-gzip"], 1), (&["a-zstd", "b-zstd"], 2)];
    for (at, (layers, version)) in images.iter().enumerate() {
        model.publish(&place(&format!("r.io/x:{at}")), &Image::new(layers.as_slice(), *version));
    }
    prune(&mut model, &[], day(0));
    let one_by_one = Options { batch: 1, ..options(day(10)) };
    let plan = planned(&model, &Subject::Expired, &one_by_one).unwrap();
    assert!(plan.batches.len() > 6);
    for batch in &plan.batches {
        apply(&mut model, batch);
        assert_chains_lead_somewhere(&model);
    }
    assert_eq!(model.content().len(), 0);
}

/// Content that was noticed at different times.
#[test]
fn a_layer_waits_for_a_chain_that_leads_to_it() {
    let (mut model, ..) = two();
    model.directory(path::layer(&layer("z")).as_str());
    collect(&mut model, &options(day(0)));
    let chain = ChainId::base(diff_id("z"));
    let link = path::chain_layer(&chain);
    model.link(link.as_str(), link.link_to(&path::layerfs(&layer("z"))));
    for now in [5, 10, 15, 25] {
        collect(&mut model, &options(day(now)));
        assert_chains_lead_somewhere(&model);
    }
    assert!(!model.has(path::layer(&layer("z")).as_str()));
}

#[test]
fn what_waits_keeps_what_it_needs() {
    let (mut model, _, two) = two();
    let at = place("r.io/two:2");
    // The first image's time is over before that of what the second one has replaced.
    prune(&mut model, &["r.io/two:2"], day(0));
    let new = Image::new(&["new"], 3);
    let replaced = unwanted::replaced(&model, &at, new.config(), day(5)).unwrap().unwrap();
    model.publish(&at, &new);
    let books = unwanted::moved(&model, vec![replaced], &[at.clone()].into(), day(5)).unwrap();
    write(&mut model, &books);
    collect(&mut model, &options(day(10)));
    assert_eq!(model.missing_content(&two), [""; 0]);
    collect(&mut model, &options(day(15)));
    assert!(!model.has(path::flat(&two.config()).as_str()));
    assert_eq!(model.missing(&at, &new), [""; 0]);
}

#[test]
fn a_chain_with_a_variant_of_a_layer_is_kept_by_links_to_it() {
    let mut model = Model::default();
    let (one, two) = (Image::new(&["a", "b"], 1), Image::new(&["c", "b"], 2));
    model.publish(&place("r.io/one:1"), &one);
    model.publish(&place("r.io/two:2"), &two);
    let of = |image: &Image| *ChainId::of_layers(&image.diff_ids()).last().unwrap();
    let (variant, link) = (path::chain_layerfs(&of(&one)), path::chain_layer(&of(&two)));
    model.directory(variant.as_str());
    model.link(link.as_str(), link.link_to(&variant));
    prune(&mut model, &["r.io/two:2"], day(0));
    collect(&mut model, &options(day(10)));
    assert!(model.has(variant.as_str()));
    assert_eq!(model.missing(&place("r.io/two:2"), &two), [""; 0]);
}

#[test]
fn nothing_goes_while_something_is_broken() {
    let (mut model, ..) = two();
    prune(&mut model, &["r.io/two:2"], day(0));
    let two = place("r.io/two:2");
    model.file(two.metadata(ImageMetadata::Manifest).as_str(), "{");
    let before = model.clone();
    match planned(&model, &Subject::Expired, &options(day(10))) {
        Err(error @ Error::Broken(_)) => {
            assert!(error.to_string().contains(".metadata/r.io/two:2"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let one = Subject::Images(vec![place("r.io/one:1")]);
    let plan = planned(&model, &one, &options(day(10))).unwrap();
    assert_eq!(plan.broken.len(), 1);
    let [batch] = &plan.batches[..] else { panic!("{plan:?}") };
    assert_eq!(batch.paths.len(), 2, "an image that is named goes, without its content");
    assert_eq!(model, before);

    let itself = Subject::Images(vec![two]);
    let plan = planned(&model, &itself, &options(day(10))).unwrap();
    assert_eq!(plan.broken, [], "it is not in its own way");
    for batch in &plan.batches {
        apply(&mut model, batch);
    }
    assert!(!collect(&mut model, &options(day(10))).is_empty());
}

#[test]
fn entries_of_ducc_are_kept_and_not_believed() {
    let (mut model, one, _) = two();
    let ducc_s = format!("[{}]", one.manifest_json());
    model.file(path::remove_schedule().as_str(), &ducc_s);
    assert_eq!(collect(&mut model, &options(day(1000))), [""; 0]);
    prune(&mut model, &["r.io/two:2"], day(1000));
    collect(&mut model, &options(day(1010)));
    assert!(matches!(&schedule(&model).entries[..], [ScheduleEntry::OfDucc(_)]));
    assert!(!model.has(path::flat(&one.config()).as_str()));
}

#[test]
fn chains_of_ducc_go_only_if_asked_for() {
    let (mut model, ..) = two();
    let chain = path::chain(&ChainId::base(diff_id("of ducc")));
    model.directory(&format!("{chain}/etc"));
    model.directory(".dirty-chains");
    let now = options(day(0));
    let seen = planned(&model, &Subject::Expired, &now).unwrap();
    assert_eq!((seen.ducc_chains, seen.batches.len(), seen.found.len()), (1, 0, 0));
    let asked = Options { ducc_chains: true, ..now };
    assert_eq!(collect(&mut model, &asked), [".dirty-chains".to_owned(), chain.to_string()]);
}

#[test]
fn platforms_go_one_by_one_and_the_public_link_with_the_last() {
    let mut model = Model::default();
    let (arm, intel) = (place("arm64:v8 r.io/one:1"), place("amd64 r.io/one:1"));
    model.publish(&arm, &Image::new(&["a", "arm"], 1));
    model.publish(&intel, &Image::new(&["a", "intel"], 2));
    let architecture = intel.architecture.clone().unwrap();
    model.link("r.io/one:1", architecture.public_link_target(&intel.name));
    let only = [(intel.name.clone(), Platforms::Only([architecture].into()))];
    let books =
        unwanted::prune(&model, &Wanted { names: only.into(), ..Wanted::default() }, day(0))
            .unwrap();
    assert_eq!(books.unwanted, std::slice::from_ref(&arm));
    write(&mut model, &books);
    collect(&mut model, &options(day(10)));
    assert!(!model.has(arm.link().as_str()) && model.has("r.io/one:1"));
    prune(&mut model, &[], day(10));
    let removed = collect(&mut model, &options(day(20)));
    assert_eq!(removed[0], "r.io/one:1");
    assert_eq!(model.content().len(), 0);
}

#[test]
fn batches_have_a_size_and_leave_complete_images() {
    let mut model = Model::default();
    let images: Vec<_> = (0..6_u32)
        .map(|at| {
            let own = format!("own {at}");
            (place(&format!("r.io/x:{at}")), Image::new(&["base", "shared", &own], at))
        })
        .collect();
    for (place, image) in &images {
        model.publish(place, image);
    }
    prune(&mut model, &["r.io/x:5"], day(0));
    let few = Options { batch: 4, ..options(day(10)) };
    let plan = planned(&model, &Subject::Expired, &few).unwrap();
    assert!(plan.batches.len() > 4, "{}", plan.batches.len());
    for batch in &plan.batches {
        assert!(batch.paths.len() <= 6, "{batch:?}");
        apply(&mut model, batch);
        for (place, image) in &images {
            if model.has(place.link().as_str()) {
                assert_eq!(model.missing(place, image), [""; 0]);
            }
        }
    }
    assert_eq!(schedule(&model).entries, []);
    let expected: std::collections::BTreeSet<Unit> =
        Inventory::take(&model).unwrap().images.iter().flat_map(PublishedImage::units).collect();
    assert_eq!(model.content(), expected);
}

#[test]
fn one_image_goes_at_once() {
    let (mut model, one, two) = two();
    prune(&mut model, &["r.io/two:2"], day(0));
    let subject = Subject::Images(vec![place("r.io/one:1")]);
    let plan = planned(&model, &subject, &options(day(0))).unwrap();
    for batch in &plan.batches {
        apply(&mut model, batch);
    }
    assert!(!model.has(path::flat(&one.config()).as_str()));
    assert_eq!(schedule(&model).entries, []);
    assert_eq!(model.missing(&place("r.io/two:2"), &two), [""; 0]);
    let again = planned(&model, &subject, &options(day(0)));
    assert!(matches!(again, Err(Error::NoSuchImage(_))), "{again:?}");
}

/// A place that was scheduled and has got another image meanwhile.
#[test]
fn names_that_another_image_has_now_stay() {
    let (mut model, one, _) = two();
    let at: ImagePlace = place("r.io/one:1");
    prune(&mut model, &["r.io/two:2"], day(0));
    let new = Image::new(&["new"], 7);
    model.publish(&at, &new);
    collect(&mut model, &options(day(10)));
    assert_eq!(model.missing(&at, &new), [""; 0]);
    assert!(!model.has(path::flat(&one.config()).as_str()));
}
