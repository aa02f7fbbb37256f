//! Catalogs that are changed in place.

use std::sync::Arc;

use proptest::prelude::*;

use super::model::{self, Node};
use super::{Memory, TIME, file, path};
use crate::catalog::{
    CatalogRef, CatalogStore as _, CatalogUpdate, Counters, NestedRef, NestedTree, Split,
};
use crate::entry::{Entry, EntryKind, Links};
use crate::hash::{Algorithm, ContentHash};
use crate::path::TreePath;
use crate::scratch::Scratch;
use crate::{Error, Result};

/// A repository of two publications: what is there, and what is done to it.
struct Repository {
    memory: Arc<Memory>,
    scratch: Scratch,
    root: ContentHash,
}

const SPLIT: Split = Split { maximum: 8, minimum: 3 };

impl Repository {
    fn new(node: &Node) -> Self {
        let scratch = Scratch::new().unwrap();
        let memory = Arc::new(Memory::default());
        let tree = model::write(node, memory.sink(&scratch, 1), &TreePath::ROOT, SPLIT, 1);
        Self { memory, scratch, root: tree.catalog.hash }
    }

    fn counters(&self, nested: &NestedRef) -> Result<Counters> {
        Ok(*self.memory.open(nested.hash, &self.scratch)?.counters())
    }

    fn update(&self) -> CatalogUpdate {
        let root = self.memory.open(self.root, &self.scratch).unwrap();
        CatalogUpdate::open(&root, &self.scratch).unwrap()
    }

    fn finish(&mut self, update: CatalogUpdate) {
        self.root = update.finish(&*self.memory).unwrap().0.hash;
    }

    fn tree(&self) -> Node {
        model::read(&self.memory, self.root, &self.scratch).node
    }

