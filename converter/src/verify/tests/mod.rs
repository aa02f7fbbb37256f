//! What is found to be wrong.

mod content;
mod registry;
mod republished;
pub(crate) mod scene;
mod served;
// The same server as in the tests of registries; not all of it is needed here.
#[allow(clippy::duplicate_mod, dead_code, reason = "shared")]
#[path = "../../source/tests/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use layer_layout::path::{self, ImageMetadata};
use layer_layout::{ChainId, ImagePlace, LayerPath};

use self::scene::{Scene, image, native};
use super::{Difference, Fault, ImageRepair, RepairPlan, Verdict, chain_faults, verify};
use crate::inventory::tests::model::{diff_id, layer};
use crate::inventory::tests::{golden, place};
use crate::inventory::{Inventory, places};
use crate::repository::Repository;
use crate::singularity;

fn verdicts(repository: &dyn Repository) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let places = places(repository).unwrap();
    verify(repository, &places, |verdict| verdicts.push(verdict)).unwrap();
    verdicts
}

fn faults(repository: &dyn Repository) -> Vec<Fault> {
    verdicts(repository).into_iter().flat_map(|verdict| verdict.faults).collect()
}

#[test]
fn nothing_is_wrong_with_what_was_just_published() {
    let scene = Scene::new();
    assert_eq!(faults(&*scene.repository), []);
    let (_place, repository) = native();
    assert_eq!(faults(&*repository), []);
}

fn at() -> ImagePlace {
    place("r.io/one:1")
}

fn top() -> ChainId {
    *ChainId::of_layers(&image().diff_ids()).last().unwrap()
}

fn clean(path: &str) -> LayerPath {
    LayerPath::clean(path.as_bytes()).unwrap()
}

#[test]
fn what_is_damaged_is_named() {
    let flat = path::flat(&image().config());
    let rootfs = path::chain_rootfs(&top());
    let link = path::chain_layer(&top());
    let base = path::chain_layer(&ChainId::base(diff_id("a")));
    let layerfs = path::layerfs(&layer("b"));
    let config = at().metadata(ImageMetadata::Config);
    let tree = |tree: &layer_layout::RepositoryPath, example: &str, what| Fault::Tree {
        tree: tree.clone(),
        count: 1,
        example: clean(example),
        what,
    };
    let elsewhere = format!("../../../{}", path::layerfs(&layer("a")));
    type Damage<'a> = Box<dyn Fn(&Scene) + 'a>;
    let cases: Vec<(Damage<'_>, Vec<Fault>)> = vec![
        (Box::new(|scene| scene.remove("r.io/one:1")), vec![Fault::Missing(at().link())]),
        (
            Box::new(|scene| scene.link("r.io/one:1", "nowhere")),
            vec![Fault::Link {
                path: at().link(),
                found: "nowhere".to_owned(),
                expected: at().link().link_to(&flat),
            }],
        ),
        (Box::new(|scene| scene.remove(flat.as_str())), vec![Fault::Missing(flat.clone())]),
        (Box::new(|scene| scene.remove(rootfs.as_str())), vec![Fault::Missing(rootfs.clone())]),
        (Box::new(|scene| scene.remove(link.as_str())), vec![Fault::Missing(link.clone())]),
        (
            Box::new(|scene| {
                [&link, &base].iter().for_each(|link| scene.remove(link.as_str()));
            }),
            vec![Fault::NoChains],
        ),
        (
            Box::new(|scene| scene.link(link.as_str(), &elsewhere)),
            vec![Fault::Link {
                path: link.clone(),
                found: elsewhere.clone(),
                expected: link.link_to(&layerfs),
            }],
        ),
        (
            Box::new(|scene| scene.link(link.as_str(), "nowhere")),
            vec![Fault::Dangling { path: link.clone(), target: "nowhere".to_owned() }],
        ),
        (
            Box::new(|scene| scene.write(config.as_str(), "{}")),
            vec![Fault::Document {
                path: config.clone(),
                reason: "it is not the configuration that the manifest names".to_owned(),
            }],
        ),
        (
            Box::new(|scene| scene.write(&format!("{layerfs}/etc/.wh.gone"), "")),
            vec![Fault::LiteralWhiteouts {
                layer: layer("b"),
                count: 1,
                example: clean("etc/.wh.gone"),
            }],
        ),
        (
            Box::new(|scene| scene.write(&format!("{rootfs}/more"), "")),
            vec![tree(&rootfs, "more", Difference::Surplus)],
        ),
        (
            Box::new(|scene| scene.remove(&format!("{flat}/usr/bin/tool"))),
            vec![tree(&flat, "usr/bin/tool", Difference::Missing)],
        ),
        (
            Box::new(|scene| scene.mode(&format!("{flat}/usr/bin/tool"), 0o755)),
            vec![tree(&flat, "usr/bin/tool", Difference::Attributes)],
        ),
        (
            Box::new(|scene| scene.write(&format!("{flat}/usr/bin/tool"), "another size")),
            vec![tree(&flat, "usr/bin/tool", Difference::Content)],
        ),
        (
            Box::new(|scene| scene.remove(&format!("{flat}/.singularity.d/runscript"))),
            vec![Fault::Singularity {
                flat: flat.clone(),
                file: ".singularity.d/runscript".to_owned(),
            }],
        ),
        (
            Box::new(|scene| scene.remove(&format!("{flat}/.singularity.d"))),
            singularity::CONTRACT
                .map(|file| Fault::Singularity { flat: flat.clone(), file: file.to_owned() })
                .into(),
        ),
        (
            Box::new(|scene| {
                let closed = std::fs::Permissions::from_mode(0o700);
                std::fs::set_permissions(scene.path(flat.as_str()), closed).unwrap();
            }),
            vec![tree(&flat, "", Difference::Attributes)],
        ),
    ];
    for (damage, expected) in cases {
        let scene = Scene::new();
        damage(&scene);
        assert_eq!(faults(&*scene.repository), expected);
    }
}

