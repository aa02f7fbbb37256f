//! The checker passes what the stock tools wrote, and names the fault in copies that were damaged on purpose.

use std::path::Path;
use std::time::{Duration, SystemTime};

use cvmfs_repository::Repository;
use cvmfs_repository::check::{Depth, Fault, check};
use cvmfs_repository::compression::{Compression, inflate};
use cvmfs_repository::entry::{Content, EntryKind, File};
use cvmfs_repository::hash::{ContentHash, ObjectKind};
use cvmfs_repository::keys::Keys;
use cvmfs_repository::manifest::{self, Manifest};
use cvmfs_repository::objects::{Objects, Settings};
use cvmfs_repository::path::TreePath;
use cvmfs_repository::reflog::{self, RefKind, Reflog};
use cvmfs_repository::storage::{Expected, Storage};
use cvmfs_repository::whitelist::{self, Whitelist};
use libtest_mimic::{Failed, Trial};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::data::{REPOSITORIES, unpack};

const MEBIBYTES: u64 = 1 << 20;

pub(crate) fn tests(directory: &Path) -> Vec<Trial> {
    let mut tests = Vec::new();
    for name in REPOSITORIES {
        let folder = directory.join(name);
        tests.push(Trial::test(format!("check/passes/{name}"), move || passes(&folder)));
    }
    let folder = directory.join("gc");
    tests.push(Trial::test("check/stale_reflog", move || stale_reflog(&folder)));
    for damage in DAMAGES {
        let folder = directory.join("plain");
        tests.push(Trial::test(format!("check/names/{}", damage.name), move || {
            names(&folder, &damage)
        }));
    }
    tests
}

/// A copy of a repository with its keys.
struct Copy {
    fqrn: String,
    storage: Storage,
    unpacked: TempDir,
    keys: TempDir,
}

impl Copy {
    fn of(folder: &Path, archive: &str) -> Self {
        let fqrn = format!("{}.golden.test", folder.file_name().unwrap().to_str().unwrap());
        let unpacked = unpack(&folder.join(archive));
        let storage = Storage::local(unpacked.path());
        Self { fqrn, storage, unpacked, keys: unpack(&folder.join("keys.tar.zst")) }
    }

    fn keys(&self) -> Keys {
        let fqrn = self.fqrn.parse().unwrap();
        let nested = self.keys.path().join("keys");
        let directory = if nested.is_dir() { nested } else { self.keys.path().to_owned() };
        Keys::load(&directory, &fqrn).unwrap()
    }

    fn repository(&self) -> Repository {
        Repository::open(self.storage.clone(), self.fqrn.parse().unwrap(), self.keys())
    }

    fn faults(&self, depth: Depth) -> Vec<Fault> {
        let mut faults = Vec::new();
        let checked = check(&self.repository(), depth, &mut |fault| faults.push(fault)).unwrap();
        let lasting = faults.iter().filter(|fault| !fault.mends_itself).count();
        assert_eq!(checked.faults, lasting as u64);
        faults
    }

    fn manifest(&self) -> Manifest {
        let (file, _) = self.storage.read_file(manifest::NAME).unwrap().unwrap();
        Manifest::parse(&file).unwrap().unverified().clone()
    }

    fn file(&self, path: &str) -> File {
        let snapshot = self.repository().snapshot().unwrap();
        match snapshot.lookup(&TreePath::parse(path.as_bytes()).unwrap()).unwrap().unwrap().kind {
            EntryKind::File(file) => file,
            other => panic!("{path} is {other:?}"),
        }
    }

    /// Flips a byte of a file below the storage.
    fn flip(&self, path: &str, at: usize) {
        let path = self.unpacked.path().join(path);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }

