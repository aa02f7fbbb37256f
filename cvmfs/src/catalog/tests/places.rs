//! A database is the same in memory and in a file.

use super::model;
use super::{Memory, TIME, path};
use crate::catalog::{Catalog, CatalogUpdate, NestedRef, Row, Split};
use crate::entry::{Entry, EntryKind};
use crate::hash::ContentHash;
use crate::path::TreePath;
use crate::scratch::Scratch;
use crate::{Error, Result};

use std::sync::Arc;

/// So small that every database becomes a file.
const NOTHING: u64 = 0;
/// So large that none does.
const EVERYTHING: u64 = 1 << 30;

/// A root catalog of some pages, with nested ones.
fn written(memory: &Arc<Memory>, scratch: &Scratch) -> ContentHash {
    let root = model::links_and_chunks(5, 100, |name| format!("target {name}").into_bytes());
    let split = Split { maximum: 350, minimum: 50 };
    model::write(&root, memory.sink(scratch, 1), &TreePath::ROOT, split, 1).catalog.hash
}

fn rows(catalog: &Catalog) -> Vec<Row> {
    let mut rows = Vec::new();
    let take = &mut |row| {
        rows.push(row);
        Ok(())
    };
    catalog.for_each_row(take).unwrap();
    rows
}

#[test]
fn a_catalog_is_read_the_same_from_memory_and_from_a_file() {
    let (scratch, memory) = (Scratch::new().unwrap(), Arc::new(Memory::default()));
    let hash = written(&memory, &scratch);
    let stored = memory.objects.lock().unwrap()[&hash].clone();
    let open = |in_memory| {
        let catalog = Catalog::from_stored_within(&stored, hash, &scratch, in_memory).unwrap();
        let files = std::fs::read_dir(scratch.path()).unwrap().count();
        assert_eq!(files, 1, "what is read is never left, and only the lock has a name");
        catalog
    };
    let in_memory = open(EVERYTHING);
    // At the limit, and just beyond it.
    for limit in [NOTHING, in_memory.size() - 1, in_memory.size()] {
        let other = open(limit);
        assert!(in_memory.size() > 16 << 10 && in_memory.size() == other.size());
        assert_eq!(rows(&in_memory), rows(&other));
        assert!(rows(&other).len() > 300);
        let nested = other.nested().unwrap();
        assert!(!nested.is_empty() && nested == in_memory.nested().unwrap());
        assert_eq!(in_memory.counters(), other.counters());
        assert_eq!(in_memory.database().unwrap(), other.database().unwrap());
        for at in ["/chunked", "/d0", "/d1/link7", "/nowhere"] {
            let looked_up = |catalog: &Catalog| catalog.lookup(&path(at)).unwrap();
            assert_eq!(looked_up(&in_memory), looked_up(&other), "{at}");
        }
        let mut children = [Vec::new(), Vec::new()];
        for (catalog, children) in [&in_memory, &other].into_iter().zip(&mut children) {
            let take = &mut |row: Row| {
                children.push(row);
                Ok(())
            };
            catalog.for_each_child(&TreePath::ROOT, take).unwrap();
        }
        assert!(children[0].len() == 6 && children[0] == children[1]);
    }
}

#[test]
fn damage_is_found_in_memory_as_in_a_file() {
    let (scratch, memory) = (Scratch::new().unwrap(), Arc::new(Memory::default()));
    let hash = written(&memory, &scratch);
    let database = memory.open(hash, &scratch).unwrap().database().unwrap();
    let page = 1024;
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut off", database[..database.len() / 2 / page * page].to_vec()),
        ("overwritten", [&database[..page], &vec![0xa5; database.len() - page]].concat()),
    ] {
        let stored = super::zlib(&bytes);
        for in_memory in [NOTHING, EVERYTHING] {
            let all = || -> Result<usize> {
                let catalog = Catalog::from_stored_within(&stored, hash, &scratch, in_memory)?;
                let mut rows = 0;
                let take = &mut |_| {
                    rows += 1;
                    Ok(())
                };
                catalog.for_each_row(take)?;
                Ok(rows)
            };
            let error = all().expect_err(what);
            assert!(matches!(error, Error::Corrupt { .. }), "{what}: {error:?}");
        }
    }
}

#[test]
fn a_change_gives_the_same_catalog_in_memory_and_in_a_file() {
    let (scratch, memory) = (Scratch::new().unwrap(), Arc::new(Memory::default()));
    let hash = written(&memory, &scratch);
    let catalog = memory.open(hash, &scratch).unwrap();
    let counters = |nested: &NestedRef| Ok(*memory.open(nested.hash, &scratch).unwrap().counters());
    let nested = catalog.nested().unwrap();
    let plain = (0..5).map(|at| path(&format!("/d{at}")));
    let plain: Vec<_> = plain.filter(|at| nested.iter().all(|nested| nested.path != *at)).collect();
    let changed = |in_memory, removed: &[TreePath]| {
        let mut update = CatalogUpdate::open_within(&catalog, &scratch, in_memory).unwrap();
        for path in removed {
            assert!(update.remove(path, &counters).unwrap());
        }
        let entry = Entry { kind: EntryKind::Fifo, ..Entry::directory(0o600, TIME) };
        for name in 0..50 {
            update.put(&path(&format!("/new{name}")), &entry).unwrap();
        }
        update.set_property("property", "value");
        update.finish(&*memory).unwrap().0
    };
    let (first, rest) = plain.split_first().unwrap();
    // With few pages free, and with so many that the database is written anew.
    for removed in
        [std::slice::from_ref(&nested[0].path), std::slice::from_ref(first), rest, &plain]
    {
        let (one, other) = (changed(EVERYTHING, removed), changed(NOTHING, removed));
        assert_eq!((one.hash, one.size, one.counters), (other.hash, other.size, other.counters));
        let read = memory.open(one.hash, &scratch).unwrap();
        assert_eq!(read.get("property"), Some("value"));
        assert!(removed.iter().all(|path| read.lookup(path).unwrap().is_none()));
    }
    assert!(changed(EVERYTHING, &plain).size < catalog.size());
}