#[test]
fn an_image_without_a_flat_root_may_have_been_published_so() {
    let scene = Scene::new();
    scene.remove("r.io/one:1");
    scene.remove(path::flat(&image().config()).as_str());
    assert_eq!(faults(&*scene.repository), []);
}

#[test]
fn a_layer_that_is_missing_is_fetched_again_for_all_who_have_it() {
    let scene = Scene::new();
    scene.remove(path::layer(&layer("a")).as_str());
    let found = verdicts(&*scene.repository);
    let plan = RepairPlan::new(&Inventory::take(&*scene.repository).unwrap(), &found);
    assert_eq!(plan.layers, BTreeSet::from([layer("a")]));
    let repair = plan.images[&at()];
    assert!(repair.rootfs && repair.flat && !repair.metadata, "{repair:?}");
}

#[test]
fn small_things_are_mended_alone() {
    let scene = Scene::new();
    let repair = |scene: &Scene| {
        let found = verdicts(&*scene.repository);
        let plan = RepairPlan::new(&Inventory::take(&*scene.repository).unwrap(), &found);
        assert_eq!(plan.layers, BTreeSet::new());
        plan.images.get(&at()).copied()
    };
    assert_eq!(repair(&scene), Some(ImageRepair::default()).filter(|_| false));
    scene.remove("r.io/one:1");
    assert_eq!(repair(&scene), Some(ImageRepair { link: true, ..ImageRepair::default() }));
    let flat = path::flat(&image().config());
    scene.remove(&format!("{flat}/.singularity.d"));
    let expected = ImageRepair { link: true, flat: true, ..ImageRepair::default() };
    assert_eq!(repair(&scene), Some(expected));
}

#[test]
fn what_ducc_leaves_wrong_is_found() {
    let (_place, repository) = golden::open();
    let verdicts = verdicts(&*repository);
    let [verdict] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert!(verdict.is_of_ducc());
    let kinds: BTreeSet<_> = verdict.faults.iter().map(Fault::kind).collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["ducc-form", "literal-whiteouts", "missing", "no-chains"]),
        "{verdict:#?}"
    );
    let inventory = Inventory::take(&*repository).unwrap();
    let plan = RepairPlan::new(&inventory, &verdicts);
    assert_eq!(plan.layers.len(), 3, "its layers have lost owners as well");
    let repair = plan.images[&verdict.place];
    assert!(repair.metadata && repair.chains && repair.rootfs && repair.flat, "{repair:?}");
}

/// A mode, for a file that has several names, is that of all of them: a copy has its own.
#[test]
fn scenes_are_what_they_seem() {
    let scene = Scene::new();
    let flat = path::flat(&image().config());
    scene.mode(&format!("{flat}/usr/bin/tool"), 0o700);
    let of = |tree: &layer_layout::RepositoryPath| {
        let path = scene.path(&format!("{tree}/usr/bin/tool"));
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((of(&flat), of(&path::layerfs(&layer("b")))), (0o700, 0o4755));
}

/// What `ducc repository check` tells of chains, whether or not an image has them.
#[test]
fn chains_that_lead_nowhere_are_named() {
    let (rootfs, link) = (path::chain_rootfs(&top()), path::chain_layer(&top()));
    let base = path::chain_layer(&ChainId::base(diff_id("a")));
    let manifest = at().metadata(ImageMetadata::Manifest);
    let own = path::layerfs(&layer("a"));
    type Damage<'a> = Box<dyn Fn(&Scene) + 'a>;
    let dangling = |path: &layer_layout::RepositoryPath, target: &str| Fault::Dangling {
        path: path.clone(),
        target: target.to_owned(),
    };
    let cases: Vec<(Damage<'_>, Vec<Fault>)> = vec![
        (Box::new(|_| {}), vec![]),
        (Box::new(|scene| scene.link(link.as_str(), "nowhere")), vec![dangling(&link, "nowhere")]),
        (Box::new(|scene| scene.remove(link.as_str())), vec![Fault::Missing(link.clone())]),
        (
            Box::new(|scene| scene.remove(path::layer(&layer("a")).as_str())),
            vec![dangling(&base, &base.link_to(&own))],
        ),
        (
            Box::new(|scene| {
                scene.remove(manifest.as_str());
                scene.link(link.as_str(), "nowhere");
            }),
            vec![dangling(&link, "nowhere")],
        ),
        (Box::new(|scene| scene.remove(rootfs.as_str())), vec![Fault::Missing(rootfs.clone())]),
        (
            Box::new(|scene| scene.remove(&format!("{rootfs}/usr/bin/tool"))),
            vec![Fault::Tree {
                tree: rootfs.clone(),
                count: 1,
                example: clean("usr/bin/tool"),
                what: Difference::Missing,
            }],
        ),
        // The business of `ducc verify`.
        (Box::new(|scene| scene.remove("r.io/one:1")), vec![]),
        (Box::new(|scene| scene.remove(path::flat(&image().config()).as_str())), vec![]),
    ];
    for (number, (damage, expected)) in cases.into_iter().enumerate() {
        let scene = Scene::new();
        damage(&scene);
        assert_eq!(chain_faults(&*scene.repository).unwrap(), expected, "case {number}");
    }
    let (_place, of_ducc) = golden::open();
    assert_eq!(chain_faults(&*of_ducc).unwrap(), []);
}
