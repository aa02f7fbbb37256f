//! Somebody puts an old revision back, which is signed as well as any.

use std::fs;

use cvmfs_repository::manifest;
use cvmfs_repository::reflog;
use cvmfs_repository::storage::Expected;
use cvmfs_repository::{LastSeen, Progress};

use super::*;

/// A storage, keys, and the state of two publishers.
struct Scene {
    dir: TempDir,
    storage: Storage,
    objects: Objects,
}

/// What an old manifest and its reference log were.
struct Old {
    manifest: bytes::Bytes,
    reflog: bytes::Bytes,
}

impl Scene {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let storage = Storage::local(&dir.path().join("storage"));
        let keys = Keys::generate(&fqrn()).unwrap();
        keys.save(&dir.path().join("keys"), &fqrn()).unwrap();
        let objects = Objects::new(storage.clone(), Settings::default(), None);
        let creation = Creation::default();
        Repository::create(storage.clone(), fqrn(), keys, &objects, &creation).unwrap();
        Self { dir, storage, objects }
    }

    fn last_seen(&self, publisher: &str) -> LastSeen {
        LastSeen::of(&self.dir.path().join(publisher), &self.storage)
    }

    fn open(&self, last_seen: LastSeen) -> Repository {
        let keys = Keys::load(&self.dir.path().join("keys"), &fqrn()).unwrap();
        Repository::open(self.storage.clone(), fqrn(), keys).remembering(last_seen)
    }

    /// A publisher with a memory of its own.
    fn publisher(&self, name: &str) -> Repository {
        self.open(self.last_seen(name))
    }

    fn publish(&self, repository: &Repository, text: &str) -> Result<u64, Error> {
        let file = self.objects.store_file(text.as_bytes()).unwrap();
        let entry = Entry { kind: EntryKind::File(file), ..Entry::directory(0o644, NOW) };
        let mut edits = Edits::default();
        edits.put(&path(&format!("/{text}")), entry, None);
        let session = repository.begin()?;
        Ok(repository.publish(&edits, &self.objects, &session)?.revision)
    }

    fn old(&self) -> Old {
        let read = |name| self.storage.read_file(name).unwrap().unwrap().0;
        Old { manifest: read(manifest::NAME), reflog: read(reflog::NAME) }
    }

    fn put_back(&self, old: &Old, with_reflog: bool) {
        let put = |name, content: &bytes::Bytes| {
            self.storage.replace_file(name, content.clone(), Expected::Any).unwrap();
        };
        put(manifest::NAME, &old.manifest);
        if with_reflog {
            put(reflog::NAME, &old.reflog);
        }
    }
}

