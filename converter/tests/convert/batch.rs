//! Several images in one transaction.

use std::path::Path;
use std::sync::Arc;

use ducc::attempts::Attempts;
use ducc::convert::{Batch, Prepared, convert, resolve};
use ducc::report::Report;
use ducc::repository::{Directory, Repository};
use ducc::{Error, Result};
use layer_layout::path::{self, ImageMetadata, LayerMetadata};
use layer_layout::{Digest, PublicName};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::image::{directory, file, layer, request, settings};
use crate::stub::Stub;

struct Scene {
    repository: Arc<dyn Repository>,
    place: TempDir,
    layouts: TempDir,
    cancel: CancellationToken,
}

impl Scene {
    fn new() -> Self {
        let place = TempDir::new().unwrap();
        Self::on(Arc::new(Directory::open(place.path(), None).unwrap()), place)
    }

    fn on(repository: Arc<dyn Repository>, place: TempDir) -> Self {
        Self {
            repository,
            layouts: TempDir::new().unwrap(),
            cancel: CancellationToken::new(),
            place,
        }
    }

    async fn begin(&self) -> Batch {
        Batch::begin(&self.repository, settings(), &self.cancel).await.unwrap()
    }

    /// Prepares an image of these layers, and tells how many were fetched for it.
    async fn prepare(
        &self,
        batch: &Batch,
        name: &str,
        layers: &[&[u8]],
    ) -> (Result<Prepared>, usize) {
        let layout = self.layouts.path().join(name.replace(['/', ':'], "_"));
        std::fs::create_dir_all(&layout).unwrap();
        let request = request(&layout, name, layers);
        let mut report = Report::new(name.to_owned());
        let image = resolve(&request, &self.repository, &self.cancel, &mut report).await.unwrap();
        assert!(!image.is_published());
        let prepared = batch.prepare(&image, &Attempts::default(), &mut report).await;
        (prepared, report.layers_fetched)
    }

    fn is_there(&self, path: impl AsRef<Path>) -> bool {
        self.place.path().join(path).symlink_metadata().is_ok()
    }
}

fn name(text: &str) -> PublicName {
    text.parse().unwrap()
}

