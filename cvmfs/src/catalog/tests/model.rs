//! Trees in memory: random ones, on their way into catalogs, and back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::{Memory, TIME, file};
use crate::catalog::{
    Catalog, CatalogRef, CatalogSink, Counts, MARKER, Mount, NestedRef, NestedTree, Row, Split,
    TreeWriter, verify,
};
use crate::compression::Compression;
use crate::entry::{Chunk, Content, Device, Entry, EntryKind, File, Links, Time};
use crate::hash::{Algorithm, ContentHash};
use crate::path::TreePath;
use crate::scratch::Scratch;
use crate::xattr::Xattrs;

/// An entry with what is in it, if it is a directory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) entry: Entry,
    pub(super) below: BTreeMap<Vec<u8>, Node>,
}

impl Node {
    pub(super) fn new(entry: Entry) -> Self {
        Self { entry, below: BTreeMap::new() }
    }

    pub(super) fn directory() -> Self {
        Self::new(Entry::directory(0o755, TIME))
    }

    /// Number of entries, itself included.
    pub(super) fn size(&self) -> usize {
        1 + self.below.values().map(Self::size).sum::<usize>()
    }

    /// The node at a path.
    pub(super) fn at(&mut self, path: &TreePath) -> Option<&mut Self> {
        path.components().try_fold(self, |node, name| node.below.get_mut(name))
    }

    /// Gives groups of hard links the numbers 1, 2, … in the order of their first names, and the counts they
    /// have; makes all members of a group equal.
    pub(super) fn settle(&mut self) {
        let mut groups: HashMap<u32, (u32, u32, Entry)> = HashMap::new();
        for node in self.below.values().filter(|node| node.entry.links.group != 0) {
            let number = u32::try_from(groups.len()).unwrap() + 1;
            let entry = node.entry.clone();
            groups.entry(entry.links.group).or_insert((number, 0, entry)).1 += 1;
        }
        let single =
            groups.values().filter(|(_, count, _)| *count == 1).map(|(number, ..)| *number);
        let single: Vec<u32> = single.collect();
        for node in self.below.values_mut() {
            if let Some((number, count, entry)) = groups.get(&node.entry.links.group) {
                let skipped = single.iter().filter(|single| *single < number).count();
                let group = number - u32::try_from(skipped).unwrap();
                let links = if *count == 1 { Links::ONE } else { Links { group, count: *count } };
                node.entry = Entry { links, ..entry.clone() };
            }
            node.settle();
        }
    }
}

/// So many directories with so many symlinks each, and a file in chunks.
pub(super) fn links_and_chunks(
    directories: usize,
    links: usize,
    target: impl Fn(usize) -> Vec<u8>,
) -> Node {
    let mut root = Node::directory();
    for directory in 0..directories {
        let mut below = Node::directory();
        for name in 0..links {
            let kind = EntryKind::Symlink(target(name));
            let node = Node::new(Entry { kind, ..Entry::directory(0o777, TIME) });
            below.below.insert(format!("link{name}").into_bytes(), node);
        }
        root.below.insert(format!("d{directory}").into_bytes(), below);
    }
    let hash = ContentHash { algorithm: Algorithm::Sha1, digest: [1; 20] };
    let chunks = [0, 4].map(|offset| Chunk { offset, size: 4, hash }).to_vec();
    let mut chunked = file(8, hash);
    chunked.content = Content::Chunks(Algorithm::Sha1, chunks);
    let chunked = Entry { kind: EntryKind::File(chunked), ..Entry::directory(0o644, TIME) };
    root.below.insert(b"chunked".to_vec(), Node::new(chunked));
    root
}

fn kinds() -> impl Strategy<Value = EntryKind> {
    let hash = |byte: u8| ContentHash { algorithm: Algorithm::Sha1, digest: [byte; 20] };
    prop_oneof![
        (0..99_u64, any::<u8>())
            .prop_map(move |(size, byte)| EntryKind::File(file(size, hash(byte)))),
        vec(1..9_u64, 1..4).prop_map(move |sizes| {
            let mut offset = 0;
            let chunk = |size| {
                offset += size;
                Chunk { offset: offset - size, size, hash: hash(1) }
            };
            let chunks: Vec<Chunk> = sizes.into_iter().map(chunk).collect();
            let content = Content::Chunks(Algorithm::Sha1, chunks);
            EntryKind::File(File { size: offset, compression: Compression::None, content })
        }),
        vec(1..255_u8, 0..9).prop_map(EntryKind::Symlink),
        Just(EntryKind::Fifo),
        Just(EntryKind::Socket),
        (0..9_u32, 0..999_u32)
            .prop_map(|(major, minor)| EntryKind::Character(Device { major, minor })),
    ]
}

fn attributes(kind: impl Strategy<Value = EntryKind>) -> impl Strategy<Value = Entry> {
    let numbers =
        (0..0o10000_u32, 0..3_u32, any::<i64>(), proptest::option::of(0..1_000_000_000_u32));
    (kind, numbers, any::<bool>(), 0..9_u8).prop_map(|(kind, numbers, hidden, few)| {
        let (mode, uid, seconds, nanoseconds) = numbers;
        let xattr = (few == 0).then(|| (b"user.few".to_vec(), vec![few]));
        Entry {
            kind,
            mode,
            uid,
            gid: uid + 1,
            mtime: Time { seconds, nanoseconds },
            xattrs: Xattrs::pack(&xattr.into_iter().collect()).0,
            links: Links::ONE,
            hidden,
        }
    })
}