    /// Changes the root catalog's database and signs the result, as somebody with the keys but without knowledge of
    /// the rules would do it.
    fn change_root(&self, sql: &str) {
        let mut manifest = self.manifest();
        let stored = self.storage.get(manifest.root.object(ObjectKind::Catalog)).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, inflate(&stored, 64 * MEBIBYTES, "the catalog").unwrap()).unwrap();
        let database = Connection::open(file.path()).unwrap();
        database.execute_batch(sql).unwrap();
        drop(database);
        let content = std::fs::read(&file).unwrap();
        let settings = Settings { compression: Compression::Zlib, ..Settings::default() };
        let objects = Objects::new(self.storage.clone(), settings, None);
        manifest.root = objects.store(ObjectKind::Catalog, &content).unwrap();
        manifest.root_size = Some(content.len() as u64);
        let (log, _) = self.storage.read_file(reflog::NAME).unwrap().unwrap();
        let mut log = Reflog::open(&log).unwrap();
        log.add(manifest.root, RefKind::Catalog, 1);
        let log = log.to_bytes().unwrap();
        manifest.reflog = Some(manifest.root.algorithm.hash(&log));
        self.replace(reflog::NAME, log);
        let signed = manifest.sign(&self.keys().publisher().unwrap().key).unwrap();
        self.replace(manifest::NAME, signed);
    }

    fn replace(&self, name: &str, content: Vec<u8>) {
        assert!(self.storage.replace_file(name, content.into(), Expected::Any).unwrap().is_some());
    }
}

fn passes(folder: &Path) -> Result<(), Failed> {
    let copy = Copy::of(folder, "storage.tar.zst");
    let faults = copy.faults(Depth { data: true });
    assert_eq!(faults, []);
    Ok(())
}

/// After its garbage collection the stock server keeps the hash of the reflog to itself.
fn stale_reflog(folder: &Path) -> Result<(), Failed> {
    let copy = Copy::of(folder, "storage-after-gc.tar.zst");
    let faults = copy.faults(Depth { data: true });
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].what, reflog::NAME);
    assert!(faults[0].mends_itself, "{faults:?}");
    Ok(())
}

