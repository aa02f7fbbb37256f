//! Trees that become catalogs.

use std::sync::Arc;

use proptest::prelude::*;

use super::model::{self, Node};
use super::{Memory, TIME, file, path};
use crate::catalog::{CatalogSink, MARKER, Split, TreeWriter};
use crate::entry::{Entry, EntryKind, Links};
use crate::hash::{Algorithm, ContentHash};
use crate::path::TreePath;
use crate::scratch::Scratch;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_tree_comes_back_as_it_was(
        node in model::nodes(),
        maximum in 0..40_u64,
        minimum in 0..10_u64,
        seed in any::<u64>(),
        nested in any::<bool>(),
    ) {
        let scratch = Scratch::new().unwrap();
        let memory = Arc::new(Memory::default());
        let mount = if nested { path("/.flat/ab") } else { TreePath::ROOT };
        let split = Split { maximum, minimum };
        let tree = model::write(&node, memory.sink(&scratch, 2), &mount, split, seed);
        let again = model::write(&node, memory.sink(&scratch, 1), &mount, split, !seed);
        prop_assert_eq!(&tree, &again);
        let found = model::read_tree(&memory, &tree, &scratch);
        prop_assert_eq!(found.node, node);
    }
}

fn directory(below: impl IntoIterator<Item = (String, Node)>) -> Node {
    let below = below.into_iter().map(|(name, node)| (name.into_bytes(), node)).collect();
    Node { below, ..Node::directory() }
}

fn files(count: usize) -> Node {
    let fifo = Entry { kind: EntryKind::Fifo, ..Entry::directory(0o644, TIME) };
    directory((0..count).map(|number| (format!("{number:03}"), Node::new(fifo.clone()))))
}

#[test]
fn trees_are_cut_at_their_heaviest_directories() {
    let flat = |sizes: &[usize]| {
        directory(sizes.iter().enumerate().map(|(at, &size)| (format!("d{at}"), files(size))))
    };
    let deep = directory([("usr".to_owned(), flat(&[30, 50, 20])), ("etc".to_owned(), files(9))]);
    let chain = directory([("a".to_owned(), directory([("b".to_owned(), flat(&[60, 60]))]))]);
    type Rows = &'static [(&'static str, u64)];
    let cases: [(&str, &Node, (u64, u64), Rows); 8] = [
        ("little enough", &flat(&[10, 10]), (100, 5), &[("/", 24)]),
        ("the heaviest goes first", &flat(&[10, 50, 20]), (60, 5), &[("/", 35), ("/d1", 52)]),
        ("by name, if equal", &flat(&[30, 30, 30]), (70, 5), &[("/", 65), ("/d0", 32)]),
        (
            "until little is left",
            &flat(&[10, 20, 30]),
            (15, 5),
            &[("/", 15), ("/d1", 22), ("/d2", 32)],
        ),
        (
            "not below the minimum",
            &flat(&[10, 20, 30]),
            (15, 20),
            &[("/", 15), ("/d1", 22), ("/d2", 32)],
        ),
        ("a large directory is not cut", &files(80), (10, 1), &[("/", 82)]),
        ("from below", &deep, (60, 5), &[("/", 13), ("/usr", 55), ("/usr/d1", 52)]),
        ("and at all levels", &chain, (70, 5), &[("/", 66), ("/a/b/d0", 62)]),
    ];
    let scratch = Scratch::new().unwrap();
    for (what, node, (maximum, minimum), expected) in cases {
        let memory = Arc::new(Memory::default());
        let mount = path("/m");
        let split = Split { maximum, minimum };
        let tree = model::write(node, memory.sink(&scratch, 2), &mount, split, 1);
        let found = model::read_tree(&memory, &tree, &scratch);
        assert_eq!(&found.node, node, "{what}");
        let found: Vec<(String, u64)> = found
            .catalogs
            .into_iter()
            .map(|(path, rows)| (path.to_string().replacen("/m", "", 1), rows))
            .map(|(path, rows)| (if path.is_empty() { "/".to_owned() } else { path }, rows))
            .collect();
        let expected: Vec<(String, u64)> =
            expected.iter().map(|(path, rows)| ((*path).to_owned(), *rows)).collect();
        assert_eq!(found, expected, "{what}");
    }
}

struct Writing {
    writer: TreeWriter,
    memory: Arc<Memory>,
    scratch: Scratch,
}

fn writing(split: Split) -> Writing {
    let scratch = Scratch::new().unwrap();
    let memory = Arc::new(Memory::default());
    let sink: CatalogSink = memory.sink(&scratch, 1);
    let root = Entry::directory(0o755, TIME);
    let writer = TreeWriter::new(sink, path("/m"), root, split, 77).unwrap();
    Writing { writer, memory, scratch }
}

const WHOLE: Split = Split { maximum: 1000, minimum: 1000 };

fn fifo(group: u32) -> Entry {
    let links = Links { group, count: 99 };
    Entry { kind: EntryKind::Fifo, links, ..Entry::directory(0o644, TIME) }
}

