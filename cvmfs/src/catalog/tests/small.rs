//! What is read without SQLite is what SQLite reads, and what is unusual is left to it.

use std::sync::Arc;

use rusqlite::Connection;

use super::model;
use super::{Memory, TIME, path};
use crate::catalog::database::in_memory_database;
use crate::catalog::query::{Query, references, scan};
use crate::catalog::row::Row;
use crate::catalog::schema::REVISION;
use crate::catalog::small::{LARGEST, Mounted, Small};
use crate::catalog::{CatalogUpdate, NestedRef, Split};
use crate::entry::{Entry, EntryKind};
use crate::path::TreePath;
use crate::scratch::Scratch;

/// A catalog of several pages with chunks and nested catalogs, as it is written first, and after changes by SQLite.
fn databases() -> Vec<Vec<u8>> {
    let (scratch, memory) = (Scratch::new().unwrap(), Arc::new(Memory::default()));
    let root = model::links_and_chunks(4, 40, |name| vec![b'x'; name * 5 + 1]);
    let split = Split { maximum: 130, minimum: 20 };
    let tree = model::write(&root, memory.sink(&scratch, 1), &TreePath::ROOT, split, 1);
    let open = |hash| memory.open(hash, &scratch).unwrap();
    let counters = |nested: &NestedRef| Ok(*open(nested.hash).counters());
    let first = open(tree.catalog.hash);
    let mut databases = vec![first.database().unwrap()];
    let mut newest = first;
    for round in 0..3 {
        let mut update = CatalogUpdate::open(&newest, &scratch).unwrap();
        for name in 0..60 {
            let kind = EntryKind::Symlink(vec![b'y'; name]);
            let entry = Entry { kind, ..Entry::directory(0o777, TIME) };
            update.put(&path(&format!("/new{round}-{name}")), &entry).unwrap();
            update.remove(&path(&format!("/new{}-{name}", round - 1)), &counters).unwrap();
        }
        newest = open(update.finish(&*memory).unwrap().0.hash);
        databases.push(newest.database().unwrap());
    }
    databases
}

fn by_sqlite(connection: &Connection, statement: &str, values: &[i64]) -> Vec<Row> {
    let mut rows = Vec::new();
    let values = rusqlite::params_from_iter(values);
    let result = scan(connection, statement, values, &mut |id, row| {
        let (columns, chunks) = row.unwrap();
        rows.push(columns.decode(id, chunks).unwrap());
        Ok(std::ops::ControlFlow::Continue(()))
    });
    assert!(result.is_ok());
    rows
}

fn by_pages(small: &Small, query: Query) -> Vec<Row> {
    let mut rows = Vec::new();
    let result = small.scan(query, &mut |id, row| {
        let (columns, chunks) = row.unwrap();
        rows.push(columns.decode(id, chunks).unwrap());
        Ok(std::ops::ControlFlow::Continue(()))
    });
    assert!(result.is_ok());
    rows
}

#[test]
fn it_reads_what_sqlite_reads() {
    let statements = crate::catalog::query::Statements::new(REVISION);
    for database in databases() {
        assert!((20 << 10..LARGEST).contains(&database.len()), "{}", database.len());
        let (small, about) = Small::read(&database).expect("a usual database");
        let connection = in_memory_database(&database, true).unwrap();
        let all = by_sqlite(&connection, &statements.every, &[]);
        assert!(all.len() > 60, "{}", all.len());
        let mut paged = Vec::new();
        loop {
            let after = paged.last().map_or(i64::MIN, |row: &Row| row.id);
            let page = by_pages(&small, Query::All(after));
            assert_eq!(page, by_sqlite(&connection, &statements.all, &[after]));
            match page.is_empty() {
                true => break,
                false => paged.extend(page),
            }
        }
        assert_eq!(paged, all);
        for row in &all {
            let (first, second) = row.path.columns();
            assert_eq!(by_pages(&small, Query::Lookup(row.path)), std::slice::from_ref(row));
            for after in [i64::MIN, row.id] {
                assert_eq!(
                    by_pages(&small, Query::Children(row.path, after)),
                    by_sqlite(&connection, &statements.children, &[first, second, after])
                );
            }
        }
        for mounted in [Mounted::Nested, Mounted::Bind] {
            let sqlite = |path| references(&connection, mounted.table(), REVISION, path).unwrap();
            let nested = small.references(mounted, None);
            assert_eq!(nested, sqlite(None));
            assert_eq!(nested.is_empty(), mounted == Mounted::Bind);
            for at in nested.iter().flatten().map(|nested| &nested.path).chain([&path("/x")]) {
                assert_eq!(small.references(mounted, Some(at)), sqlite(Some(at)));
            }
        }
        let properties = crate::catalog::query::properties(&connection).unwrap();
        assert_eq!(about.properties, properties);
        let counters = crate::catalog::query::counters(&connection).unwrap();
        assert_eq!(about.counters, counters);
    }
}