    /// The directory of a path, if it is in the root catalog.
    fn holds(update: &CatalogUpdate, directory: &TreePath) -> bool {
        use crate::catalog::Mount;
        update
            .lookup(directory)
            .unwrap()
            .is_some_and(|row| row.entry.is_directory() && row.mount == Mount::None)
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Put(Entry),
    Remove,
    Graft(Node),
}

fn edits() -> impl Strategy<Value = Vec<(usize, Vec<u8>, Edit)>> {
    let edit = prop_oneof![
        3 => model::nodes().prop_map(|node| Edit::Put(Entry { links: Links::ONE, ..node.entry })),
        3 => Just(Edit::Put(Entry { kind: EntryKind::Fifo, ..Entry::directory(0o600, TIME) })),
        3 => Just(Edit::Remove),
        1 => model::nodes().prop_map(Edit::Graft),
    ];
    let name = proptest::collection::vec(b'a'..b'e', 1..3);
    proptest::collection::vec((any::<usize>(), name, edit), 0..12)
}

fn directories(node: &Node, path: &TreePath, found: &mut Vec<TreePath>) {
    if node.entry.is_directory() {
        found.push(path.clone());
        for (name, node) in &node.below {
            directories(node, &path.join(name), found);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to the root catalog, the tree is what it should be, and everything is counted right.
    #[test]
    fn edits_do_what_they_say(mut node in model::nodes(), edits in edits()) {
        let mut repository = Repository::new(&node);
        let mut update = repository.update();
        for (number, name, edit) in edits {
            let mut directories = Vec::new();
            self::directories(&node, &TreePath::ROOT, &mut directories);
            directories.retain(|directory| Repository::holds(&update, directory));
            let directory = &directories[number % directories.len()];
            let target = directory.join(&name);
            let counters = |nested: &NestedRef| repository.counters(nested);
            let below = &mut node.at(directory).unwrap().below;
            match edit {
                Edit::Put(entry) => {
                    let there = below.get_mut(&name).filter(|there| there.entry.is_directory());
                    match (there, entry.is_directory()) {
                        (Some(there), true) if Repository::holds(&update, &target) => {
                            update.put(&target, &entry).unwrap();
                            there.entry = entry;
                        }
                        (Some(_), _) => {
                            let error = update.put(&target, &entry).unwrap_err();
                            prop_assert!(matches!(error, Error::Unpublishable { .. }), "{error:?}");
                        }
                        (None, _) => {
                            update.put(&target, &entry).unwrap();
                            below.insert(name, Node::new(entry));
                        }
                    }
                }
                Edit::Remove => {
                    let removed = update.remove(&target, &counters).unwrap();
                    prop_assert_eq!(removed, below.remove(&name).is_some());
                }
                Edit::Graft(tree) => {
                    let sink = repository.memory.sink(&repository.scratch, 1);
                    let written = model::write(&tree, sink, &target, SPLIT, 5);
                    update.graft(&target, &written, &counters).unwrap();
                    below.insert(name, tree);
                }
            }
        }
        node.settle();
        repository.finish(update);
        prop_assert_eq!(repository.tree(), node);
    }
}

fn fifo() -> Entry {
    Entry { kind: EntryKind::Fifo, ..Entry::directory(0o644, TIME) }
}

#[test]
fn a_repository_begins_with_nothing() {
    let scratch = Scratch::new().unwrap();
    let memory = Arc::new(Memory::default());
    let mut root = CatalogUpdate::root(&Entry::directory(0o755, TIME), &scratch).unwrap();
    root.set_revision(1);
    root.set_last_modified(99);
    root.set_property("TTL", "61");
    let (CatalogRef { hash, size, .. }, entry, links) = root.finish(&*memory).unwrap();
    assert_eq!((entry, links, size), (Entry::directory(0o755, TIME), 2, 16_384));
    assert_eq!(model::read(&memory, hash, &scratch).node, Node::directory());
    let root = memory.open(hash, &scratch).unwrap();
    assert_eq!((root.revision(), root.last_modified(), root.ttl()), (1, 99, 61));
    assert_eq!((root.previous(), root.get("root_prefix")), (None, None));
    assert!(CatalogUpdate::root(&fifo(), &scratch).is_err());
}

/// What a commit does: the root is changed, and a nested catalog, which the root then mounts again.
#[test]
fn a_nested_catalog_is_changed_and_mounted_anew() {
    let mut repository = Repository::new(&Node::directory());
    let (memory, scratch) = (Arc::clone(&repository.memory), repository.scratch.clone());
    let counters = |nested: &NestedRef| Ok(*memory.open(nested.hash, &scratch)?.counters());
    let at = path("/layers");
    let directory = Entry { uid: 7, ..Entry::directory(0o700, TIME) };
    let mut expected = Node::directory();
    expected.below.insert(b"layers".to_vec(), Node::new(directory.clone()));

    let mut root = repository.update();
    let empty = memory.empty_file().unwrap();
    let mut nested = CatalogUpdate::nested(&at, &directory, &empty, &scratch).unwrap();
    nested.set_previous(Some(repository.root));
    let (catalog, entry, links) = nested.finish(&*memory).unwrap();
    let first = catalog.hash;
    root.graft(&at, &NestedTree { root: entry, links, catalog }, &counters).unwrap();
    root.set_previous(Some(repository.root));
    let before = repository.root;
    repository.finish(root);
    assert_eq!(repository.tree(), expected);
    assert_eq!(memory.open(repository.root, &scratch).unwrap().previous(), Some(before));
    assert_eq!(memory.open(first, &scratch).unwrap().previous(), None);

    let mut root = repository.update();
    let there = root.nested_at(&at).unwrap().unwrap();
    assert_eq!(there.hash, first);
    let mut nested = CatalogUpdate::open(&memory.open(first, &scratch).unwrap(), &scratch).unwrap();
    nested.raise_revision();
    nested.put(&at.join(b"ab"), &Entry::directory(0o755, TIME)).unwrap();
    nested.put(&at.join(b"ab").join(b"fifo"), &fifo()).unwrap();
    nested.put(&at, &Entry { gid: 8, ..directory.clone() }).unwrap();
    let (catalog, entry, links) = nested.finish(&*memory).unwrap();
    assert_eq!((entry.gid, links), (8, 3));
    root.graft(&at, &NestedTree { root: entry, links, catalog }, &counters).unwrap();
    repository.finish(root);
    let layers = expected.below.get_mut(&b"layers"[..]).unwrap();
    layers.entry.gid = 8;
    let mut ab = Node::directory();
    ab.below.insert(b"fifo".to_vec(), Node::new(fifo()));
    layers.below.insert(b"ab".to_vec(), ab);
    assert_eq!(repository.tree(), expected);
    assert_eq!(memory.open(catalog.hash, &scratch).unwrap().revision(), 2);
}

#[test]
fn what_cannot_be_put_is_refused() {
    let mut node = Node::directory();
    let mut large = Node::directory();
    for name in 0..9 {
        large.below.insert(vec![b'a' + name], Node::new(fifo()));
    }
    node.below.insert(b"nested".to_vec(), large);
    node.below.insert(b"fifo".to_vec(), Node::new(fifo()));
    let repository = Repository::new(&node);
    let mut update = repository.update();
    let directory = Entry::directory(0o755, TIME);
    for (text, entry, expected) in [
        ("/missing/x", &fifo(), "its directory is not in this catalog"),
        ("/fifo/x", &fifo(), "its directory is not in this catalog"),
        ("/nested/x", &fifo(), "its directory is not in this catalog"),
        ("/nested", &fifo(), "a directory or mountpoint is there"),
        ("/nested", &directory, "a directory or mountpoint is there"),
        ("/", &fifo(), "a directory or mountpoint is there"),
        ("/.cvmfscatalog", &fifo(), "the name is reserved"),
    ] {
        let error = update.put(&path(text), entry).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error:?} should tell {expected:?}");
    }
    let long = TreePath::ROOT.join(&[b'x'; 256]);
    assert!(update.put(&long, &fifo()).is_err());
    let counters = |nested: &NestedRef| repository.counters(nested);
    assert!(update.remove(&TreePath::ROOT, &counters).is_err());
    assert!(!update.remove(&path("/missing/x"), &counters).unwrap());

    let nested = repository
        .memory
        .open(update.nested_at(&path("/nested")).unwrap().unwrap().hash, &repository.scratch);
    let mut nested = CatalogUpdate::open(&nested.unwrap(), &repository.scratch).unwrap();
    let error = nested.put(&path("/elsewhere"), &fifo()).unwrap_err().to_string();
    assert!(error.contains("it is not in this catalog"), "{error}");
}

#[test]
fn of_hard_links_the_others_stay() {
    let mut node = Node::directory();
    for name in [b"a", b"b", b"c"] {
        let links = Links { group: 1, count: 3 };
        node.below.insert(name.to_vec(), Node::new(Entry { links, ..fifo() }));
    }
    let mut repository = Repository::new(&node);
    let counters = |_: &NestedRef| Err(Error::Stopped("nothing is nested".to_owned()));
    let hash = ContentHash { algorithm: Algorithm::Sha1, digest: [1; 20] };
    let fresh = Entry { kind: EntryKind::File(file(1, hash)), ..fifo() };

    let mut update = repository.update();
    update.remove(&path("/a"), &counters).unwrap();
    repository.finish(update);
    node.below.remove(&b"a"[..]);
    node.settle();
    assert_eq!(repository.tree(), node);

    let mut update = repository.update();
    update.put(&path("/b"), &fresh).unwrap();
    repository.finish(update);
    node.below.insert(b"b".to_vec(), Node::new(fresh));
    node.settle();
    assert_eq!(repository.tree(), node);
    assert_eq!(node.below[&b"c"[..]].entry.links, Links::ONE);
}

/// Catalogs of older stock tools get the column they lack; those that lack more are left alone.
#[test]
fn old_schemas_are_upgraded_in_place() {
    let mut node = Node::directory();
    node.below.insert(b"old".to_vec(), Node::new(fifo()));
    let mut repository = Repository::new(&node);
    let revision = |number: u32| {
        format!("UPDATE properties SET value = '{number}' WHERE key = 'schema_revision';")
    };
    let current = repository.root;
    let drop = "ALTER TABLE catalog DROP COLUMN mtimens";
    for node in [&mut node.entry, &mut fifo()] {
        node.mtime.nanoseconds = None;
    }
    node.below.get_mut(&b"old"[..]).unwrap().entry.mtime.nanoseconds = None;
    node.below.insert(b"new".to_vec(), Node::new(fifo()));
    for sql in [revision(6) + drop, revision(5) + drop, revision(6)] {
        repository.root = repository.memory.changed(current, &sql, &repository.scratch);
        let mut update = repository.update();
        update.put(&path("/new"), &fifo()).unwrap();
        repository.finish(update);
        assert_eq!(repository.tree(), node, "{sql}");
        let root = repository.memory.open(repository.root, &repository.scratch).unwrap();
        assert_eq!(root.schema_revision(), 7);
    }
    let old = repository.memory.changed(current, &revision(4), &repository.scratch);
    let old = repository.memory.open(old, &repository.scratch).unwrap();
    let error = CatalogUpdate::open(&old, &repository.scratch).err().unwrap().to_string();
    assert!(error.contains("has the old schema revision 4"), "{error}");
}

/// A catalog that loses most of its rows gets smaller.
#[test]
fn room_that_is_free_is_given_back() {
    let mut node = Node::directory();
    let mut many = Node::directory();
    for number in 0..2000_u32 {
        many.below.insert(format!("{number:0>50}").into_bytes(), Node::new(fifo()));
    }
    node.below.insert(b"many".to_vec(), many);
    let scratch = Scratch::new().unwrap();
    let memory = Arc::new(Memory::default());
    let whole = Split { maximum: 10_000, minimum: 10_000 };
    let tree = model::write(&node, memory.sink(&scratch, 1), &TreePath::ROOT, whole, 1);
    let mut repository = Repository { memory, scratch, root: tree.catalog.hash };
    let mut update = repository.update();
    update.remove(&path("/many"), &|_| Ok(Counters::default())).unwrap();
    repository.finish(update);
    assert_eq!(repository.tree(), Node::directory());
    let root = repository.memory.open(repository.root, &repository.scratch).unwrap();
    assert!(root.size() < 20_000 && tree.catalog.size > 300_000, "{}", root.size());
}
