//! The life of a repository: created, published into, tagged, checked, collected.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod contention;
mod rollback;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cvmfs_repository::catalog::{CatalogSink, NestedTree, Split, TreeWriter};
use cvmfs_repository::check::{Depth, Fault, check};
use cvmfs_repository::collector::{Retention, collect};
use cvmfs_repository::entry::{Entry, EntryKind, Links, Time};
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::objects::{Objects, Settings};
use cvmfs_repository::path::TreePath;
use cvmfs_repository::publication::Edits;
use cvmfs_repository::scratch::Scratch;
use cvmfs_repository::storage::Storage;
use cvmfs_repository::xattr::Xattrs;
use cvmfs_repository::{AutoTags, Creation, Error, Repository};
use tempfile::TempDir;

const NOW: Time = Time { seconds: 1_700_000_000, nanoseconds: Some(5) };

struct Site {
    _dir: TempDir,
    keys: PathBuf,
    storage: Storage,
    objects: Objects,
    repository: Repository,
}

impl Site {
    fn new(algorithm: Algorithm) -> Self {
        let dir = TempDir::new().unwrap();
        let storage = Storage::local(&dir.path().join("storage"));
        let fqrn: cvmfs_repository::fqrn::Fqrn = "test.example.org".parse().unwrap();
        let (keys, directory) = (Keys::generate(&fqrn).unwrap(), dir.path().join("keys"));
        std::fs::create_dir(&directory).unwrap();
        keys.save(&directory, &fqrn).unwrap();
        let settings = Settings { algorithm, ..Settings::default() };
        let objects = Objects::new(storage.clone(), settings, None);
        let creation = Creation::default();
        let repository =
            Repository::create(storage.clone(), fqrn, keys, &objects, &creation).unwrap();
        Self { _dir: dir, keys: directory, storage, objects, repository }
    }

    fn file(&self, content: &[u8]) -> Entry {
        let file = self.objects.store_file(content).unwrap();
        Entry { kind: EntryKind::File(file), ..Entry::directory(0o644, NOW) }
    }

    /// A tree of `count` directories with as many files each, cut into small catalogs.
    fn tree(&self, mount: &TreePath, count: usize) -> NestedTree {
        let scratch = Scratch::new().unwrap();
        let sink = CatalogSink::new(Arc::new(self.objects.clone()), &scratch, 2).unwrap();
        let split = Split { maximum: 50, minimum: 10 };
        let root = Entry::directory(0o755, NOW);
        let mut writer = TreeWriter::new(sink, mount.clone(), root, split, 0).unwrap();
        for directory in 0..count {
            let name = format!("d{directory}");
            writer.enter(name.as_bytes(), Entry::directory(0o2750, NOW)).unwrap();
            for file in 0..count {
                let entry = self.file(format!("{directory}/{file}").as_bytes());
                writer.leaf(format!("f{file}").as_bytes(), entry).unwrap();
            }
            writer.leave().unwrap();
        }
        writer.finish().unwrap()
    }

    fn publish(&self, edits: &Edits) -> Result<u64, Error> {
        let session = self.repository.begin()?;
        Ok(self.repository.publish(edits, &self.objects, &session)?.revision)
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check(&self.repository, Depth { data: true }, &mut |fault| faults.push(fault)).unwrap();
        faults
    }

    fn sound(&self) {
        assert_eq!(self.faults(), []);
    }

    fn content(&self, at: &str) -> Option<Vec<u8>> {
        let snapshot = self.repository.snapshot().unwrap();
        match snapshot.lookup(&path(at)).unwrap()?.kind {
            EntryKind::File(file) => Some(snapshot.read(&file).unwrap()),
            other => panic!("{at} is {other:?}"),
        }
    }

