//! Small catalogs, read without SQLite.
//!
//! To open a database and to prepare statements takes SQLite several times as long as a catalog with a few dozen rows
//! takes to be fetched, checked and inflated, and some hundred kilobytes of memory. A repository of a thousand images has
//! thousands of such catalogs, and a look at all of them opens them all. So the rows of a small catalog are found once,
//! in the pages of its database.
//!
//! That is done only for databases with exactly the tables that this crate makes, and only as far as nothing about them
//! is unusual. All others, and the check for damage, are SQLite's.

mod pages;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use rusqlite::types::ValueRef;

use self::pages::{Pages, Place, record};
use super::query::{
    PAGE_ROWS, Query, RawRow, RawScan, ScanError, chunk_row, columns_of, counter_values, property,
    reference,
};
use super::reference::NestedRef;
use super::row::{ChunkColumns, Unfit};
use super::schema::{CATALOG, TABLES};
use crate::path::{PathHash, TreePath};

/// The largest database that is read this way, in bytes: rows are looked for one after the other.
pub(super) const LARGEST: usize = 128 << 10;
/// About the bytes that a row takes besides the database.
const ROW: usize = 64;
/// Values in a row of the table of entries.
const COLUMNS: usize = 16;

/// A small catalog.
pub(super) struct Small {
    database: Vec<u8>,
    /// In the order of their numbers.
    rows: Vec<SmallRow>,
    /// Of each chunk the file and where the record is.
    chunks: Vec<(PathHash, Range<usize>)>,
    nested: References,
    bind_mountpoints: References,
}

/// What says where catalogs are mounted: the path as it is stored, and the reference if it makes sense.
type References = Vec<(Option<Vec<u8>>, Option<NestedRef>)>;

struct SmallRow {
    id: i64,
    path: PathHash,
    parent: PathHash,
    record: Range<usize>,
}

/// What a catalog says of itself.
pub(super) struct About {
    pub(super) properties: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) counters: BTreeMap<Vec<u8>, i64>,
}

impl Small {
    /// Reads a database; `None` if SQLite has to.
    pub(super) fn read(database: &[u8]) -> Option<(Self, About)> {
        if database.len() > LARGEST {
            return None;
        }
        let pages = Pages::of(database)?;
        let tables = pages.tables()?;
        let statements = std::iter::once(CATALOG).chain(TABLES.trim_end_matches(';').split(';'));
        let mut found = statements.map(|statement| {
            let name = statement.strip_prefix("CREATE TABLE ")?.split(' ').next()?;
            let (root, made_by) = tables.get(name.as_bytes())?;
            (*made_by == statement.as_bytes()).then_some(())?;
            pages.table(*root)
        });
        // In the order of the schema.
        let [rows, properties, chunks, nested, bind_mountpoints, statistics] =
            std::array::from_fn(|_| found.next().flatten());
        let rows = rows?.into_iter().map(|place| small_row(database, place));
        let small = Self {
            rows: rows.collect::<Option<_>>()?,
            chunks: chunks_of(database, chunks?)?,
            nested: references(database, nested?)?,
            bind_mountpoints: references(database, bind_mountpoints?)?,
            database: database.to_vec(),
        };
        let mut about = About { properties: BTreeMap::new(), counters: BTreeMap::new() };
        for (_, place) in properties? {
            let [key, value] = record(database.get(place)?)?;
            about.properties.insert(property(key)?, property(value)?);
        }
        for (_, place) in statistics? {
            about.counters.extend(counter_values(record(database.get(place)?)?));
        }
        Some((small, about))
    }

    /// The bytes of the database.
    pub(super) fn database(&self) -> &[u8] {
        &self.database
    }

    /// About the bytes that it takes.
    pub(super) fn footprint(&self) -> usize {
        self.database.len() + self.rows.len() * ROW
    }

