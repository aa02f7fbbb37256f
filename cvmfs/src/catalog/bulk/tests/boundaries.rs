//! Databases whose pages, levels, overflow pages and varints are just full, and those with a little less or more.
//!
//! All sizes follow from the size of a page, by the formulas of the file format (sections 1.6 and 2.1) and not by those
//! of the code under test. Each test checks that it reached both sides of its boundary.

use rusqlite::types::Value as Stored;

use super::*;

/// The longest payload that stands wholly in a leaf of a table.
const TABLE_LOCAL: usize = SIZE - 35;
/// … and in a page of an index.
const INDEX_LOCAL: usize = (SIZE - 12) * 64 / 255 - 23;
/// The least of a longer payload that stands there.
const LEAST_LOCAL: usize = (SIZE - 12) * 32 / 255 - 23;
/// Bytes of payload in an overflow page.
const OVERFLOW: usize = SIZE - 4;

/// Bytes before the cells' pointers.
const LEAF_HEADER: usize = 8;
const INTERIOR_HEADER: usize = 12;
/// Bytes of a cell's pointer, and of the number of a page.
const POINTER: usize = 2;
const CHILD: usize = 4;

/// How far from a boundary sizes are tried.
const AROUND: usize = 3;

/// The cells of a tree, by the number of their row.
struct Cells<'a> {
    /// Bytes of a row's cell in a leaf.
    leaf: &'a dyn Fn(usize) -> usize,
    /// Bytes of the key that divides the rows up to this one from those behind it.
    divider: &'a dyn Fn(usize) -> usize,
    /// Whether a key that divides stands in no leaf.
    moves_up: bool,
}

impl Cells<'_> {
    /// The first row behind the largest tree with this many levels above its leaves that begins with the row `first`.
    fn end(&self, levels: usize, first: usize) -> usize {
        let mut row = first;
        if levels == 0 {
            let mut room = SIZE - LEAF_HEADER;
            while let Some(rest) = room.checked_sub(POINTER + (self.leaf)(row)) {
                (room, row) = (rest, row + 1);
            }
            return row;
        }
        let mut room = SIZE - INTERIOR_HEADER;
        loop {
            row = self.end(levels - 1, row);
            let last = if self.moves_up { row } else { row - 1 };
            let Some(rest) = room.checked_sub(POINTER + CHILD + (self.divider)(last)) else {
                return row;
            };
            (room, row) = (rest, last + 1);
        }
    }
}

fn varint_length(number: usize) -> usize {
    let mut bytes = Vec::new();
    varint::put(i64::try_from(number).unwrap(), &mut bytes);
    bytes.len()
}

/// Row `number`; names are in the order of their rows.
fn row(number: usize, name: usize, content: usize) -> Row {
    let name = format!("{number:0name$}").into_bytes();
    (name, i64::try_from(number).unwrap(), vec![b'c'; content])
}

/// Bytes of a row's record.
fn payload((name, number, content): &Row) -> usize {
    let values = [Value::Text(name), Value::Integer(*number), Value::Blob(content), Value::Null];
    Record::default().of(&values).len()
}

/// Bytes of the record of a row's key in the index of names.
fn key((name, number, _): &Row) -> usize {
    Record::default().of(&[Value::Text(name), Value::Integer(*number)]).len()
}

/// How many levels a tree has above its leaves.
fn levels(database: &[u8], tree: &str) -> usize {
    let mut page = Template::new(&SCHEMA).unwrap().root(tree).unwrap() as usize;
    let mut levels = 0;
    loop {
        let bytes = &database[(page - 1) * SIZE..page * SIZE];
        match bytes[0] {
            2 | 5 => levels += 1,
            _ => return levels,
        }
        page = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
    }
}

/// Writes databases with as many rows as just fit below this many levels, and with a few less and more.
fn try_around(cells: &Cells<'_>, full: usize, tree: &str, row: &dyn Fn(usize) -> Row) {
    let most = cells.end(full, 1) - 1;
    for count in most.saturating_sub(AROUND)..=most + AROUND {
        let rows: Vec<_> = (1..=count).map(row).collect();
        let database = write(&rows, None).unwrap();
        let expected = if count > most { full + 1 } else { full };
        assert_eq!(levels(&database, tree), expected, "{tree}: {count} rows, {most} fit");
        compare(&database, &rows);
    }
}

#[test]
fn tables_get_another_level_when_their_pages_are_full() {
    // Many rows in a leaf, two, and the longest of which each has a leaf to itself, so that two levels get full.
    for (content, deepest) in [(10, 1), (400, 1), (TABLE_LOCAL - 14, 2)] {
        let row = |number| row(number, 6, content);
        let leaf = |number| {
            let payload = payload(&row(number));
            assert!(payload <= TABLE_LOCAL);
            varint_length(payload) + varint_length(number) + payload
        };
        let cells = Cells { leaf: &leaf, divider: &varint_length, moves_up: false };
        for full in 0..=deepest {
            try_around(&cells, full, "t", &row);
        }
    }
}

