//! The native CernVM-FS target: the rules for all targets, and that it makes the same as the directory target.

mod others;
mod publishing;
mod same;
mod unfit;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use cvmfs_repository::check::{Depth, check};
use cvmfs_repository::compression::Compression;
use cvmfs_repository::entry::{Entry, EntryKind};
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::link_target::without_variables;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::{Directory, Snapshot};
use cvmfs_repository::storage::Storage;
use cvmfs_repository::{Creation, Repository as Engine};
use layer_layout::RepositoryPath;

use super::Cvmfs;
use super::home::Home;
use crate::repository::tests::{Target, snapshot};
use crate::repository::{Repository, Stratum0, Transaction};

crate::repository::tests::rules!(super::Scene);

const NAME: &str = "test.example.org";

/// A path of the layout in a repository that has nothing else.
fn tree_path(path: &RepositoryPath) -> TreePath {
    Home::new(None).path(path)
}

/// A repository in a directory of its own.
struct Scene {
    _directory: tempfile::TempDir,
    repository: Cvmfs,
}

/// Keys take long to make; all tests have the same.
fn keys() -> Keys {
    static KEYS: OnceLock<tempfile::TempDir> = OnceLock::new();
    let fqrn = NAME.parse().unwrap();
    let directory = KEYS.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        Keys::generate(&fqrn).unwrap().save(directory.path(), &fqrn).unwrap();
        directory
    });
    Keys::load(directory.path(), &fqrn).unwrap()
}

impl Scene {
    fn split_at(catalog_entries: Option<u32>) -> Self {
        Self::with(keys(), catalog_entries)
    }

    fn with(keys: Keys, catalog_entries: Option<u32>) -> Self {
        let memory = Path::new("/dev/shm");
        let below = if memory.is_dir() { memory } else { Path::new("/tmp") };
        let directory = tempfile::tempdir_in(below).unwrap();
        let storage = Storage::local(directory.path());
        let objects = Stratum0::new_objects(&storage, Algorithm::Sha1, Compression::Zlib);
        let fqrn = NAME.parse().unwrap();
        let repository =
            Engine::create(storage, fqrn, keys, &objects, &Creation::default()).unwrap();
        let stratum0 = Stratum0 { repository, objects, server: None, catalog_entries };
        Self { repository: Cvmfs::open(stratum0, None).unwrap(), _directory: directory }
    }

    fn newest(&self) -> Snapshot {
        self.repository.stratum0.repository.snapshot().unwrap()
    }
}

impl Target for Scene {
    const SHARES_FILES: bool = false;

    fn new() -> Self {
        Self::split_at(None)
    }

    fn repository(&self) -> &dyn Repository {
        &self.repository
    }

    fn assert_sound(&self) {
        let mut faults = Vec::new();
        let engine = &self.repository.stratum0.repository;
        check(engine, Depth { data: true }, &mut |fault| faults.push(fault.to_string())).unwrap();
        assert_eq!(faults, [""; 0]);
    }

    fn begin(&self) -> Box<dyn Transaction> {
        self.repository.begin(&mut |text| panic!("{text}")).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let root = self.newest().root().unwrap();
        root.for_each(&mut |child| {
            names.push(String::from_utf8(child.name).unwrap());
            Ok(())
        })
        .unwrap();
        names.sort();
        names
    }

    fn tree(&self, path: &RepositoryPath) -> snapshot::Tree {
        let newest = self.newest();
        let directory = newest.directory(&tree_path(path)).unwrap().unwrap();
        let mut tree = snapshot::Tree::new();
        tree.insert(String::new(), node(&newest, "", directory.entry()));
        take(&newest, &directory, "", &mut tree);
        tree
    }
}

fn take(from: &Snapshot, directory: &Directory, path: &str, tree: &mut snapshot::Tree) {
    let mut children = BTreeMap::new();
    directory
        .for_each(&mut |child| {
            if !child.marker {
                children.insert(child.name.clone(), child);
            }
            Ok(())
        })
        .unwrap();
    let mut groups = BTreeMap::new();
    let mut members: BTreeMap<u32, u32> = BTreeMap::new();
    for child in children.values() {
        *members.entry(child.entry.links.group).or_default() += 1;
    }
    for (name, child) in &children {
        let name = name.escape_ascii().to_string();
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let mut node = node(from, &path, &child.entry);
        let links = child.entry.links;
        if links.group == 0 {
            assert!(links.count == 1 || child.entry.is_directory(), "{path}: {links:?}");
        } else {
            assert_eq!(links.count, members[&links.group], "{path}");
            node.group = groups.entry(links.group).or_insert(path.clone()).clone();
        }
        tree.insert(path.clone(), node);
        if child.entry.is_directory() {
            take(from, &directory.open(child).unwrap(), &path, tree);
        }
    }
}

fn node(from: &Snapshot, path: &str, entry: &Entry) -> snapshot::Node {
    let (kind, rdev, content) = match &entry.kind {
        EntryKind::Directory => (0o040_000, 0, Vec::new()),
        EntryKind::File(file) => (0o100_000, 0, from.read(file).unwrap()),
        EntryKind::Symlink(target) => (0o120_000, 0, without_variables(target).into_owned()),
        EntryKind::Character(device) => (0o020_000, device.packed(), Vec::new()),
        EntryKind::Block(device) => (0o060_000, device.packed(), Vec::new()),
        EntryKind::Fifo => (0o010_000, 0, Vec::new()),
        EntryKind::Socket => (0o140_000, 0, Vec::new()),
    };
    snapshot::Node {
        mode: kind | entry.mode,
        owner: (entry.uid, entry.gid),
        size: content.len() as u64,
        mtime: (entry.mtime.seconds, entry.mtime.nanoseconds.unwrap_or_default().into()),
        rdev,
        xattrs: entry.xattrs.unpack().unwrap(),
        content,
        group: path.to_owned(),
    }
}
