mod boundaries;

use std::fs::File;

use rusqlite::{Connection, MAIN_DB, types};

use super::pages::SIZE;
use super::*;

const SCHEMA: [&str; 2] = [
    "CREATE TABLE t (name TEXT, number INTEGER, content BLOB, empty TEXT, PRIMARY KEY (name));",
    "CREATE INDEX by_number ON t (number)",
];

type Row = (Vec<u8>, i64, Vec<u8>);

/// Names of up to `name` bytes, contents of up to `content` bytes.
fn rows(count: usize, name: usize, content: usize) -> Vec<Row> {
    let mut random = fastrand::Rng::with_seed((count * 31 + name * 7 + content) as u64);
    let mut bytes = |longest: usize| -> Vec<u8> {
        let length = if random.u8(..) < 20 { longest } else { random.usize(..=longest) };
        (0..length).map(|_| random.u8(1..)).collect()
    };
    let names: Vec<_> = (0..count)
        .map(|number| {
            let mut text = bytes(name);
            text.extend(format!("/{number}").into_bytes());
            (text, bytes(content))
        })
        .collect();
    let edges = [0, 1, -1, 127, 128, -128, -129, 1 << 15, -(1 << 23), 1 << 31, 1 << 40];
    let edges = [&edges[..], &[-(1 << 47), 1 << 47, i64::MAX, i64::MIN]].concat();
    let number = |row: usize| match edges.get(row) {
        Some(number) => *number,
        None => random.i64(..) >> random.u32(0..64),
    };
    let numbers: Vec<_> = (0..count).map(number).collect();
    names
        .into_iter()
        .zip(numbers)
        .map(|((name, content), number)| (name, number, content))
        .collect()
}

fn write(rows: &[Row], file: Option<File>) -> Option<Vec<u8>> {
    let template = Template::new(&SCHEMA).unwrap();
    let mut pages = template.begin(file).unwrap();
    let mut record = Record::default();
    let mut table = Table::new(template.root("t").unwrap());
    let mut by_name = Vec::new();
    let mut by_number = Vec::new();
    for (name, number, content) in rows {
        let values =
            [Value::Text(name), Value::Integer(*number), Value::Blob(content), Value::Null];
        let row = table.add(&mut pages, record.of(&values)).unwrap();
        by_name.push((name, row));
        by_number.push((*number, row));
    }
    table.finish(&mut pages).unwrap();
    by_name.sort();
    by_number.sort_unstable();
    let mut index = Index::new(template.root("sqlite_autoindex_t_1").unwrap());
    for (name, row) in by_name {
        index.add(&mut pages, record.of(&[Value::Text(name), Value::Integer(row)])).unwrap();
    }
    index.finish(&mut pages).unwrap();
    let mut index = Index::new(template.root("by_number").unwrap());
    for (number, row) in by_number {
        index.add(&mut pages, record.of(&[Value::Integer(number), Value::Integer(row)])).unwrap();
    }
    index.finish(&mut pages).unwrap();
    pages.finish().unwrap()
}

/// Opens a database with SQLite, which must find nothing wrong with it.
fn open(bytes: &[u8]) -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.deserialize_read_exact(MAIN_DB, bytes, bytes.len(), false).unwrap();
    assert_eq!(integrity(&connection), "ok");
    connection
}

