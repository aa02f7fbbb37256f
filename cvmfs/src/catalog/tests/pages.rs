//! Catalogs whose tables and indexes are just full, and those with a row less or more, as SQLite sees them. What a
//! page holds follows from the rows, so the counts are looked for.

use rusqlite::types::Value;
use rusqlite::{Connection, MAIN_DB, params};

use super::{TIME, path};
use crate::catalog::bench::database;
use crate::catalog::row::{Columns, Location, Mount};
use crate::catalog::schema::PAGE;
use crate::entry::{Entry, EntryKind};
use crate::path::TreePath;
use crate::scratch::Scratch;

const TREES: [&str; 3] = ["catalog", "sqlite_autoindex_catalog_1", "idx_catalog_parent"];

/// A catalog of this many entries in the root directory, and their rows in order.
fn catalog(count: usize, scratch: &Scratch) -> (Connection, Vec<[Value; 16]>) {
    let entry = Entry { kind: EntryKind::Fifo, ..Entry::directory(0o644, TIME) };
    let names: Vec<_> = (0..count).map(|number| format!("{number:05}").into_bytes()).collect();
    let parent = TreePath::ROOT.hash();
    let columns: Vec<_> = names
        .iter()
        .map(|name| {
            let location = Location { path: path("/").join(name).hash(), parent, name };
            Columns::encode(location, &entry, Mount::None, 1)
        })
        .collect();
    let bytes = database(scratch, columns.iter().copied(), false).unwrap();
    let mut connection = Connection::open_in_memory().unwrap();
    connection.deserialize_read_exact(MAIN_DB, &bytes[..], bytes.len(), true).unwrap();
    (connection, columns.iter().map(values).collect())
}

fn values(columns: &Columns<'_>) -> [Value; 16] {
    let blob = |bytes: Option<&[u8]>| bytes.map_or(Value::Null, |bytes| Value::Blob(bytes.into()));
    let text = |bytes: &[u8]| Value::Text(String::from_utf8(bytes.into()).unwrap());
    let (path, parent) = (columns.path.columns(), columns.parent.columns());
    [
        path.0.into(),
        path.1.into(),
        parent.0.into(),
        parent.1.into(),
        columns.hardlinks.into(),
        blob(columns.hash),
        columns.size.into(),
        i64::from(columns.mode).into(),
        columns.mtime.into(),
        columns.mtimens.into(),
        columns.flags.into(),
        text(columns.name),
        text(columns.symlink),
        columns.uid.into(),
        columns.gid.into(),
        blob(columns.xattr),
    ]
}

/// How many levels a tree has above its leaves.
fn levels(connection: &mut Connection, tree: &str) -> usize {
    let find = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let root: u32 = connection.query_row(find, [tree], |row| row.get(0)).unwrap();
    let bytes = connection.serialize(MAIN_DB).unwrap();
    let mut page = root as usize;
    let size = PAGE as usize;
    let mut levels = 0;
    loop {
        let header = &bytes[(page - 1) * size..][..12];
        if !matches!(header[0], 2 | 5) {
            return levels;
        }
        levels += 1;
        page = u32::from_be_bytes(header[8..].try_into().unwrap()) as usize;
    }
}

/// The least count with which a tree has this many levels above its leaves.
fn first_with(wanted: usize, tree: &str, scratch: &Scratch) -> usize {
    let has = |count| levels(&mut catalog(count, scratch).0, tree) >= wanted;
    let (mut without, mut with) = (0, 1);
    while !has(with) {
        (without, with) = (with, with * 2);
    }
    while with - without > 1 {
        let middle = usize::midpoint(without, with);
        if has(middle) { with = middle } else { without = middle }
    }
    with
}

/// SQLite finds the rows in their order, and each by the indexes, and nothing wrong.
fn compare(count: usize, scratch: &Scratch) {
    let (connection, expected) = catalog(count, scratch);
    let check: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "{count} entries");
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<[Value; 16]> {
        let mut values = [const { Value::Null }; 16];
        for (column, value) in values.iter_mut().enumerate() {
            *value = row.get(column)?;
        }
        Ok(values)
    };
    let mut list = connection.prepare("SELECT * FROM catalog NOT INDEXED").unwrap();
    let found: Vec<_> = list.query_map([], read).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    assert!(found == expected, "{count} entries");
    let mut by_path = connection
        .prepare("SELECT * FROM catalog INDEXED BY sqlite_autoindex_catalog_1 WHERE md5path_1 = ?1 AND md5path_2 = ?2")
        .unwrap();
    for row in &expected {
        assert_eq!(&by_path.query_row(params![row[0], row[1]], read).unwrap(), row);
    }
    // All are in one directory, so a listing gives the keys of this index from first to last.
    let mut listing = connection
        .prepare("SELECT * FROM catalog INDEXED BY idx_catalog_parent WHERE parent_1 = ?1 AND parent_2 = ?2")
        .unwrap();
    let root = TreePath::ROOT.hash().columns();
    let found: Vec<_> = listing
        .query_map(params![root.0, root.1], read)
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert!(found == expected, "a listing of {count} entries");
}

#[test]
fn sqlite_finds_nothing_wrong_where_pages_are_full() {
    let scratch = Scratch::new().unwrap();
    for count in 0..50 {
        compare(count, &scratch);
    }
    for tree in TREES {
        for wanted in [1, 2] {
            let first = first_with(wanted, tree, &scratch);
            assert_eq!(levels(&mut catalog(first - 1, &scratch).0, tree), wanted - 1);
            for count in first - 2..=first + 2 {
                compare(count, &scratch);
            }
        }
    }
}