#[test]
fn what_is_no_tree_is_refused() {
    type Attempt = fn(&mut TreeWriter) -> crate::Result<()>;
    let attempts: [(Attempt, &str); 11] = [
        (|writer| writer.leaf(b"", fifo(0)), "names have 1 to 255 bytes"),
        (|writer| writer.leaf(b".", fifo(0)), "names have 1 to 255 bytes"),
        (|writer| writer.leaf(b"..", fifo(0)), "names have 1 to 255 bytes"),
        (|writer| writer.leaf(b"a/b", fifo(0)), "names have 1 to 255 bytes"),
        (|writer| writer.enter(b"a\0b", Entry::directory(0, TIME)), "names have 1 to 255 bytes"),
        (|writer| writer.leaf(&[b'x'; 256], fifo(0)), "names have 1 to 255 bytes"),
        (|writer| writer.enter(b"fifo", fifo(0)), "it is no directory"),
        (TreeWriter::leave, "more directories were left than entered"),
        (
            |writer| {
                let link = Entry { kind: EntryKind::Symlink(b"a\0b".to_vec()), ..fifo(0) };
                writer.leaf(b"link", link)
            },
            "/m/link cannot be published: there is a NUL in its target",
        ),
        (
            |writer| {
                writer.leaf(b"one", fifo(3))?;
                writer.leaf(b"two", Entry { uid: 7, ..fifo(3) })
            },
            "/m/two cannot be published: it differs from other names of its inode",
        ),
        (
            |writer| {
                writer.enter(b"open", Entry::directory(0o755, TIME))?;
                std::mem::replace(writer, writing(WHOLE).writer).finish().map(|_| ())
            },
            "the directory /m/open was not left",
        ),
    ];
    for (attempt, expected) in attempts {
        let error = attempt(&mut writing(WHOLE).writer).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should tell {expected:?}");
    }
}

#[test]
fn names_stand_once_in_a_directory() {
    type Attempt = fn(&mut TreeWriter) -> crate::Result<()>;
    let with = |writer: &mut TreeWriter| {
        writer.enter(b"name", Entry::directory(0o755, TIME))?;
        writer.leaf(b"x", fifo(0))?;
        writer.leave()
    };
    let attempts: [Attempt; 2] = [
        |writer| writer.leaf(b"name", fifo(0)),
        |writer| writer.leaf(b"name", Entry::directory(0, TIME)),
    ];
    for attempt in attempts {
        for split in [WHOLE, Split { maximum: 0, minimum: 1 }] {
            let mut writer = writing(split).writer;
            with(&mut writer).unwrap();
            attempt(&mut writer).unwrap();
            let error = writer.finish().unwrap_err().to_string();
            assert_eq!(error, "the name \"name\" is twice in one directory below /m");
        }
    }
}

#[test]
fn the_name_of_the_marker_is_left_out_and_told() {
    let Writing { mut writer, memory, scratch } = writing(Split { maximum: 1, minimum: 1 });
    writer.leaf(MARKER, fifo(0)).unwrap();
    writer.enter(b"sub", Entry::directory(0o755, TIME)).unwrap();
    writer.enter(MARKER, Entry::directory(0o755, TIME)).unwrap();
    writer.enter(b"below", Entry::directory(0o755, TIME)).unwrap();
    writer.leaf(MARKER, fifo(0)).unwrap();
    writer.leave().unwrap();
    writer.leave().unwrap();
    writer.leaf(b"x", fifo(0)).unwrap();
    writer.leaf(b"y", fifo(0)).unwrap();
    writer.leave().unwrap();
    let left_out = writer.take_left_out();
    assert_eq!(left_out, [path("/m/.cvmfscatalog"), path("/m/sub/.cvmfscatalog")]);
    let found = model::read_tree(&memory, &writer.finish().unwrap(), &scratch);
    let mut sub = Node::directory();
    for name in [b"x", b"y"] {
        sub.below.insert(name.to_vec(), Node::new(Entry { links: Links::ONE, ..fifo(0) }));
    }
    let mut expected = Node::directory();
    expected.below.insert(b"sub".to_vec(), sub);
    assert_eq!(found.node, expected);
    assert_eq!(found.catalogs.len(), 2);
}

/// Large enough for everything that happens to large trees: rows go into a file and are sorted there, the
/// database is a file, and compressed as it is read.
#[test]
fn a_huge_directory_passes_through_files() {
    const NAMES: u64 = 70_000;
    let name = |number: u64| format!("{number:0>250}").into_bytes();
    let digest = |number: u64| {
        let mut digest = [0; 20];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        ContentHash { algorithm: Algorithm::Sha1, digest }
    };
    let mut written = Vec::new();
    for seed in 0..2 {
        let Writing { mut writer, memory, scratch } = writing(WHOLE);
        let mut numbers: Vec<u64> = (0..NAMES).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut numbers);
        for number in numbers {
            let kind = EntryKind::File(file(number, digest(number)));
            writer.leaf(&name(number), Entry { kind, ..Entry::directory(0o644, TIME) }).unwrap();
        }
        let tree = writer.finish().unwrap();
        assert_eq!(tree.catalog.counters.own.regular, NAMES + 1);
        written.push(tree.catalog.hash);
        if seed == 0 {
            let found = model::read_tree(&memory, &tree, &scratch).node;
            assert_eq!(found.size() as u64, NAMES + 1);
            for (number, (found, node)) in (0..).zip(&found.below) {
                assert_eq!(found, &name(number));
                assert_eq!(node.entry.kind, EntryKind::File(file(number, digest(number))));
            }
        }
    }
    assert_eq!(written[0], written[1]);
}
