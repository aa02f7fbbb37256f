//! What an inventory finds.

pub(crate) mod golden;
pub(crate) mod model;

use std::collections::BTreeSet;

use layer_layout::path::{self, ImageMetadata, Unit};
use layer_layout::{ChainId, ImagePlace};

use self::model::{Image, Model, diff_id, layer};
use super::{Inventory, PublishedImage, is_ducc_chain, linked_layer, places};

pub(crate) fn place(text: &str) -> ImagePlace {
    let (architecture, name) = match text.split_once(' ') {
        Some((architecture, name)) => (Some(architecture.parse().unwrap()), name),
        None => (None, text),
    };
    ImagePlace { name: name.parse().unwrap(), architecture }
}

fn take(model: &Model) -> Inventory {
    Inventory::take(model).unwrap()
}

fn broken(inventory: &Inventory) -> Vec<String> {
    inventory.broken.iter().map(ToString::to_string).collect()
}

#[test]
fn images_are_found_with_all_they_need() {
    let mut model = Model::default();
    let (one, two) = (Image::new(&["a", "b"], 1), Image::new(&["a", "c"], 2));
    model.publish(&place("r.io/x/one:1"), &one);
    model.publish(&place("arm64:v8 r.io/two:2"), &two);
    let inventory = take(&model);
    assert_eq!(broken(&inventory), [""; 0]);
    let found: Vec<_> = inventory
        .images
        .iter()
        .map(|image| (image.place.clone().unwrap().to_string(), image.config))
        .collect();
    let expected = [
        ("r.io/two:2 (arm64:v8)".to_owned(), two.config()),
        ("r.io/x/one:1".to_owned(), one.config()),
    ];
    assert_eq!(found, expected);
    let needed: BTreeSet<Unit> = inventory.images.iter().flat_map(PublishedImage::units).collect();
    assert_eq!(needed, inventory.content);
    assert_eq!(inventory.content, model.content());
    assert_eq!(inventory.content.len(), 2 + 3 + 3);
    let links: Vec<_> = inventory.links.of_images.keys().map(ToString::to_string).collect();
    assert_eq!(links, ["r.io/two:2 (arm64:v8)", "r.io/x/one:1"]);
    assert_eq!(places(&model).unwrap(), [place("arm64:v8 r.io/two:2"), place("r.io/x/one:1")]);
}

#[test]
fn links_of_people_and_of_podman_lead_to_content() {
    let mut model = Model::default();
    let image = Image::new(&["a"], 1);
    model.publish(&place("r.io/one:1"), &image);
    let flat = Unit::Flat(image.config());
    let own = Unit::Layer(layer("a"));
    model.link("mine", format!(".flat/../{flat}"));
    model.link("people/deep/down", format!("/cvmfs/r.example.org/{flat}/usr"));
    model.link("people/elsewhere", "/etc/passwd");
    model.link("podmanStore/overlay/xyz/diff", format!("../../../{own}/layerfs"));
    model.link(".hidden/link", own.to_string());
    let mut others: Vec<_> =
        take(&model).links.others.iter().map(|(path, unit)| (path.to_string(), *unit)).collect();
    others.sort();
    let expected = [
        ("mine".to_owned(), flat),
        ("people/deep/down".to_owned(), flat),
        ("podmanStore/overlay/xyz/diff".to_owned(), own),
    ];
    assert_eq!(others, expected);
}

/// DUCC stores no configuration, and leaves an old one when it replaces a manifest.
#[test]
fn chains_of_images_that_ducc_has_published_come_from_layer_records() {
    let mut model = Model::default();
    let (old, new) = (Image::new(&["a", "b"], 1), Image::new(&["a", "c", "d"], 2));
    let at = place("r.io/one:1");
    model.publish(&at, &new);
    let known = |model: &Model| take(model).images[0].diff_ids.clone();
    assert_eq!(known(&model), new.diff_ids());
    model.publish(&at, &old);
    model.file(at.metadata(ImageMetadata::Manifest).as_str(), new.manifest_json());
    assert_eq!(known(&model), new.diff_ids());
    model.remove(at.metadata(ImageMetadata::Config).as_str());
    assert_eq!(known(&model), new.diff_ids());
    model.remove(&format!("{}/.metadata", path::layer(&layer("c"))));
    assert_eq!(known(&model), [diff_id("a")], "above a layer without a record nothing is known");
}

#[test]
fn what_cannot_be_understood_is_named() {
    let at = place("r.io/one:1");
    let manifest = at.metadata(ImageMetadata::Manifest);
    type Damage<'a> = &'a dyn Fn(&mut Model);
    let cases: [(&str, Damage<'_>); 6] = [
        ("manifest.json: invalid image manifest: EOF", &|model| model.file(manifest.as_str(), "")),
        ("manifest.json: invalid image manifest: it lists images", &|model| {
            model.file(manifest.as_str(), r#"{"manifests":[]}"#);
        }),
        ("there are metadata, but no manifest.json", &|model| model.remove(manifest.as_str())),
        ("manifest.json", &|model| {
            model.remove(manifest.as_str());
            model.link(manifest.as_str(), "elsewhere");
        }),
        ("there is a symlink", &|model| model.link(".metadata/r.io/two:2", "one:1")),
        ("invalid remove schedule", &|model| model.file(".metadata/remove-schedule.json", "{")),
    ];
    for (expected, damage) in cases {
        let mut model = Model::default();
        model.publish(&at, &Image::new(&["a"], 1));
        assert_eq!(broken(&take(&model)), [""; 0]);
        damage(&mut model);
        let broken = broken(&take(&model));
        assert!(matches!(&broken[..], [one] if one.contains(expected)), "{expected}: {broken:?}");
    }
}

#[test]
fn images_that_only_ducc_would_publish_count() {
    let mut model = Model::default();
    let image = Image::new(&["a"], 1);
    model.publish(&place("r.io/one:1"), &image);
    model.file(".metadata/r.io/untagged/manifest.json", Image::new(&["b"], 2).manifest_json());
    model.directory(".metadata/r.io/empty");
    model.file(".metadata/.wishes/00.json", "{}");
    let inventory = take(&model);
    assert_eq!(broken(&inventory), [""; 0]);
    let untagged = &inventory.images[1];
    assert_eq!((untagged.place.clone(), untagged.layers.len()), (None, 1));
}

#[test]
fn chains_tell_whose_they_are() {
    let mut model = Model::default();
    let image = Image::new(&["a"], 1);
    model.publish(&place("r.io/one:1"), &image);
    let own = ChainId::base(diff_id("a"));
    let ducc_s = ChainId::base(diff_id("z"));
    model.directory(&format!("{}/etc", path::chain(&ducc_s)));
    assert!(!is_ducc_chain(&model, &own).unwrap());
    assert!(is_ducc_chain(&model, &ducc_s).unwrap());
    assert_eq!(linked_layer(&model, &own).unwrap(), Some(Unit::Layer(layer("a"))));
    assert_eq!(linked_layer(&model, &ducc_s).unwrap(), None);
}