struct Damage {
    name: &'static str,
    /// Damages the copy and gives what the first fault must name, and what it must say of it.
    make: fn(&Copy) -> (String, &'static str),
    /// Whether it is seen without reading every object.
    shallow: bool,
}

/// Gives an object another size.
fn resized(copy: &Copy, size: impl FnOnce(u64) -> u64) -> (String, &'static str) {
    let Content::Whole(hash) = copy.file(SMALL_FILE).content else { panic!() };
    let path = copy.unpacked.path().join(hash.object(ObjectKind::File).path());
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(size(file.metadata().unwrap().len())).unwrap();
    (SMALL_FILE.to_owned(), "bytes")
}

/// A file whose content no other has.
const SMALL_FILE: &str = "/README";

const DAMAGES: [Damage; 12] = [
    Damage {
        name: "a flipped byte in an object",
        make: |copy| {
            let Content::Whole(hash) = copy.file(SMALL_FILE).content else { panic!() };
            copy.flip(&hash.object(ObjectKind::File).path(), 5);
            (SMALL_FILE.to_owned(), "hash")
        },
        shallow: false,
    },
    Damage {
        name: "a flipped byte in a nested catalog",
        make: |copy| {
            let hash = nested(copy);
            copy.flip(&hash.object(ObjectKind::Catalog).path(), 100);
            (hash.to_string(), "hash")
        },
        shallow: true,
    },
    Damage {
        name: "a wrong counter",
        make: |copy| {
            copy.change_root(
                "UPDATE statistics SET value = value + 1 WHERE counter = 'self_regular'",
            );
            ("at /".to_owned(), "counts")
        },
        shallow: true,
    },
    Damage {
        name: "a wrong counter of the catalogs below",
        make: |copy| {
            copy.change_root(
                "UPDATE statistics SET value = value + 1 WHERE counter = 'subtree_dir'",
            );
            ("at /".to_owned(), "subtree")
        },
        shallow: true,
    },
    Damage {
        name: "a missing object",
        make: |copy| {
            let Content::Whole(hash) = copy.file(SMALL_FILE).content else { panic!() };
            copy.storage.delete(vec![hash.object(ObjectKind::File).path()]).unwrap();
            (SMALL_FILE.to_owned(), "missing")
        },
        shallow: true,
    },
    Damage { name: "an object that was cut off", make: |copy| resized(copy, |_| 0), shallow: true },
    Damage {
        name: "an object that has grown",
        make: |copy| resized(copy, |size| size + 100_000),
        shallow: true,
    },
    Damage {
        name: "a missing nested catalog",
        make: |copy| {
            let hash = nested(copy);
            copy.storage.delete(vec![hash.object(ObjectKind::Catalog).path()]).unwrap();
            (hash.to_string(), "missing")
        },
        shallow: true,
    },
    Damage {
        name: "a bad signature",
        make: |copy| {
            let size = std::fs::metadata(copy.unpacked.path().join(manifest::NAME)).unwrap().len();
            copy.flip(manifest::NAME, usize::try_from(size).unwrap() - 1);
            (manifest::NAME.to_owned(), "sign")
        },
        shallow: true,
    },
    Damage {
        name: "an expired whitelist",
        make: |copy| {
            let (list, _) = copy.storage.read_file(whitelist::NAME).unwrap().unwrap();
            let mut list = Whitelist::parse(&list).unwrap().unverified().clone();
            let now = SystemTime::now();
            list.set_expiry(now - Duration::from_secs(2 * 3600)).unwrap();
            let master = copy.keys();
            let algorithm = copy.manifest().root.algorithm;
            let signed = list.sign(now, algorithm, master.master().unwrap()).unwrap();
            copy.replace(whitelist::NAME, signed);
            (whitelist::NAME.to_owned(), "expired")
        },
        shallow: true,
    },
    Damage {
        name: "a dangling row",
        make: |copy| {
            copy.change_root(
                "INSERT INTO catalog (md5path_1, md5path_2, parent_1, parent_2, hardlinks, hash, size, mode, \
                 mtime, flags, name, symlink, uid, gid) \
                 VALUES (1, 2, 3, 4, 1, NULL, 3, 41471, 0, 12, 'dangling', 'abc', 0, 0); \
                 UPDATE statistics SET value = value + 1 WHERE counter = 'self_symlink'",
            );
            ("dangling".to_owned(), "")
        },
        shallow: true,
    },
    Damage {
        name: "a reference log of another revision",
        make: |copy| {
            let (log, _) = copy.storage.read_file(reflog::NAME).unwrap().unwrap();
            let mut log = Reflog::open(&log).unwrap();
            let root = copy.manifest().root;
            assert!(log.remove(root, RefKind::Catalog));
            copy.replace(reflog::NAME, log.to_bytes().unwrap());
            (reflog::NAME.to_owned(), "completes it")
        },
        shallow: true,
    },
];

fn names(folder: &Path, damage: &Damage) -> Result<(), Failed> {
    let copy = Copy::of(folder, "storage.tar.zst");
    let (what, said) = (damage.make)(&copy);
    let faults = copy.faults(Depth { data: !damage.shallow });
    let found = faults.iter().any(|fault| {
        let text = fault.to_string();
        text.contains(&what) && text.contains(said)
    });
    assert!(found, "expected {what:?} and {said:?} in {faults:#?}");
    assert!(faults.len() <= 3, "one damage, and so many faults: {faults:#?}");
    Ok(())
}

/// The first catalog that is nested in the root catalog.
fn nested(copy: &Copy) -> ContentHash {
    let database = tempfile::NamedTempFile::new().unwrap();
    let root = copy.manifest().root.object(ObjectKind::Catalog);
    let stored = copy.storage.get(root).unwrap();
    std::fs::write(&database, inflate(&stored, 64 * MEBIBYTES, "the catalog").unwrap()).unwrap();
    let database = Connection::open(database.path()).unwrap();
    let query = "SELECT sha1 FROM nested_catalogs WHERE path = '/prefix'";
    let hash: String = database.query_row(query, [], |row| row.get(0)).unwrap();
    hash.parse().unwrap()
}