/// A layer with a hard link to a file that is nowhere.
fn broken() -> Vec<u8> {
    layer(|tar| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        tar.append_link(&mut header, "link", "nowhere").unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_images_share_is_fetched_once_and_a_failure_takes_no_other_along() {
    let scene = Scene::new();
    let shared = layer(|tar| file(tar, "shared", "s"));
    let own = |text: &str| layer(|tar| file(tar, "own", text));
    let (a, b, broken) = (own("a"), own("b"), broken());
    let batch = scene.begin().await;
    let layers: [[&[u8]; 2]; 3] = [[&shared, &a], [&shared, &b], [&shared, &broken]];
    let (one, two, bad) = tokio::join!(
        scene.prepare(&batch, "r.io/a:1", &layers[0]),
        scene.prepare(&batch, "r.io/b:1", &layers[1]),
        scene.prepare(&batch, "r.io/bad:1", &layers[2]),
    );
    let error = bad.0.unwrap_err();
    assert!(matches!(&error, Error::Repository(_)), "{error}");
    assert_eq!(one.1 + two.1 + bad.1, 4, "the shared layer once, and each its own");
    for visible in [".layers", ".chains", ".flat", ".metadata", "r.io"] {
        assert!(!scene.is_there(visible), "{visible} before anything was published");
    }

    let outcomes = batch.publish(vec![one.0.unwrap(), two.0.unwrap()]).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    batch.end().await;
    for (image, text) in [("r.io/a:1", "a"), ("r.io/b:1", "b")] {
        let root = scene.place.path().join(image);
        assert_eq!(std::fs::read_to_string(root.join("own")).unwrap(), text);
        assert_eq!(std::fs::read_to_string(root.join("shared")).unwrap(), "s");
    }
    assert!(!scene.is_there(path::layer(&Digest::of(&broken).into())), "a layer of no image");
    assert!(!scene.is_there(path::image_metadata(&name("r.io/bad:1"), ImageMetadata::Manifest)));
    assert!(!scene.is_there(path::publisher()), "the staging area is left");
}

/// Written once for each image, what is written for a layer that many share would grow with the square of their number.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_shared_layer_is_written_once_for_a_group() {
    const IMAGES: usize = 12;
    let stub = Stub::sound();
    let scene = Scene::on(Arc::new(stub.clone()), TempDir::new().unwrap());
    let shared = layer(|tar| file(tar, "shared", "s"));
    let batch = scene.begin().await;
    let mut group = Vec::new();
    for n in 0..IMAGES {
        let own = layer(|tar| file(tar, "own", &n.to_string()));
        let (prepared, _) = scene.prepare(&batch, &format!("r.io/a:{n}"), &[&shared, &own]).await;
        group.push(prepared.unwrap());
    }
    let outcomes = batch.publish(group).await.unwrap();
    assert!(outcomes.len() == IMAGES && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let written = std::mem::take(&mut *stub.outcome.written.lock().unwrap());
    let origins: Vec<_> =
        written.iter().filter(|(path, _)| path.as_str().ends_with("/origin.json")).collect();
    assert_eq!(origins.len(), IMAGES + 1, "one for each layer");
    let of_shared = path::layer_metadata(&Digest::of(&shared).into(), LayerMetadata::Origin);
    let (_, json) = origins.iter().find(|(path, _)| *path == of_shared).unwrap();
    let record: serde_json::Value = serde_json::from_slice(json).unwrap();
    assert_eq!(record["origin"].as_array().unwrap().len(), IMAGES, "{record}");
}

/// It may be what fills the disk, and a batch takes a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_fails_leaves_nothing_in_the_batch() {
    let scene = Scene::new();
    let whole = layer(|tar| file(tar, "f", "content"));
    // It ends in the middle of the file's content.
    let broken = &whole[..512 + 3];
    let batch = scene.begin().await;
    let (prepared, _) = scene.prepare(&batch, "r.io/bad:1", &[broken]).await;
    prepared.unwrap_err();
    let staged = |bytes| {
        format!("{}/{}", path::publisher_staging(), path::layerfs(&Digest::of(bytes).into()))
    };
    assert!(!scene.is_there(staged(broken)));
    let (prepared, _) = scene.prepare(&batch, "r.io/good:1", &[&whole]).await;
    prepared.unwrap();
    assert!(scene.is_there(staged(&whole)));
    batch.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_publishes_several_groups() {
    let scene = Scene::new();
    let layers: Vec<_> = (0..3).map(|n| layer(|tar| file(tar, "f", &n.to_string()))).collect();
    let batch = scene.begin().await;
    for (n, layer) in layers.iter().enumerate() {
        let name = format!("r.io/a:{n}");
        let (prepared, fetched) = scene.prepare(&batch, &name, &[&layers[0], layer]).await;
        assert_eq!(fetched, 1, "{name}: the others are there or prepared");
        for outcome in batch.publish(vec![prepared.unwrap()]).await.unwrap() {
            outcome.unwrap();
        }
        assert!(scene.is_there(&name));
    }
    batch.end().await;
}

/// DUCC's records do not say in which form a layer is: it is fetched again and takes the place of DUCC's.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_ducc_has_unpacked_is_replaced() {
    let scene = Scene::new();
    let layer = layer(|tar| {
        directory(tar, "d", 0o755);
        file(tar, "d/.wh.gone", "");
    });
    let digest = Digest::of(&layer).into();
    let layerfs = scene.place.path().join(path::layerfs(&digest));
    std::fs::create_dir_all(layerfs.join("d")).unwrap();
    std::fs::write(layerfs.join("d/.wh.gone"), "").unwrap();
    let record = scene.place.path().join(path::layer_metadata(&digest, LayerMetadata::Layers));
    std::fs::create_dir_all(record.parent().unwrap()).unwrap();
    let diff_id = Digest::of(&layer);
    std::fs::write(&record, format!(r#"[{{"diff-digest":"{diff_id}"}}]"#)).unwrap();

    let layout = TempDir::new().unwrap();
    let request = request(layout.path(), "r.io/a:1", &[&layer]);
    let mut report = Report::new("r.io/a:1".to_owned());
    let repository = Arc::clone(&scene.repository);
    convert(&request, repository, &settings(), &scene.cancel, &mut report).await.unwrap();
    assert_eq!(report.layers_fetched, 1);
    assert!(!layerfs.join("d/.wh.gone").exists(), "DUCC's form is still there");
    assert!(std::fs::read_to_string(&record).unwrap().contains("overlayfs"));
}
