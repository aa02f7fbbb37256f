//! Catalogs that break a rule, or that are none.

use std::sync::Arc;

use super::model::{self, Node};
use super::{Memory, TIME, file, path, zlib};
use crate::catalog::{Catalog, CatalogStore as _, Counts, NestedRef, Row, Split, verify};
use crate::entry::{Chunk, Content, Entry, EntryKind, Links};
use crate::hash::{Algorithm, ContentHash};
use crate::path::TreePath;
use crate::scratch::Scratch;
use crate::{Error, Result};

struct Fixture {
    memory: Arc<Memory>,
    scratch: Scratch,
    /// A nested catalog at /m with another one at /m/deep.
    hash: ContentHash,
}

fn fixture() -> Fixture {
    let hash = ContentHash { algorithm: Algorithm::Sha1, digest: [1; 20] };
    let with = |kind| Node::new(Entry { kind, ..Entry::directory(0o644, TIME) });
    let mut root = Node::directory();
    let mut sub = Node::directory();
    let mut deep = Node::directory();
    for name in [b"a", b"b", b"c"] {
        deep.below.insert(name.to_vec(), with(EntryKind::Fifo));
    }
    sub.below.insert(b"leaf".to_vec(), with(EntryKind::Fifo));
    root.below.insert(b"deep".to_vec(), deep);
    root.below.insert(b"sub".to_vec(), sub);
    root.below.insert(b"empty".to_vec(), Node::directory());
    root.below.insert(b"file".to_vec(), with(EntryKind::File(file(5, hash))));
    root.below.insert(b"link".to_vec(), with(EntryKind::Symlink(b"file".to_vec())));
    let chunks = [0, 4].map(|offset| Chunk { offset, size: 4, hash }).to_vec();
    let mut chunked = file(8, hash);
    chunked.content = Content::Chunks(Algorithm::Sha1, chunks);
    root.below.insert(b"chunked".to_vec(), with(EntryKind::File(chunked)));
    for name in [b"one", b"two"] {
        let mut node = with(EntryKind::Fifo);
        node.entry.links = Links { group: 1, count: 2 };
        root.below.insert(name.to_vec(), node);
    }
    let scratch = Scratch::new().unwrap();
    let memory = Arc::new(Memory::default());
    let split = Split { maximum: 10, minimum: 3 };
    let tree = model::write(&root, memory.sink(&scratch, 1), &path("/m"), split, 1);
    let hash = tree.catalog.hash;
    Fixture { memory, scratch, hash }
}

impl Fixture {
    fn faults(&self, sql: &str) -> Result<Vec<String>> {
        let hash = self.memory.changed(self.hash, sql, &self.scratch);
        let catalog = self.memory.open(hash, &self.scratch)?;
        let mut faults: Vec<String> =
            verify(&catalog, None)?.iter().map(ToString::to_string).collect();
        faults.sort();
        Ok(faults)
    }
}

/// Writes out a path's hash for the statements below.
fn at(text: &str) -> String {
    let (first, second) = path(text).hash().columns();
    format!("md5path_1 = {first} AND md5path_2 = {second}")
}

