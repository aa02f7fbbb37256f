//! Two publishers of one CernVM-FS repository.

use std::path::Path;
use std::sync::Arc;

use cvmfs_repository::compression::Compression;
use cvmfs_repository::fqrn::Fqrn;
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::Snapshot;
use cvmfs_repository::storage::Storage;
use cvmfs_repository::{Creation, Repository as Engine};
use ducc::Result;
use ducc::attempts::Attempts;
use ducc::convert::{Batch, Prepared, resolve};
use ducc::report::Report;
use ducc::repository::{Cvmfs, Repository, Stratum0};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::image::{file, layer, request, settings};

/// A repository, and where images for it come from.
pub(crate) struct Scene {
    place: TempDir,
}

/// One of its publishers.
pub(crate) struct Publisher {
    pub(crate) repository: Arc<dyn Repository>,
    cancel: CancellationToken,
}

fn fqrn() -> Fqrn {
    "test.example.org".parse().unwrap()
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self { place: TempDir::new().unwrap() };
        std::fs::create_dir_all(scene.path().join("keys")).unwrap();
        let keys = Keys::generate(&fqrn()).unwrap();
        keys.save(&scene.path().join("keys"), &fqrn()).unwrap();
        let (storage, creation) = (scene.storage(), Creation::default());
        let objects = Stratum0::new_objects(&storage, Algorithm::Sha1, Compression::Zlib);
        Engine::create(storage, fqrn(), keys, &objects, &creation).unwrap();
        scene
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn storage(&self) -> Storage {
        Storage::local(&self.path().join("storage"))
    }

    fn engine(&self) -> Engine {
        let keys = Keys::load(&self.path().join("keys"), &fqrn()).unwrap();
        Engine::open(self.storage(), fqrn(), keys)
    }

    pub(crate) fn publisher(&self) -> Publisher {
        let objects = Stratum0::new_objects(&self.storage(), Algorithm::Sha1, Compression::Zlib);
        let stratum0 =
            Stratum0 { repository: self.engine(), objects, server: None, catalog_entries: None };
        let repository = Arc::new(Cvmfs::open(stratum0, None).unwrap());
        Publisher { repository, cancel: CancellationToken::new() }
    }

    async fn prepare(&self, by: &Publisher, batch: &Batch, name: &str, own: &str) -> Prepared {
        let layout = self.path().join(own);
        std::fs::create_dir_all(&layout).unwrap();
        let [shared, own] = ["shared", own].map(|text| layer(|tar| file(tar, text, text)));
        let request = request(&layout, name, &[&shared, &own]);
        let mut report = Report::new(name.to_owned());
        let image = resolve(&request, &by.repository, &by.cancel, &mut report).await.unwrap();
        batch.prepare(&image, &Attempts::default(), &mut report).await.unwrap()
    }
}

impl Publisher {
    async fn begin(&self) -> Batch {
        Batch::begin(&self.repository, settings(), &self.cancel).await.unwrap()
    }
}

fn has(revision: &Snapshot, name: &str) -> bool {
    let path = TreePath::parse(format!("/{name}").as_bytes()).unwrap();
    revision.lookup(&path).unwrap().is_some()
}

fn assert_published(outcomes: Vec<Result<()>>) {
    outcomes.into_iter().for_each(Result::unwrap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_waits_for_its_turn_and_is_put_on_top() {
    let scene = Scene::new();
    let (one, other) = (scene.publisher(), scene.publisher());
    let (first, second) = (one.begin().await, other.begin().await);
    let a = scene.prepare(&one, &first, "r.io/a:1", "a").await;
    let b = scene.prepare(&other, &second, "r.io/b:1", "b").await;
    let c = scene.prepare(&other, &second, "r.io/c:1", "c").await;

    let turn = second.turn().await.unwrap();
    let waiting = tokio::spawn({
        let first = first.clone();
        async move { first.publish(vec![a]).await }
    });
    // All that is ready when the turn comes is in one revision.
    assert_published(turn.publish(vec![b, c]).await.unwrap());
    assert_published(waiting.await.unwrap().unwrap());
    first.end().await;
    second.end().await;

    let engine = scene.engine();
    let newest = engine.snapshot().unwrap();
    assert_eq!(newest.manifest().revision, 3);
    let before = engine.tagged("trunk-previous").unwrap();
    for (name, was_there) in [("r.io/a:1", false), ("r.io/b:1", true), ("r.io/c:1", true)] {
        assert_eq!((has(&before, name), has(&newest, name)), (was_there, true), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_does_not_wait_for_its_turn() {
    let scene = Scene::new();
    let (one, other) = (scene.publisher(), scene.publisher());
    let batch = one.begin().await;
    let image = scene.prepare(&one, &batch, "r.io/a:1", "a").await;
    let turn = other.repository.turn(&mut || true);
    let waiting = tokio::spawn(async move { batch.publish(vec![image]).await });
    one.cancel.cancel();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, ducc::Error::Cancelled), "{error}");
    turn.end();
    assert_eq!(scene.engine().snapshot().unwrap().manifest().revision, 1);
}