    fn collect(&self) -> cvmfs_repository::collector::Collected {
        let retention = Retention { revisions: 0, since: None, grace: Duration::ZERO };
        collect(&self.repository, &self.objects, &retention, false).unwrap()
    }
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_repository_from_creation_to_collection() {
    for algorithm in [Algorithm::Sha1, Algorithm::Shake128, Algorithm::Rmd160] {
        let site = Site::new(algorithm);
        site.sound();
        assert_eq!(site.repository.snapshot().unwrap().manifest().revision, 1);

        let mut edits = Edits::default();
        edits.nest(&path("/a"));
        edits.nest(&path("/a/b"));
        let special = Entry {
            xattrs: Xattrs::pack(&[(b"user.x".to_vec(), b"y".to_vec())].into()).0,
            links: Links::ONE,
            ..site.file(b"one")
        };
        edits.put(&path("/a/b/file"), special, None);
        edits.put(&path("/a/plain/file"), site.file(b"two"), None);
        edits.graft(&path("/a/b/tree"), site.tree(&path("/a/b/tree"), 20));
        assert_eq!(site.publish(&edits).unwrap(), 2);
        site.sound();
        assert_eq!(site.content("/a/b/file").unwrap(), b"one");
        assert_eq!(site.content("/a/plain/file").unwrap(), b"two");
        assert_eq!(site.content("/a/b/tree/d7/f11").unwrap(), b"7/11");
        assert!(site.repository.snapshot().unwrap().counters().subtree.nested > 3);

        // The same again makes no revision.
        assert_eq!(site.publish(&edits).unwrap(), 2);

        site.repository.add_tag(&site.objects, "v2", "the second").unwrap();
        site.sound();
        let mut edits = Edits::default();
        edits.remove(&path("/a/b/tree"));
        edits.remove(&path("/a/plain"));
        assert_eq!(site.publish(&edits).unwrap(), 3);
        site.sound();
        assert_eq!(site.content("/a/b/tree/d7/f11"), None);

        // The tag keeps what it names.
        site.collect();
        site.sound();
        let tagged = site.repository.tagged("v2").unwrap();
        assert!(tagged.lookup(&path("/a/b/tree/d7/f11")).unwrap().is_some());

        site.repository.remove_tag(&site.objects, "v2").unwrap();
        let mut edits = Edits::default();
        edits.put(&path("/new"), site.file(b"new"), None);
        site.publish(&edits).unwrap();
        let collected = site.collect();
        assert!(collected.removed >= 400, "{collected:?}");
        site.sound();
        assert_eq!(site.content("/a/b/file").unwrap(), b"one");
        assert_eq!(site.collect().removed, 0);
    }
}

/// As a stock server is told to do it (`CVMFS_AUTO_TAG`, `CVMFS_AUTO_TAG_TIMESPAN`).
#[test]
fn publishes_name_revisions_if_they_are_told_to() {
    let site = Site::new(Algorithm::Sha1);
    let mut published = 0;
    let mut publish = |named, kept_since: Option<&str>| {
        let kept_since = kept_since.map(str::to_owned);
        let fqrn = site.repository.fqrn().clone();
        let keys = Keys::load(&site.keys, &fqrn).unwrap();
        let repository = Repository::open(site.storage.clone(), fqrn, keys)
            .with_auto_tags(AutoTags { named, kept_since });
        let mut edits = Edits::default();
        published += 1;
        let name = format!("/{published}");
        edits.put(&path(&name), site.file(name.as_bytes()), None);
        let session = repository.begin()?;
        repository.publish(&edits, &site.objects, &session)?;
        // Neither the same again nor another signature is a new revision.
        repository.publish(&edits, &site.objects, &session)?;
        repository.add_tag(&site.objects, &format!("own-{published}"), "")?;
        site.sound();
        let tags = repository.tags()?.into_iter();
        let automatic = tags.filter(|tag| tag.name.as_str().starts_with("generic"));
        Ok::<_, Error>(automatic.map(|tag| tag.revision).collect::<Vec<_>>())
    };
    assert_eq!(publish(false, None).unwrap(), [0; 0]);
    assert_eq!(publish(true, None).unwrap(), [3]);
    assert_eq!(publish(true, Some("1 hour ago")).unwrap(), [3, 4]);
    assert!(matches!(publish(true, Some("x y")), Err(Error::AutoTagTimespan { .. })));
    assert_eq!(publish(true, Some("tomorrow")).unwrap(), [5], "the new one stays");
    assert_eq!(publish(false, Some("tomorrow")).unwrap(), [0; 0]);
    let own = site.repository.tags().unwrap();
    let own = own.iter().filter(|tag| tag.name.as_str().starts_with("own"));
    assert_eq!(own.count(), 5);
}

#[test]
fn a_collection_removes_nothing_young() {
    let site = Site::new(Algorithm::Sha1);
    site.file(b"of a publisher that is not ready");
    let retention = Retention { revisions: 0, since: None, grace: Duration::from_secs(3600) };
    for dry_run in [true, false] {
        let collected = collect(&site.repository, &site.objects, &retention, dry_run).unwrap();
        assert_eq!(collected.removed, 0, "{collected:?}");
        assert!(collected.young >= 1, "{collected:?}");
    }
}

#[test]
fn a_publish_that_began_before_a_collection_begins_again() {
    let site = Site::new(Algorithm::Sha1);
    let session = site.repository.begin().unwrap();
    let mut edits = Edits::default();
    edits.put(&path("/file"), site.file(b"collected before anybody refers to it"), None);
    site.collect();
    let error = site.repository.publish(&edits, &site.objects, &session).unwrap_err();
    assert!(error.is_overtaken(), "{error}");
    site.sound();
}

#[test]
fn what_others_changed_meanwhile_is_not_overwritten() {
    let site = Site::new(Algorithm::Sha1);
    let put = |content: &[u8], seen: Option<&Entry>| {
        let mut edits = Edits::default();
        edits.put(&path("/d/file"), site.file(content), seen);
        edits
    };
    let (first, second) = (put(b"first", None), put(b"second", None));
    site.publish(&first).unwrap();
    let error = site.publish(&second).unwrap_err();
    assert!(matches!(&error, Error::Conflict(at) if *at == path("/d/file")), "{error}");
    let seen = site.repository.snapshot().unwrap().lookup(&path("/d/file")).unwrap().unwrap();
    site.publish(&put(b"second", Some(&seen))).unwrap();
    assert_eq!(site.content("/d/file").unwrap(), b"second");

    // A tree that is there already, written by another publisher.
    let mut edits = Edits::default();
    edits.graft(&path("/tree"), site.tree(&path("/tree"), 3));
    site.publish(&edits).unwrap();
    edits.graft(&path("/tree"), site.tree(&path("/tree"), 4));
    let error = site.publish(&edits).unwrap_err();
    assert!(matches!(&error, Error::Conflict(at) if *at == path("/tree")), "{error}");
}

#[test]
fn edits_that_rely_on_something_are_not_applied_when_it_has_changed() {
    let site = Site::new(Algorithm::Sha1);
    let mut edits = Edits::default();
    edits.nest(&path("/n"));
    for at in ["/n/file", "/n/other", "/plain/file"] {
        edits.put(&path(at), site.file(at.as_bytes()), None);
    }
    edits.graft(&path("/n/tree"), site.tree(&path("/n/tree"), 3));
    site.publish(&edits).unwrap();
    let seen = site.repository.snapshot().unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Edits));
    let changes: [Change<'_>; 5] = [
        ("nothing", &|_| {}),
        ("a file", &|edits| {
            let there = seen.lookup(&path("/n/file")).unwrap();
            edits.put(&path("/n/file"), site.file(b"changed"), there.as_ref());
        }),
        ("a tree", &|edits| {
            edits.graft_instead(&path("/n/tree"), site.tree(&path("/n/tree"), 4));
        }),
        ("a plain directory", &|edits| edits.remove(&path("/plain"))),
        ("something new", &|edits| edits.put(&path("/n/new"), site.file(b""), None)),
    ];
    let relied = ["/n/file", "/n/tree", "/plain", "/n/new", "/n", "/n/other", "/n/absent"];
    for (what, change) in changes {
        let before = site.repository.snapshot().unwrap();
        let mut edits = Edits::default();
        change(&mut edits);
        if !edits.is_empty() {
            site.publish(&edits).unwrap();
        }
        let broken: Vec<_> = relied
            .into_iter()
            .filter(|at| {
                let mut edits = Edits::since(&before);
                edits.rely_on(&path(at));
                // It changes nothing, so that what follows finds what was there.
                edits.remove(&path("/absent"));
                match site.publish(&edits) {
                    Ok(_) => false,
                    Err(Error::Conflict(conflict)) => {
                        assert_eq!(conflict, path(at), "{what}");
                        true
                    }
                    Err(error) => panic!("{what}: {error}"),
                }
            })
            .collect();
        let expected: &[&str] = match what {
            "nothing" => &[],
            "a file" => &["/n/file", "/n"],
            "a tree" => &["/n/tree", "/n"],
            "a plain directory" => &["/plain"],
            _ => &["/n/new", "/n"],
        };
        assert_eq!(broken, expected, "{what}");
    }
    site.sound();
}