    /// Hands out rows as the query of a database does.
    pub(super) fn scan(&self, query: Query, each: RawScan<'_>) -> Result<(), ScanError> {
        let mut left = PAGE_ROWS;
        for row in &self.rows {
            let is_meant = match query {
                Query::Lookup(path) => row.path == path,
                Query::Children(directory, after) => row.parent == directory && row.id > after,
                Query::All(after) => row.id > after,
            };
            if !is_meant {
                continue;
            }
            if left == 0 || self.hand_out(row, each).map_err(ScanError::Caller)?.is_break() {
                break;
            }
            left -= 1;
        }
        Ok(())
    }

    fn hand_out(&self, row: &SmallRow, each: RawScan<'_>) -> crate::Result<ControlFlow<()>> {
        let Some(values) = self.values::<COLUMNS>(&row.record) else {
            return each(row.id, Err(Unfit::Type("md5path")));
        };
        let columns = match columns_of(|at| values[at]) {
            Ok(columns) => columns,
            Err(unfit) => return each(row.id, Err(unfit)),
        };
        if !columns.is_chunked() {
            return each(row.id, Ok((&columns, &[])));
        }
        let mut chunks: Vec<_> = (self.chunks.iter())
            .filter(|(file, _)| *file == row.path)
            .map(|(_, record)| {
                let [.., offset, size, hash] = self.values::<5>(record)?;
                chunk_row(offset, size, hash)
            })
            .collect();
        chunks.sort_by_key(|chunk| chunk.map(|(offset, size, _)| (offset, size)));
        let chunk = |(offset, size, hash)| ChunkColumns { offset, size, hash };
        let chunks: Option<Vec<_>> = chunks.into_iter().map(|columns| columns.map(chunk)).collect();
        let raw: RawRow<'_> = match &chunks {
            Some(chunks) => Ok((&columns, chunks)),
            None => Err(Unfit::Chunks),
        };
        each(row.id, raw)
    }

    fn values<const N: usize>(&self, place: &Range<usize>) -> Option<[ValueRef<'_>; N]> {
        record(self.database.get(place.clone())?)
    }

    /// What the rows of `nested_catalogs` or `bind_mountpoints` say; `None` stands for a row that makes no sense.
    pub(super) fn references(
        &self,
        table: Mounted,
        path: Option<&TreePath>,
    ) -> Vec<Option<NestedRef>> {
        let rows = match table {
            Mounted::Nested => &self.nested,
            Mounted::Bind => &self.bind_mountpoints,
        };
        let is_meant =
            |at: &Option<Vec<u8>>| path.is_none_or(|path| at.as_deref() == Some(path.as_bytes()));
        let meant = rows.iter().filter(|(at, _)| is_meant(at));
        meant.map(|(_, reference)| reference.clone()).collect()
    }
}

/// The tables of what is mounted in a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mounted {
    /// Nested catalogs.
    Nested,
    /// Other revisions.
    Bind,
}

impl Mounted {
    /// The table's name.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Nested => "nested_catalogs",
            Self::Bind => "bind_mountpoints",
        }
    }
}

fn small_row(database: &[u8], (id, place): Place) -> Option<SmallRow> {
    let values = record::<COLUMNS>(database.get(place.clone())?)?;
    let [path, parent] = [hash(values[0], values[1])?, hash(values[2], values[3])?];
    Some(SmallRow { id, path, parent, record: place })
}

fn hash(first: ValueRef<'_>, second: ValueRef<'_>) -> Option<PathHash> {
    match (first, second) {
        (ValueRef::Integer(first), ValueRef::Integer(second)) => {
            Some(PathHash::from_columns(first, second))
        }
        _ => None,
    }
}

fn chunks_of(database: &[u8], places: Vec<Place>) -> Option<Vec<(PathHash, Range<usize>)>> {
    let chunk = |(_, place): Place| {
        let [first, second, ..] = record::<5>(database.get(place.clone())?)?;
        Some((hash(first, second)?, place))
    };
    places.into_iter().map(chunk).collect()
}

fn references(database: &[u8], places: Vec<Place>) -> Option<References> {
    let read = |(_, place): Place| {
        let [path, hash, size] = record(database.get(place)?)?;
        let at = match path {
            ValueRef::Text(at) => Some(at.to_vec()),
            _ => None,
        };
        Some((at, reference(path, hash, size)))
    };
    places.into_iter().map(read).collect()
}
