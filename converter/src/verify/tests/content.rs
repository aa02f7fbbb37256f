//! The content of files, compared with the layers of the registry.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use layer_layout::{LayerPath, RepositoryPath, path};

use super::served::{Image, Registry, directory, flip, native, object, repair, settings, verdict};
use crate::verify::{Difference, Fault};

fn clean(path: &str) -> LayerPath {
    LayerPath::clean(path.as_bytes()).unwrap()
}

#[tokio::test]
async fn what_was_just_published_is_what_the_layers_hold() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    for (_place, repository) in [directory(&registry).await, native(&registry).await] {
        let before = registry.server.log().len();
        let found = verdict(&repository, &settings(true, true)).await;
        assert_eq!((found.faults, found.not_compared), (vec![], vec![]));
        let log = registry.server.log().split_off(before);
        let blobs = log.iter().filter(|request| request.path().contains("/blobs/")).count();
        assert_eq!(blobs, 2, "each layer once");
    }
    let (_place, repository) = native(&registry).await;
    assert_eq!(verdict(&repository, &settings(false, true)).await.faults, []);
}

type Damage = Box<dyn Fn(&Path)>;

/// Does something to what a directory holds, whose time stays.
fn keeping_time(directory: &Path, change: impl FnOnce()) {
    let handle = fs::File::open(directory).unwrap();
    let time = handle.metadata().unwrap().modified().unwrap();
    change();
    handle.set_modified(time).unwrap();
}

#[tokio::test]
async fn every_kind_of_damage_in_a_directory_is_found_and_mended() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    let layerfs = [0, 1].map(|at| path::layerfs(&image.layer(at)));
    let layer = |at: usize, example: &str, what| Fault::Layer {
        tree: layerfs[at].clone(),
        layer: image.layer(at),
        count: 1,
        example: clean(example),
        what,
    };
    let flat = path::flat(&image.config_digest());
    let at = |tree: &RepositoryPath, file: &str| format!("{tree}/{file}");
    let (passwd, tool) = (at(&layerfs[0], "etc/passwd"), at(&layerfs[1], "bin/tool"));
    let (soft, gone) = (at(&layerfs[1], "bin/soft"), at(&layerfs[1], "etc/gone"));
    let (new, more) = (at(&layerfs[1], "old/new"), at(&layerfs[1], "old/more"));
    let (implied, copy) = (at(&layerfs[1], "usr/lib"), at(&flat, "etc/passwd"));
    let twice = |example: &str, what| Fault::Layer {
        tree: layerfs[1].clone(),
        layer: image.layer(1),
        count: 2,
        example: clean(example),
        what,
    };
    let cases: Vec<(Damage, Fault)> = vec![
        // The file is one with those of the roots, which therefore agree with the layer.
        (Box::new(move |r| flip(&r.join(&passwd))), layer(0, "etc/passwd", Difference::Content)),
        (
            Box::new(move |r| xattr::remove(r.join(&tool), "user.note").unwrap()),
            twice("bin/hard", Difference::Attributes),
        ),
        (
            Box::new(move |r| {
                let mode = fs::Permissions::from_mode(0o700);
                fs::set_permissions(r.join(&implied), mode).unwrap();
            }),
            layer(1, "usr/lib", Difference::Attributes),
        ),
        (
            Box::new(move |r| {
                let link = r.join(&soft);
                keeping_time(link.parent().unwrap(), || {
                    fs::remove_file(&link).unwrap();
                    symlink("other", &link).unwrap();
                });
            }),
            layer(1, "bin/soft", Difference::Content),
        ),
        (
            Box::new(move |r| {
                let whiteout = r.join(&gone);
                keeping_time(whiteout.parent().unwrap(), || fs::remove_file(&whiteout).unwrap());
            }),
            layer(1, "etc/gone", Difference::Missing),
        ),
        (
            Box::new(move |r| {
                let (new, more) = (r.join(&new), r.join(&more));
                keeping_time(new.parent().unwrap(), || fs::rename(&new, &more).unwrap());
            }),
            twice("old/new", Difference::Missing),
        ),
        // A copy that has its own content.
        (
            Box::new(move |r| {
                let file = r.join(&copy);
                let before = fs::metadata(&file).unwrap();
                let own = file.with_extension("own");
                keeping_time(file.parent().unwrap(), || {
                    fs::copy(&file, &own).unwrap();
                    chown(&own, Some(before.uid()), Some(before.gid())).unwrap();
                    let handle = fs::File::options().write(true).open(&own).unwrap();
                    handle.set_modified(before.modified().unwrap()).unwrap();
                    fs::rename(&own, &file).unwrap();
                });
                flip(&file);
            }),
            Fault::Tree {
                tree: flat.clone(),
                count: 1,
                example: clean("etc/passwd"),
                what: Difference::Content,
            },
        ),
    ];
    for (number, (damage, expected)) in cases.into_iter().enumerate() {
        let (place, repository) = directory(&registry).await;
        damage(place.path());
        let found = verdict(&repository, &settings(true, true)).await;
        assert!(found.faults.contains(&expected), "case {number}: {found:#?}");
        repair(&repository, &registry, std::slice::from_ref(&found)).await;
        let left = verdict(&repository, &settings(true, true)).await;
        assert_eq!((left.faults, left.not_compared), (vec![], vec![]), "case {number}");
    }
}

#[tokio::test]
async fn damaged_objects_are_found_and_stored_again() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    let (layerfs, flat) = (path::layerfs(&image.layer(0)), path::flat(&image.config_digest()));
    let (of_layer, of_root) =
        (format!("/{layerfs}/etc/passwd"), format!("/{flat}/.singularity.d/runscript"));
    for (path, is_lost, online) in [
        (&of_layer, false, true),
        (&of_layer, true, true),
        (&of_layer, false, false),
        (&of_root, false, true),
        (&of_root, true, false),
    ] {
        let (place, repository) = native(&registry).await;
        let object = object(place.path(), path);
        match is_lost {
            true => fs::remove_file(&object).unwrap(),
            false => {
                fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
                flip(&object);
            }
        }
        assert_eq!(verdict(&repository, &settings(true, false)).await.faults, [], "{path}");
        let found = verdict(&repository, &settings(online, true)).await;
        let [Fault::Damaged { tree, count: 1, example, .. }] = &found.faults[..] else {
            panic!("{path} {is_lost} {online}: {found:?}")
        };
        assert_eq!(&format!("/{tree}{}", shown(example)), path);
        repair(&repository, &registry, std::slice::from_ref(&found)).await;
        let left = verdict(&repository, &settings(true, true)).await;
        assert_eq!((left.faults, left.not_compared), (vec![], vec![]), "{path}");
    }
}

fn shown(path: &LayerPath) -> String {
    format!("/{}", String::from_utf8_lossy(path.as_bytes()))
}

#[tokio::test]
async fn a_layer_that_the_registry_has_lost_leaves_it_open() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    let (_place, repository) = directory(&registry).await;
    registry.remove(&image.layer(1).to_string());
    let found = verdict(&repository, &settings(true, true)).await;
    assert_eq!(found.faults, []);
    let [reason] = &found.not_compared[..] else { panic!("{found:?}") };
    assert!(reason.contains(&image.layer(1).to_string()), "{reason}");
    // Nothing but layers is missing.
    assert_eq!(verdict(&repository, &settings(true, false)).await.not_compared, [""; 0]);
}
