//! What is published, compared with what the registry has.

use layer_layout::Digest;
use layer_layout::path::ImageMetadata;

use super::served::{Image, Registry, directory, native, repair, settings, verdict};
use crate::verify::{Comparison, Fault};

#[tokio::test]
async fn an_image_that_is_as_in_its_registry_costs_one_request() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    for (_place, repository) in [directory(&registry).await, native(&registry).await] {
        let before = registry.server.log().len();
        let verdict = verdict(&repository, &settings(true, false)).await;
        assert_eq!(verdict.comparison, Some(Comparison::Same));
        assert_eq!((verdict.faults, verdict.not_compared), (vec![], vec![]));
        let log = registry.server.log().split_off(before);
        let asked: Vec<_> = log.iter().map(|it| (it.method.as_str(), it.path())).collect();
        assert_eq!(asked, [("HEAD", "/v2/a/b/manifests/1")]);
    }
}

#[tokio::test]
async fn a_tag_that_has_moved_is_told_and_no_fault() {
    let (image, newer) = (Image::new("1"), Image::new("2"));
    let registry = Registry::with(&image).await;
    let (_place, repository) = directory(&registry).await;
    registry.push(&newer);
    let (published, now) = (Digest::of(&image.manifest), Digest::of(&newer.manifest));
    let found = verdict(&repository, &settings(true, true)).await;
    assert_eq!(found.comparison, Some(Comparison::Moved { published, now }));
    assert_eq!((found.faults, found.not_compared), (vec![], vec![]));

    // Nothing is left to compare with.
    registry.remove(&published.to_string());
    let found = verdict(&repository, &settings(true, false)).await;
    let [reason] = &found.not_compared[..] else { panic!("{found:?}") };
    assert!(reason.contains(&now.to_string()) && reason.contains("has no"), "{reason}");
}

#[tokio::test]
async fn a_manifest_that_was_replaced_is_found_and_mended() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    let (place, repository) = directory(&registry).await;
    let path = registry.place().metadata(ImageMetadata::Manifest);
    std::fs::write(place.path().join(path.as_str()), image.in_other_words()).unwrap();
    assert_eq!(verdict(&repository, &settings(false, false)).await.faults, []);
    let found = verdict(&repository, &settings(true, false)).await;
    let expected = Fault::Manifest { path, registry: Digest::of(&image.manifest) };
    assert_eq!(found.faults, [expected]);
    repair(&repository, &registry, std::slice::from_ref(&found)).await;
    let found = verdict(&repository, &settings(true, true)).await;
    assert_eq!((found.faults, found.comparison), (vec![], Some(Comparison::Same)));
}

#[tokio::test]
async fn a_registry_that_cannot_be_asked_leaves_it_open() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    let (_place, repository) = directory(&registry).await;
    registry.remove("1");
    for data in [false, true] {
        let found = verdict(&repository, &settings(true, data)).await;
        assert_eq!(found.faults, []);
        let [reason] = &found.not_compared[..] else { panic!("{found:?}") };
        assert!(reason.contains("404"), "{reason}");
    }
    assert_eq!(verdict(&repository, &settings(false, false)).await.not_compared, [""; 0]);
}

#[tokio::test]
async fn without_a_configuration_that_of_the_registry_tells_the_layers() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    let (place, repository) = directory(&registry).await;
    let path = registry.place().metadata(ImageMetadata::Config);
    std::fs::remove_file(place.path().join(path.as_str())).unwrap();
    // The records of layers would tell something else.
    let record = layer_layout::path::layer_metadata(
        &image.layer(0),
        layer_layout::path::LayerMetadata::Layers,
    );
    let record_file = place.path().join(record.as_str());
    let text = std::fs::read_to_string(&record_file).unwrap();
    std::fs::write(&record_file, with_diff_id(&text, &"00".repeat(32))).unwrap();
    let found = verdict(&repository, &settings(true, false)).await;
    let kinds: Vec<_> = found.faults.iter().map(Fault::kind).collect();
    assert!(kinds.contains(&"missing") && kinds.contains(&"diff-id"), "{found:?}");
    repair(&repository, &registry, std::slice::from_ref(&found)).await;
    assert_eq!(verdict(&repository, &settings(true, true)).await.faults, []);
}

/// A layer's record with another DiffID.
fn with_diff_id(text: &str, id: &str) -> String {
    let mut record: serde_json::Value = serde_json::from_str(text).unwrap();
    record[0]["id"] = id.into();
    record[0]["diff-digest"] = format!("sha256:{id}").into();
    record.to_string()
}