fn fqrn() -> cvmfs_repository::fqrn::Fqrn {
    "test.example.org".parse().unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, evidence: &str) {
    match result {
        Err(Error::RolledBack { evidence: said, .. }) => {
            assert!(said.contains(evidence), "{said}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_older_revision_is_not_built_upon() {
    let scene = Scene::new();
    let ours = scene.publisher("ours");
    assert_eq!(scene.publish(&ours, "two").unwrap(), 2);
    let old = scene.old();
    let second = ours.snapshot().unwrap();
    assert_eq!(scene.publish(&ours, "three").unwrap(), 3);
    // Who has read it before another one was signed has only been slow.
    ours.check_progress(second.manifest()).unwrap();
    scene.put_back(&old, true);
    // A new process has the same memory.
    let ours = scene.publisher("ours");
    refused(scene.publish(&ours, "again"), "has seen revision 3");
    refused(ours.add_tag(&scene.objects, "tag", ""), "has seen revision 3");
    refused(ours.resign(&scene.objects, Duration::from_secs(3600)), "has seen revision 3");
    let retention = Retention { revisions: 0, since: None, grace: Duration::from_secs(0) };
    refused(collect(&ours, &scene.objects, &retention, false), "has seen revision 3");
    assert_eq!(scene.old().manifest, old.manifest, "nothing was signed");
    assert_eq!(ours.snapshot().unwrap().manifest().revision, 2, "it can be read");
    refused(ours.check_progress(ours.snapshot().unwrap().manifest()), "has seen revision 3");
}

/// Who has restored the storage says so once. No number is used twice.
#[test]
fn an_older_revision_can_be_meant() {
    let scene = Scene::new();
    let ours = scene.publisher("ours");
    scene.publish(&ours, "two").unwrap();
    let old = scene.old();
    scene.publish(&ours, "three").unwrap();
    scene.publish(&ours, "four").unwrap();
    scene.put_back(&old, true);
    let meant = scene.open(scene.last_seen("ours").accepting_rollback(true));
    meant.add_tag(&scene.objects, "restored", "").unwrap();
    let ours = scene.publisher("ours");
    assert_eq!(scene.publish(&ours, "further").unwrap(), 5);
    assert_eq!(scene.publish(&ours, "on").unwrap(), 6);
}

#[test]
fn another_revision_of_the_same_number_is_not_built_upon() {
    let scene = Scene::new();
    let ours = scene.publisher("ours");
    scene.publish(&ours, "two").unwrap();
    let old = scene.old();
    scene.publish(&ours, "three").unwrap();
    scene.put_back(&old, true);
    // A publisher that has never been here cannot tell.
    assert_eq!(scene.publish(&scene.publisher("new"), "other").unwrap(), 3);
    refused(scene.publish(&ours, "four"), "has seen revision 3");
}

/// Who has never seen the repository may find out by what is left of it.
#[test]
fn a_later_reference_log_tells_of_an_older_revision() {
    let scene = Scene::new();
    let ours = scene.publisher("ours");
    scene.publish(&ours, "two").unwrap();
    let old = scene.old();
    scene.publish(&ours, "three").unwrap();
    scene.put_back(&old, false);
    let new = scene.publisher("new");
    refused(scene.publish(&new, "again"), ".cvmfsreflog there lists revision 3");
    let meant = scene.open(scene.last_seen("new").accepting_rollback(true));
    scene.publish(&meant, "again").unwrap();
}

/// What others publish is seen and not taken for a step back.
#[test]
fn publishers_go_on_from_each_others_revisions() {
    let scene = Scene::new();
    let (left, right) = (scene.publisher("left"), scene.publisher("right"));
    for round in 1..5 {
        assert_eq!(scene.publish(&left, &format!("l{round}")).unwrap(), 2 * round);
        assert_eq!(scene.publish(&right, &format!("r{round}")).unwrap(), 2 * round + 1);
        right.add_tag(&scene.objects, &format!("tag{round}"), "").unwrap();
    }
    assert_eq!(scene.last_seen("right").name().unwrap(), Some(fqrn()));
    assert!(Progress { revision: 2, timestamp: 9 } < Progress { revision: 3, timestamp: 1 });
}

/// What cannot be remembered is told, and keeps nobody from publishing.
#[test]
fn a_memory_that_does_not_work_is_done_without() {
    let scene = Scene::new();
    fs::write(scene.dir.path().join("broken"), "no directory").unwrap();
    assert_eq!(scene.publish(&scene.publisher("broken"), "two").unwrap(), 2);
    let ours = scene.publisher("ours");
    scene.publish(&ours, "three").unwrap();
    for note in fs::read_dir(scene.dir.path().join("ours/seen")).unwrap() {
        fs::write(note.unwrap().path(), "nonsense").unwrap();
    }
    assert_eq!(scene.publish(&ours, "four").unwrap(), 4);
}

#[test]
fn a_new_repository_begins_a_new_memory() {
    let scene = Scene::new();
    let ours = scene.publisher("ours");
    scene.publish(&ours, "two").unwrap();
    fs::remove_dir_all(scene.dir.path().join("storage")).unwrap();
    let storage = Storage::local(&scene.dir.path().join("storage"));
    let keys = Keys::load(&scene.dir.path().join("keys"), &fqrn()).unwrap();
    let objects = Objects::new(storage.clone(), Settings::default(), None);
    let again =
        Repository::create(storage.clone(), fqrn(), keys, &objects, &Creation::default()).unwrap();
    let scene = Scene { storage, objects, ..scene };
    refused(scene.publish(&scene.publisher("ours"), "two"), "has seen revision 2");
    scene.last_seen("ours").begin(again.snapshot().unwrap().manifest()).unwrap();
    assert_eq!(scene.publish(&scene.publisher("ours"), "two").unwrap(), 2);
}