#[test]
fn every_broken_rule_is_named() {
    let fixture = fixture();
    assert_eq!(fixture.faults("").unwrap(), [""; 0]);
    let set = |path: &str, what: &str| format!("UPDATE catalog SET {what} WHERE {}", at(path));
    let delete = |path: &str| format!("DELETE FROM catalog WHERE {}", at(path));
    let chunks = format!("DELETE FROM chunks WHERE offset = 4 AND {}", at("/m/chunked"));
    let cases: Vec<(String, &[&str])> = vec![
        (
            "UPDATE statistics SET value = value + 1 WHERE counter = 'self_dir'".to_owned(),
            &["it counts regular 3, symlink 1, special 3, dir 5, nested 1, chunked 1, chunks 2, \
               file_size 13, chunked_size 8, but has regular 3, symlink 1, special 3, dir 4, nested 1, \
               chunked 1, chunks 2, file_size 13, chunked_size 8"],
        ),
        (
            set("/m/sub", "hardlinks = 3"),
            &["/m/sub: its link count is 3, with its subdirectories it should be 2"],
        ),
        (
            set("/m", "hardlinks = 2"),
            &["/m: its link count is 2, with its subdirectories it should be 5"],
        ),
        (set("/m/link", "hardlinks = 0"), &["row 4 (\"link\"): its link count is 0"]),
        (
            set("/m/link", "hardlinks = 2"),
            &["row 4 (\"link\"): it has 2 hard links, but belongs to no group, or is a directory"],
        ),
        (
            set("/m/one", "hardlinks = 1"),
            &["/m/two: it has 2 hard links, but 1 are in its directory"],
        ),
        (set("/m/one", "uid = 7"), &["/m/one: it differs from other names of its inode"]),
        (
            set("/m/link", "hash = x'00'"),
            &["row 4 (\"link\"): it is no file, but has a content hash"],
        ),
        (set("/m/link", "flags = 4"), &["row 4 (\"link\"): its flags do not fit its type"]),
        (set("/m/sub", "flags = 0x10001"), &["row 4 (\"sub\"): its flags do not fit its type"]),
        (set("/m/file", "hash = NULL"), &["row 4 (\"file\"): it is a file without hash"]),
        (
            set("/m/file", "name = 'other'"),
            &["row 4 (\"other\"): its path hash is not that of its name"],
        ),
        (set("/m/file", "name = ''"), &["row 4 (\"\"): it has no name"]),
        (
            set("/m/file", "parent_1 = 0"),
            &["row 4 (\"file\"): its directory is not in this catalog"],
        ),
        (set("/m/sub", "flags = 33"), &["/m/sub: it is marked as the root of another catalog"]),
        (
            set("/m/sub", "flags = 3"),
            &[
                "/m/sub/leaf: it is below a mountpoint, in the catalog above it",
                "/m/sub: it is a mountpoint, but no catalog is named for it",
            ],
        ),
        (
            set("/m/deep", "flags = 1"),
            &["/m/deep: a catalog is named for it, but it is no mountpoint"],
        ),
        (
            "DELETE FROM nested_catalogs".to_owned(),
            &["/m/deep: it is a mountpoint, but no catalog is named for it"],
        ),
        (delete("/m/.cvmfscatalog"), &["there is no file .cvmfscatalog in its root"]),
        (
            set("/m/sub/leaf", &moved("/m/sub/.cvmfscatalog")),
            &[
                "/m/sub/.cvmfscatalog: the name .cvmfscatalog is used outside the root of a nested catalog",
            ],
        ),
        (set("/m", "flags = 1"), &["there is no proper entry for its own directory"]),
        (chunks, &["row 4 (\"chunked\"): its chunks do not cover it"]),
        (delete("/m/chunked"), &["2 rows of chunks belong to no file"]),
        (set("/m/link", "name = x'61'"), &["row 4 (\"\"): the column name is of the wrong type"]),
        (set("/m/link", "uid = 'x'"), &["row 4 (\"\"): the column uid is of the wrong type"]),
    ];
    for (sql, expected) in cases {
        let faults = fixture.faults(&sql).unwrap();
        // What also follows from the damage is not listed again: other counters, other link counts.
        let faults: Vec<String> = faults.iter().map(|fault| numbered(fault)).collect();
        for expected in expected {
            assert!(
                faults.iter().any(|fault| fault == expected),
                "{sql}: {expected}\nfound {faults:#?}"
            );
        }
    }
}

/// The columns of a name in another place.
fn moved(text: &str) -> String {
    let path = path(text);
    let (first, second) = path.hash().columns();
    let (_, name) = path.split().unwrap();
    format!("md5path_1 = {first}, md5path_2 = {second}, name = '{}'", String::from_utf8_lossy(name))
}

/// A fault with all row numbers 4.
fn numbered(fault: &str) -> String {
    match fault.strip_prefix("row ").and_then(|rest| rest.split_once(' ')) {
        Some((_, rest)) => format!("row 4 {rest}"),
        None => fault.to_owned(),
    }
}

#[test]
fn both_entries_of_a_mountpoint_are_compared() {
    let Fixture { memory, scratch, hash } = fixture();
    let parent = memory.open(hash, &scratch).unwrap();
    let good = parent.lookup(&path("/m/deep")).unwrap().unwrap();
    let nested = parent.nested_at(&path("/m/deep")).unwrap().unwrap();
    let child = memory.open(nested.hash, &scratch).unwrap();
    let other = |change: fn(&mut Row)| {
        let mut row = good.clone();
        change(&mut row);
        row
    };
    let elsewhere = NestedRef { path: path("/n"), ..nested.clone() };
    let larger = NestedRef { size: nested.size + 1, ..nested.clone() };
    let unknown = NestedRef { size: 0, ..nested.clone() };
    for (row, nested, expected) in [
        (good.clone(), &nested, None),
        (good.clone(), &unknown, None),
        (good.clone(), &elsewhere, Some("it is mounted at /n".to_owned())),
        (
            good.clone(),
            &larger,
            Some(format!(
                "its database has {} bytes, its parent says {}",
                nested.size, larger.size
            )),
        ),
        (
            other(|row| row.links += 1),
            &nested,
            Some("its entry in the parent differs in: link count".to_owned()),
        ),
        (
            other(|row| row.size = 7),
            &nested,
            Some("its entry in the parent differs in: size".to_owned()),
        ),
        (
            other(|row| row.entry.mode = 0),
            &nested,
            Some("its entry in the parent differs in: mode".to_owned()),
        ),
        (
            other(|row| row.entry.mtime.nanoseconds = None),
            &nested,
            Some("its entry in the parent differs in: time".to_owned()),
        ),
        (other(|row| row.entry.uid = 7), &nested, None),
    ] {
        let faults = verify(&child, Some((&row, nested))).unwrap();
        assert_eq!(faults.iter().map(ToString::to_string).next(), expected);
    }
}

