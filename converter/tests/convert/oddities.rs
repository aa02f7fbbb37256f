//! Images that other tools take, although something about them is odd.

use std::sync::Arc;

use ducc::convert::{Request, convert};
use ducc::report::{Report, Status};
use ducc::repository::{Directory, Published, Repository};
use ducc::verify::verify;
use layer_layout::path::{self, ImageMetadata};
use layer_layout::{ChainId, DiffId, Digest, ImagePlace, LayerPath};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::image::{file, layer, request, request_with, settings};
use crate::turns::Scene;

const NAME: &str = "r.io/odd:1";

fn place() -> ImagePlace {
    ImagePlace { name: NAME.parse().unwrap(), architecture: None }
}

/// Publishes an image twice, the second time for nothing, and checks what is published.
async fn publish(request: &Request, repository: &Arc<dyn Repository>) -> Report {
    let mut reports = Vec::new();
    for expected in [Status::Converted, Status::UpToDate] {
        let mut report = Report::new(NAME.to_owned());
        let (target, cancel) = (Arc::clone(repository), CancellationToken::new());
        convert(request, target, &settings(), &cancel, &mut report).await.unwrap();
        assert_eq!(report.status, expected, "{:?}", report.error);
        reports.push(report);
    }
    verify(&**repository, &[place()], |verdict| assert_eq!(verdict.faults, [])).unwrap();
    reports.swap_remove(0)
}

/// `FROM scratch` with nothing but metadata: an empty root, into which Apptainer's files are put.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers() {
    let (directory, scene) = (TempDir::new().unwrap(), Scene::new());
    let plain: Arc<dyn Repository> = Arc::new(Directory::open(directory.path(), None).unwrap());
    for repository in [plain, scene.publisher().repository] {
        for diff_ids in [json!([]), Value::Null] {
            let layout = TempDir::new().unwrap();
            let request = request_with(layout.path(), NAME, &[], |config| {
                config["rootfs"]["diff_ids"] = diff_ids;
                config["config"] = json!({"Labels": {"purpose": "metadata"}});
            });
            let report = publish(&request, &repository).await;
            assert_eq!((report.layers.len(), report.layers_fetched), (0, 0));
            let config = repository.read(&place().metadata(ImageMetadata::Config)).unwrap();
            let flat = path::flat(&Digest::of(&config.unwrap()).into());
            assert_eq!(repository.lookup(&flat).unwrap(), Some(Published::Directory));
            let root = LayerPath::clean(b"").unwrap();
            let root = repository.read_directory(&flat, &root).unwrap().unwrap();
            let names: Vec<_> = root.entries.iter().map(|entry| entry.name.clone()).collect();
            assert!(names.contains(&b".singularity.d".to_vec()), "{names:?}");
            assert_eq!(
                repository.lookup(&place().link()).unwrap(),
                Some(Published::Symlink(place().link().link_to(&flat)))
            );
        }
    }
    assert!(!directory.path().join(".chains").exists());
}

/// Neither the kernel nor containerd takes much more.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_500_layers() {
    let directory = TempDir::new().unwrap();
    let repository: Arc<dyn Repository> =
        Arc::new(Directory::open(directory.path(), None).unwrap());
    let layers: Vec<Vec<u8>> =
        (0..500).map(|number| layer(|tar| file(tar, &format!("file-{number}"), "x"))).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let layout = TempDir::new().unwrap();
    let report = publish(&request(layout.path(), NAME, &layers), &repository).await;
    assert_eq!(report.layers_fetched, 500);
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| Digest::of(layer).into()).collect();
    let top = ChainId::of_layers(&diff_ids).pop().unwrap();
    let rootfs = directory.path().join(path::chain_rootfs(&top));
    assert_eq!(std::fs::read_dir(rootfs).unwrap().count(), 500);
}

/// Docker takes a text for a command of one word.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_a_text() {
    let directory = TempDir::new().unwrap();
    let repository: Arc<dyn Repository> =
        Arc::new(Directory::open(directory.path(), None).unwrap());
    let (layout, content) = (TempDir::new().unwrap(), layer(|tar| file(tar, "program", "x")));
    let request = request_with(layout.path(), NAME, &[&content], |config| {
        config["config"] = json!({"Entrypoint": "/program", "Cmd": null});
    });
    let report = publish(&request, &repository).await;
    let remark = "the configuration has Entrypoint as a text";
    assert!(report.remarks.iter().any(|it| it.contains(remark)), "{:?}", report.remarks);
    let script = directory.path().join(NAME).join(".singularity.d/runscript");
    assert!(std::fs::read_to_string(script).unwrap().contains("/program"));
}