#[test]
fn edits_for_one_revision_are_not_applied_to_another() {
    let site = Site::new(Algorithm::Sha1);
    let mut edits = Edits::since(&site.repository.snapshot().unwrap());
    edits.put(&path("/file"), site.file(b"x"), None);
    edits.require_unchanged();
    // Another manifest alone is not another revision.
    site.repository.add_tag(&site.objects, "v1", "").unwrap();
    assert_eq!(site.publish(&edits).unwrap(), 2);
    edits.put(&path("/second"), site.file(b"x"), None);
    let error = site.publish(&edits).unwrap_err();
    assert!(matches!(error, Error::Superseded { seen: 1, newest: 2 }), "{error}");
    assert!(error.is_overtaken(), "{error}");
    assert_eq!(site.content("/second"), None);
}

#[test]
fn what_is_removed_takes_empty_directories_with_it() {
    let site = Site::new(Algorithm::Sha1);
    let files = ["/n/a/b/file", "/n/a/other", "/n/c/file", "/d/e/f/file"];
    let mut edits = Edits::default();
    edits.nest(&path("/n"));
    for at in files {
        edits.put(&path(at), site.file(b"x"), None);
    }
    site.publish(&edits).unwrap();
    let there = |at: &str| site.repository.snapshot().unwrap().lookup(&path(at)).unwrap().is_some();
    for (removed, gone, left) in [
        ("/n/a/b/file", "/n/a/b", "/n/a/other"),
        ("/n/a/other", "/n/a", "/n/c"),
        // A catalog begins at /n.
        ("/n/c/file", "/n/c", "/n"),
        ("/d/e/f/file", "/d", "/n"),
    ] {
        let mut edits = Edits::default();
        edits.remove(&path(removed));
        let mut above = path(removed).split().map(|(above, _)| above);
        while let Some(directory) = above.filter(|above| !above.is_root()) {
            edits.prune(&directory);
            above = directory.split().map(|(above, _)| above);
        }
        site.publish(&edits).unwrap();
        assert!(!there(gone) && there(left), "{removed}");
        // What is gone already is no reason to make its directory.
        let revision = site.repository.snapshot().unwrap().manifest().revision;
        assert_eq!(site.publish(&edits).unwrap(), revision, "{removed}");
        site.sound();
    }
}