fn integrity(connection: &Connection) -> String {
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

/// Fails if SQLite finds anything else than the rows.
fn compare(bytes: &[u8], rows: &[Row]) {
    let connection = open(bytes);
    let mut list = connection.prepare("SELECT name, number, content, empty FROM t").unwrap();
    let found: Vec<Row> = list
        .query_map([], |row| {
            assert_eq!(row.get_ref(3)?, types::ValueRef::Null);
            Ok((row.get_ref(0)?.as_bytes()?.to_vec(), row.get(1)?, row.get(2)?))
        })
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert!(found == rows, "{} rows", rows.len());
    drop(list);

    // Both indexes from beginning to end, which needs nothing of the table.
    let mut names: Vec<_> = rows.iter().map(|row| row.0.as_slice()).collect();
    names.sort_unstable();
    let mut numbers: Vec<_> = rows.iter().map(|row| row.1).collect();
    numbers.sort_unstable();
    let mut list = connection
        .prepare("SELECT CAST(name AS BLOB) FROM t INDEXED BY sqlite_autoindex_t_1 ORDER BY name")
        .unwrap();
    let found: Vec<Vec<u8>> =
        list.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    assert!(found == names, "the names of {} rows", rows.len());
    drop(list);
    let mut list =
        connection.prepare("SELECT number FROM t INDEXED BY by_number ORDER BY number").unwrap();
    let found: Vec<i64> =
        list.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    assert!(found == numbers, "the numbers of {} rows", rows.len());
    drop(list);

    let mut by_name = connection
        .prepare("SELECT number FROM t INDEXED BY sqlite_autoindex_t_1 WHERE name = ?1")
        .unwrap();
    let mut by_number = connection
        .prepare("SELECT count(*) FROM t INDEXED BY by_number WHERE number = ?1")
        .unwrap();
    for (name, number, _) in rows.iter().step_by(1 + rows.len() / 200) {
        let found: i64 =
            by_name.query_row([super::super::database::text(name)], |row| row.get(0)).unwrap();
        assert_eq!(found, *number);
        let same = numbers.partition_point(|other| other <= number)
            - numbers.partition_point(|other| other < number);
        let found: isize = by_number.query_row([number], |row| row.get(0)).unwrap();
        assert_eq!(found, same.cast_signed());
    }
    drop((by_name, by_number));
    // It can be changed like any other.
    connection.execute_batch("INSERT INTO t VALUES ('new', 5, x'', 'x'); DELETE FROM t;").unwrap();
    assert_eq!(integrity(&connection), "ok", "{} rows, changed", rows.len());
}

#[test]
fn sqlite_finds_the_rows() {
    let mut counts: Vec<usize> = (0..60).collect();
    // Where levels begin and end.
    counts.extend((60..3000).step_by(17));
    counts.extend([20_000]);
    for count in counts {
        let rows = rows(count, 10, 8);
        compare(&write(&rows, None).unwrap(), &rows);
    }
}

#[test]
fn long_values_overflow() {
    // The longest payloads that fit into a page, and their neighbours.
    for longest in (80..130).chain(210..250).chain(960..1010).chain([2000, 2045, 5000]) {
        let rows = rows(12, longest, longest);
        compare(&write(&rows, None).unwrap(), &rows);
    }
    let rows = rows(3000, 900, 3000);
    compare(&write(&rows, None).unwrap(), &rows);
}

#[test]
fn a_file_holds_the_same() {
    for count in [0, 5, 5000] {
        let rows = rows(count, 300, 1500);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(write(&rows, Some(file.reopen().unwrap())), None);
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes.len() % SIZE, 0);
        assert!(bytes == write(&rows, None).unwrap(), "{count} rows");
    }
}

#[test]
fn pages_are_full() {
    let rows = rows(10_000, 20, 20);
    let ours = write(&rows, None).unwrap().len();
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(&format!("PRAGMA page_size = {SIZE}")).unwrap();
    let transaction = connection.transaction().unwrap();
    transaction.execute_batch(SCHEMA[0]).unwrap();
    for (name, number, content) in &rows {
        let name = super::super::database::text(name);
        transaction
            .execute(
                "INSERT INTO t VALUES (?1, ?2, ?3, NULL)",
                rusqlite::params![name, number, content],
            )
            .unwrap();
    }
    transaction.execute_batch(SCHEMA[1]).unwrap();
    transaction.commit().unwrap();
    let theirs = connection.serialize(MAIN_DB).unwrap().len();
    assert!(ours <= theirs, "{ours} bytes, SQLite takes {theirs}");
}