/// Any tree. Names are few, so that different trees have names in common.
pub(super) fn nodes() -> impl Strategy<Value = Node> {
    let leaf = (attributes(kinds()), 0..4_u32)
        .prop_map(|(entry, group)| Node::new(Entry { links: Links { group, count: 1 }, ..entry }));
    let name = prop_oneof![vec(b'a'..b'e', 1..3), vec(128..255_u8, 1..3)];
    let tree = leaf.prop_recursive(5, 96, 8, move |inner| {
        let below = btree_map(name.clone(), inner, 0..8);
        (attributes(Just(EntryKind::Directory)), below)
            .prop_map(|(entry, below)| Node { entry, below })
    });
    tree.prop_map(|node| {
        let mut node = if node.entry.is_directory() { node } else { Node::directory() };
        node.settle();
        node
    })
}

/// Writes a tree, the entries of its directories in an order that `seed` gives.
pub(super) fn write(
    node: &Node,
    sink: CatalogSink,
    mount: &TreePath,
    split: Split,
    seed: u64,
) -> NestedTree {
    let mut writer = TreeWriter::new(sink, mount.clone(), node.entry.clone(), split, 77).unwrap();
    entries(node, &mut writer, &mut fastrand::Rng::with_seed(seed));
    assert_eq!(writer.take_left_out(), []);
    writer.finish().unwrap()
}

fn entries(node: &Node, writer: &mut TreeWriter, random: &mut fastrand::Rng) {
    let mut below: Vec<(&Vec<u8>, &Node)> = node.below.iter().collect();
    random.shuffle(&mut below);
    for (name, node) in below {
        if node.entry.is_directory() {
            writer.enter(name, node.entry.clone()).unwrap();
            entries(node, writer, random);
            writer.leave().unwrap();
        } else {
            writer.leaf(name, node.entry.clone()).unwrap();
        }
    }
}

/// A tree that was read, with the sizes of its catalogs in rows by mountpoint.
pub(super) struct Found {
    pub(super) node: Node,
    pub(super) catalogs: BTreeMap<TreePath, u64>,
}

/// Reads a tree back, and looks whether its catalogs keep the rules.
pub(super) fn read(memory: &Arc<Memory>, root: ContentHash, scratch: &Scratch) -> Found {
    let mut catalogs = BTreeMap::new();
    let (mut node, _) = catalog(memory, root, None, scratch, &mut catalogs);
    node.settle();
    Found { node, catalogs }
}

/// As [`read`], for a tree that nothing refers to yet.
pub(super) fn read_tree(memory: &Arc<Memory>, tree: &NestedTree, scratch: &Scratch) -> Found {
    let CatalogRef { hash, size, counters } = tree.catalog;
    let found = memory.open(hash, scratch).unwrap();
    assert_eq!((found.size(), *found.counters()), (size, counters));
    assert_eq!((found.revision(), found.last_modified(), found.previous()), (1, 77, None));
    let root = found.lookup(found.mount()).unwrap().unwrap();
    assert_eq!((&root.entry, root.links), (&tree.root, tree.links));
    read(memory, hash, scratch)
}

fn catalog(
    memory: &Arc<Memory>,
    hash: ContentHash,
    parent: Option<(&Row, &NestedRef)>,
    scratch: &Scratch,
    catalogs: &mut BTreeMap<TreePath, u64>,
) -> (Node, Counts) {
    let catalog = memory.open(hash, scratch).unwrap();
    assert_eq!(verify(&catalog, parent).unwrap(), [], "{catalog:?}");
    let (mut rows, mut previous) = (0, 0);
    let each = &mut |row: Row| {
        assert!(row.id > previous);
        previous = row.id;
        rows += 1;
        Ok(())
    };
    catalog.for_each_row(each).unwrap();
    catalogs.insert(catalog.mount().clone(), rows);

    let mut below = Counts::default();
    let row = catalog.lookup(catalog.mount()).unwrap().unwrap();
    let mut reader = Reader { memory, catalog: &catalog, scratch, below: &mut below, catalogs };
    let node = reader.node(catalog.mount(), row);
    assert_eq!(catalog.counters().subtree, below, "{catalog:?}");
    (node, catalog.counters().total())
}

struct Reader<'a> {
    memory: &'a Arc<Memory>,
    catalog: &'a Catalog,
    scratch: &'a Scratch,
    below: &'a mut Counts,
    catalogs: &'a mut BTreeMap<TreePath, u64>,
}

impl Reader<'_> {
    fn node(&mut self, path: &TreePath, row: Row) -> Node {
        if row.mount == Mount::Nested {
            let nested = self.catalog.nested_at(path).unwrap().unwrap();
            let parent = Some((&row, &nested));
            let (node, counts) =
                catalog(self.memory, nested.hash, parent, self.scratch, self.catalogs);
            *self.below += counts;
            assert_eq!(node.entry, row.entry);
            return node;
        }
        let mut node = Node::new(row.entry);
        if node.entry.is_directory() {
            let mut children = Vec::new();
            let each = &mut |row: Row| {
                children.push(row);
                Ok(())
            };
            self.catalog.for_each_child(path, each).unwrap();
            for row in children.into_iter().filter(|row| row.name != MARKER) {
                let name = row.name.clone();
                let child = self.node(&path.join(&name), row);
                assert_eq!(node.below.insert(name, child), None);
            }
        }
        node
    }
}