#[test]
fn sizes_are_those_of_the_content() {
    let site = Site::new(Algorithm::Sha1);
    let mut edits = Edits::default();
    edits.put(&path("/d/one"), site.file(b"12345"), None);
    edits.put(&path("/d/e/two"), site.file(b"123"), None);
    // 9 files of 3 bytes.
    edits.graft(&path("/d/tree"), site.tree(&path("/d/tree"), 3));
    site.publish(&edits).unwrap();
    let snapshot = site.repository.snapshot().unwrap();
    for (at, expected) in [
        ("/d/one", 5),
        ("/d/e", 3),
        ("/d/tree", 27),
        ("/d/tree/d1", 9),
        ("/d", 35),
        ("/", 35),
        ("/x/y", 0),
    ] {
        assert_eq!(snapshot.bytes_below(&path(at)).unwrap(), expected, "{at}");
    }
}

#[test]
fn nothing_is_published_through_a_file_or_over_a_directory() {
    let site = Site::new(Algorithm::Sha1);
    let mut edits = Edits::default();
    edits.put(&path("/d/file"), site.file(b"x"), None);
    site.publish(&edits).unwrap();
    for (at, said) in [("/d/file/below", "no directory"), ("/d", "a directory")] {
        let mut edits = Edits::default();
        edits.put(&path(at), site.file(b"x"), None);
        let error = site.publish(&edits).unwrap_err().to_string();
        assert!(error.contains(said), "{at}: {error}");
    }
    site.sound();
}

#[test]
fn signatures_are_asked_for() {
    let site = Site::new(Algorithm::Sha1);
    let fqrn = site.repository.fqrn().clone();
    let other =
        Repository::open(site.storage.clone(), fqrn.clone(), Keys::generate(&fqrn).unwrap());
    let error = other.snapshot().map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");

    let (_, expires) =
        site.repository.resign(&site.objects, Duration::from_secs(90 * 24 * 3600)).unwrap();
    assert!(expires > SystemTime::now() + Duration::from_secs(89 * 24 * 3600));
    site.sound();
}

#[test]
fn a_repository_is_not_created_over_another() {
    let site = Site::new(Algorithm::Sha1);
    let fqrn = site.repository.fqrn().clone();
    let keys = Keys::generate(&fqrn).unwrap();
    let created =
        Repository::create(site.storage.clone(), fqrn, keys, &site.objects, &Creation::default());
    assert!(created.is_err());
    site.sound();
}