fn changed(database: &[u8], sql: &str) -> Vec<u8> {
    let mut connection = in_memory_database(database, false).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    connection.execute_batch(sql).unwrap();
    connection.serialize("main").unwrap().to_vec()
}

#[test]
fn what_is_unusual_is_left_to_sqlite() {
    let database = databases().remove(0);
    assert!(Small::read(&changed(&database, "UPDATE catalog SET uid = 7")).is_some());
    for sql in [
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON catalog BEGIN SELECT 1; END",
        "ALTER TABLE catalog ADD other INTEGER",
        "ALTER TABLE catalog RENAME COLUMN mtimens TO other",
        "DROP TABLE statistics",
        // It does not fit into a page.
        "UPDATE catalog SET symlink = printf('%2000s', '') WHERE rowid = 5",
        "UPDATE catalog SET md5path_1 = 'text' WHERE rowid = 5",
        "INSERT INTO properties VALUES (x'01', 5)",
        "INSERT INTO statistics VALUES (printf('%2000s', ''), 5)",
        "PRAGMA page_size = 4096; VACUUM; CREATE TABLE catalog2 (a); DROP TABLE catalog",
    ] {
        let read = Small::read(&changed(&database, sql));
        // Affinity makes a text of the number.
        assert_eq!(read.is_some(), sql.starts_with("INSERT INTO properties"), "{sql}");
    }
    for (at, byte) in [(0, b's'), (16, 3), (18, 2), (19, 2), (20, 1), (31, 99), (59, 2), (92, 99)] {
        let mut database = database.clone();
        database[at] = byte;
        assert!(Small::read(&database).is_none(), "byte {at}");
    }
    assert!(Small::read(&database[..database.len() - 1024]).is_none());
    assert!(Small::read(&[]).is_none());
    let large = vec![0; LARGEST + 1];
    assert!(Small::read(&large).is_none());
}

#[test]
fn whatever_the_bytes_are_nothing_panics() {
    let mut random = fastrand::Rng::with_seed(5);
    let originals = databases();
    let (mut read, mut refused) = (0, 0);
    for round in 0..4_000 {
        let mut database = originals[round % originals.len()].clone();
        for _ in 0..random.usize(1..4) {
            // Headers and pointers of pages are what leads somewhere.
            let page = random.usize(..database.len() / 1024) * 1024;
            let end = if random.bool() { 16 } else { 1024 };
            let at = page + random.usize(..end);
            database[at] = random.u8(..);
        }
        let Some((small, _)) = Small::read(&database) else {
            refused += 1;
            continue;
        };
        read += 1;
        let scanned = small.scan(Query::All(i64::MIN), &mut |id, row| {
            if let Ok((columns, chunks)) = row {
                let _ = columns.decode(id, chunks);
            }
            Ok(std::ops::ControlFlow::Continue(()))
        });
        assert!(scanned.is_ok());
    }
    assert!(read > 500 && refused > 500, "{read} read, {refused} refused");
}