#[test]
fn indexes_get_another_level_when_their_pages_are_full() {
    // Many keys in a page, and four, so that four levels get full.
    for (name, deepest) in [(30, 2), (INDEX_LOCAL - 10, 4)] {
        let row = |number| row(number, name, 0);
        let cell = |number| {
            let key = key(&row(number));
            assert!(key <= INDEX_LOCAL);
            varint_length(key) + key
        };
        let cells = Cells { leaf: &cell, divider: &cell, moves_up: true };
        for full in 0..=deepest {
            try_around(&cells, full, "sqlite_autoindex_t_1", &row);
        }
    }
}

/// Lengths around those at which a payload gets another overflow page, or another share of its page: it has up to
/// three that are just full, besides the most or the least that stands in its page.
fn overflowing(local: usize) -> Vec<usize> {
    let full = (0..=3).flat_map(|pages| [local, LEAST_LOCAL].map(|here| here + pages * OVERFLOW));
    // The length itself takes another byte behind these.
    full.chain([0x7f, 0x3fff]).collect()
}

/// Writes a database for each length of a payload around the `boundaries`, and one with all of them.
fn try_lengths(boundaries: &[usize], row: &dyn Fn(usize) -> Row, payload: &dyn Fn(&Row) -> usize) {
    for boundary in boundaries {
        let near = boundary - AROUND..=boundary + AROUND;
        // What is added to the content is less than a dozen bytes.
        let lengths = near.start() - 20..=*near.end();
        let rows: Vec<_> = lengths.map(row).filter(|row| near.contains(&payload(row))).collect();
        for wanted in [*boundary, boundary + 1] {
            assert!(rows.iter().any(|row| payload(row) == wanted), "no payload of {wanted} bytes");
        }
        compare(&write(&rows, None).unwrap(), &rows);
        for row in rows {
            let row = [row];
            compare(&write(&row, None).unwrap(), &row);
        }
    }
}

#[test]
fn rows_overflow_where_the_format_says_so() {
    let row = |length| (format!("{length}").into_bytes(), 0, vec![0xcc; length]);
    try_lengths(&overflowing(TABLE_LOCAL), &row, &payload);
}

#[test]
fn keys_overflow_where_the_format_says_so() {
    let row = |length| row(0, length, 0);
    let key = |row: &Row| key(&(row.0.clone(), 1, Vec::new()));
    try_lengths(&overflowing(INDEX_LOCAL), &row, &key);
}

#[test]
fn records_have_as_many_columns_as_one_likes() {
    // The length of a record's header counts itself, and takes a second byte from 127 columns on.
    for columns in (0x7f - AROUND..=0x7f + AROUND).chain([1, 500]) {
        let names: Vec<_> = (0..columns).map(|column| format!("c{column}")).collect();
        let schema = format!("CREATE TABLE wide ({})", names.join(", "));
        let template = Template::new(&[&schema]).unwrap();
        let mut pages = template.begin(None).unwrap();
        let numbers: Vec<_> = (0..columns).map(|column| i64::try_from(column).unwrap()).collect();
        let values: Vec<_> = numbers.iter().copied().map(Value::Integer).collect();
        let mut table = Table::new(template.root("wide").unwrap());
        table.add(&mut pages, Record::default().of(&values)).unwrap();
        table.finish(&mut pages).unwrap();
        let connection = open(&pages.finish().unwrap().unwrap());
        let found: Vec<i64> = connection
            .query_row("SELECT * FROM wide", [], |row| {
                (0..columns).map(|column| row.get(column)).collect()
            })
            .unwrap();
        assert_eq!(found, numbers);
    }
}

#[test]
fn numbers_of_rows_get_longer() {
    const SCHEMA: &str = "CREATE TABLE many (one)";
    let template = Template::new(&[SCHEMA]).unwrap();
    // Where the number of the last row takes another byte. One database is enough for the longest.
    let counts = [0x7f, 0x3fff].into_iter().flat_map(|last| last - AROUND..=last + AROUND);
    for count in counts.chain([0x1f_ffff + AROUND]) {
        let count = count.cast_signed();
        let mut pages = template.begin(None).unwrap();
        let mut table = Table::new(template.root("many").unwrap());
        let mut record = Record::default();
        for _ in 0..count {
            table.add(&mut pages, record.of(&[Value::Null])).unwrap();
        }
        table.finish(&mut pages).unwrap();
        let connection = open(&pages.finish().unwrap().unwrap());
        let mut list = connection.prepare("SELECT rowid, one FROM many").unwrap();
        let mut found = list.query([]).unwrap();
        for number in 1..=count {
            let row = found.next().unwrap().expect("another row");
            assert_eq!(row.get::<_, isize>(0).unwrap(), number);
            assert_eq!(row.get::<_, Stored>(1).unwrap(), Stored::Null);
        }
        assert!(found.next().unwrap().is_none(), "more than {count} rows");
        let mut find = connection.prepare("SELECT rowid FROM many WHERE rowid = ?1").unwrap();
        for number in (count - 2 * AROUND.cast_signed()..=count).chain([1, count / 2]) {
            assert_eq!(find.query_row([number], |row| row.get::<_, isize>(0)).unwrap(), number);
        }
    }
}