fn corrupt<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
    match result {
        Err(error @ Error::Corrupt { .. }) => {
            let error = error.to_string();
            assert!(error.contains(expected), "{error:?} should tell {expected:?}");
        }
        other => panic!("{other:?} is not damage: {expected}"),
    }
}

#[test]
fn what_is_no_catalog_is_told() {
    let Fixture { memory, scratch, hash } = fixture();
    let good = memory.objects.lock().unwrap()[&hash].clone();
    let database = memory.open(hash, &scratch).unwrap().database().unwrap();
    let open = |stored: &[u8]| Catalog::from_stored(stored, hash, &scratch);
    corrupt(open(b""), "zlib");
    corrupt(open(&good[..good.len() / 2]), "zlib");
    corrupt(open(&[&good[..], b"x"].concat()), "bytes behind its end");
    corrupt(open(&zlib(b"")), "properties");
    corrupt(open(&zlib(b"no database")), "not a database");
    corrupt(open(&zlib(&database[..2048])), "");

    for (sql, expected) in [
        ("DROP TABLE properties", "properties"),
        ("DROP TABLE statistics", "statistics"),
        ("DROP TABLE catalog", "catalog"),
        ("ALTER TABLE catalog RENAME COLUMN mtimens TO other", "mtimens"),
        ("DELETE FROM properties", "its schema is not 2.5"),
        ("UPDATE properties SET value = '2.4' WHERE key = 'schema'", "its schema is not 2.5"),
        (
            "UPDATE properties SET value = '/a/../b' WHERE key = 'root_prefix'",
            "root_prefix is no path",
        ),
        ("DELETE FROM statistics WHERE counter = 'self_special'", "self_special is missing"),
        (
            "UPDATE statistics SET value = -1 WHERE counter = 'subtree_dir'",
            "subtree_dir is missing or",
        ),
        (
            "DROP TABLE properties; CREATE VIEW properties AS SELECT 'schema' AS key, 2.5 AS value",
            "view",
        ),
    ] {
        let hash = memory.changed(hash, sql, &scratch);
        corrupt(memory.open(hash, &scratch), expected);
    }
}

#[test]
fn damaged_rows_are_errors_and_no_panics() {
    let Fixture { memory, scratch, hash } = fixture();
    let set = |text: &str, what: &str| format!("UPDATE catalog SET {what} WHERE {}", at(text));
    for (sql, expected) in [
        (set("/m/file", "name = 'other'"), "it is in /m, but not of it"),
        (set("/m/file", "name = '..'"), "the column name holds an impossible value"),
        (set("/m/file", "size = -3"), "the column size holds an impossible value"),
        (set("/m/file", "mode = -1"), "the column mode holds an impossible value"),
        (set("/m/file", "flags = NULL"), "the column flags is of the wrong type"),
        (set("/m/file", "hash = x''"), "the column hash holds an impossible value"),
        ("UPDATE chunks SET hash = 'text'".to_owned(), "its chunks do not cover it"),
        ("DROP TABLE chunks".to_owned(), "chunks"),
    ] {
        let hash = memory.changed(hash, &sql, &scratch);
        let catalog = memory.open(hash, &scratch).unwrap();
        corrupt(catalog.for_each_child(&path("/m"), &mut |_| Ok(())), expected);
    }
    let nested = "UPDATE nested_catalogs SET sha1 = 'nonsense'";
    let catalog = memory.open(memory.changed(hash, nested, &scratch), &scratch).unwrap();
    corrupt(catalog.nested(), "a row of nested_catalogs holds no path, hash and size");
}

/// The callback of a listing can use the catalog, and what it reports comes through.
#[test]
fn listings_do_not_lock() {
    let Fixture { memory, scratch, hash } = fixture();
    let catalog = memory.open(hash, &scratch).unwrap();
    let mut seen = Counts::default();
    catalog
        .for_each_child(&path("/m"), &mut |row| {
            let path = path("/m").join(&row.name);
            assert_eq!(catalog.lookup(&path)?, Some(row));
            catalog.for_each_child(&path, &mut |_| {
                seen.special += 1;
                Ok(())
            })
        })
        .unwrap();
    assert_eq!(seen.special, 1);
    let stop = catalog.for_each_row(&mut |_| Err(Error::Stopped("enough".to_owned())));
    assert_eq!(stop.unwrap_err().to_string(), "enough");
    assert_eq!(catalog.lookup(&TreePath::ROOT).unwrap(), None);
    assert_eq!(catalog.lookup(&path("/m/deep/a")).unwrap(), None);
    assert!(memory.store_catalog(b"").is_ok());
}
