//! The queries of a catalog's database, and their answers as values.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params};

use crate::path::{PathHash, TreePath};
use crate::{Error, Result};

use super::counters::{COUNTERS, Counters, Counts, NAMES};
use super::database::{failed, text};
use super::reference::NestedRef;
use super::row::{ChunkColumns, Columns, Unfit};
use super::schema::{REVISION_NANOSECONDS, REVISION_NESTED_SIZE, REVISION_XATTR};

/// Rows that are fetched at once.
pub(super) const PAGE_ROWS: i64 = 256;
/// Bytes of a database that SQLite maps into memory, enough for an ordinary one. The rest of a larger one is read page
/// by page, so that many open catalogs do not take too much address space.
pub(super) const MAPPED: u64 = 16 << 20;

/// Which rows are wanted. Of several, no more than [`PAGE_ROWS`] come at a time: those with higher numbers than a given
/// one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Query {
    /// The one of a path.
    Lookup(PathHash),
    /// Those in a directory.
    Children(PathHash, i64),
    /// All.
    All(i64),
}

/// The statements that read rows.
pub(super) struct Statements {
    pub(super) lookup: String,
    pub(super) children: String,
    pub(super) all: String,
    /// As `all`, but all rows at once.
    pub(super) every: String,
}

const CHUNKS: &str = "SELECT offset, size, hash FROM chunks WHERE md5path_1 = ?1 AND md5path_2 = ?2 \
                      ORDER BY offset, size";

impl Statements {
    pub(super) fn new(schema_revision: i64) -> Self {
        let since = |revision, column| if schema_revision >= revision { column } else { "NULL" };
        let columns = format!(
            "SELECT rowid, md5path_1, md5path_2, parent_1, parent_2, hardlinks, hash, size, mode, mtime, \
             {}, flags, name, symlink, uid, gid, {} FROM catalog",
            since(REVISION_NANOSECONDS, "mtimens"),
            since(REVISION_XATTR, "xattr"),
        );
        let page = format!("ORDER BY rowid LIMIT {PAGE_ROWS}");
        Self {
            lookup: format!("{columns} WHERE md5path_1 = ?1 AND md5path_2 = ?2"),
            children: format!(
                "{columns} WHERE parent_1 = ?1 AND parent_2 = ?2 AND rowid > ?3 {page}"
            ),
            all: format!("{columns} WHERE rowid > ?1 {page}"),
            every: columns,
        }
    }
}

/// A row with its chunks, or why its columns do not even have the right types.
pub(super) type RawRow<'a> = Result<(&'a Columns<'a>, &'a [ChunkColumns<'a>]), Unfit>;

/// Takes a row as it is.
pub(super) type RawScan<'a> = &'a mut dyn FnMut(i64, RawRow<'_>) -> Result<ControlFlow<()>>;

/// Why a scan ended early.
pub(super) enum ScanError {
    Database(rusqlite::Error),
    Caller(Error),
}

impl ScanError {
    pub(super) fn of(self, action: &'static str, what: &str) -> Error {
        match self {
            Self::Database(cause) => failed(action, what)(cause),
            Self::Caller(error) => error,
        }
    }
}

impl From<rusqlite::Error> for ScanError {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Database(cause)
    }
}

pub(super) fn scan(
    connection: &Connection,
    statement: &str,
    values: impl Params,
    each: RawScan<'_>,
) -> Result<(), ScanError> {
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(values)?;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        // The statement has that many columns, so an error of `get_ref` does not come from the database.
        let flow = match columns_of(|at| row.get_ref(at + 1).unwrap_or(ValueRef::Null)) {
            Ok(columns) if columns.is_chunked() => {
                let chunks = chunks(connection, columns.path)?;
                let chunks: Option<Vec<_>> = chunks
                    .iter()
                    .map(|chunk| {
                        let (offset, size, hash) = chunk.as_ref()?;
                        Some(ChunkColumns { offset: *offset, size: *size, hash })
                    })
                    .collect();
                match &chunks {
                    Some(chunks) => each(id, Ok((&columns, chunks))),
                    None => each(id, Err(Unfit::Chunks)),
                }
            }
            Ok(columns) => each(id, Ok((&columns, &[]))),
            Err(unfit) => each(id, Err(unfit)),
        };
        if flow.map_err(ScanError::Caller)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The columns of a row, of which `value` gives the values in the order of the schema, if they have the types they should.
pub(super) fn columns_of<'a>(value: impl Fn(usize) -> ValueRef<'a>) -> Result<Columns<'a>, Unfit> {
    let integer = |index, name| match value(index) {
        ValueRef::Integer(value) => Ok(value),
        _ => Err(Unfit::Type(name)),
    };
    let text = |index, name| match value(index) {
        ValueRef::Text(value) => Ok(value),
        _ => Err(Unfit::Type(name)),
    };
    let blob = |index, name| match value(index) {
        ValueRef::Blob(value) => Ok(Some(value)),
        ValueRef::Null => Ok(None),
        _ => Err(Unfit::Type(name)),
    };
    let hash = |first, second, name| {
        Ok(PathHash::from_columns(integer(first, name)?, integer(second, name)?))
    };
    Ok(Columns {
        path: hash(0, 1, "md5path")?,
        parent: hash(2, 3, "parent")?,
        hardlinks: integer(4, "hardlinks")?,
        hash: blob(5, "hash")?,
        size: integer(6, "size")?,
        mode: u32::try_from(integer(7, "mode")?).map_err(|_| Unfit::Value("mode"))?,
        mtime: integer(8, "mtime")?,
        mtimens: match value(9) {
            ValueRef::Null => None,
            _ => Some(integer(9, "mtimens")?),
        },
        flags: integer(10, "flags")?,
        name: text(11, "name")?,
        symlink: text(12, "symlink")?,
        uid: integer(13, "uid")?,
        gid: integer(14, "gid")?,
        xattr: blob(15, "xattr")?,
    })
}

type ChunkRow = Option<(i64, i64, Vec<u8>)>;

/// Offset, size and hash of a chunk, if they are of their types.
pub(super) fn chunk_row<'a>(
    offset: ValueRef<'a>,
    size: ValueRef<'a>,
    hash: ValueRef<'a>,
) -> Option<(i64, i64, &'a [u8])> {
    match (offset, size, hash) {
        (ValueRef::Integer(offset), ValueRef::Integer(size), ValueRef::Blob(hash)) => {
            Some((offset, size, hash))
        }
        _ => None,
    }
}

/// The chunks of a file; `None` for a row of other types.
pub(super) fn chunks(connection: &Connection, path: PathHash) -> rusqlite::Result<Vec<ChunkRow>> {
    let (first, second) = path.columns();
    let mut statement = connection.prepare_cached(CHUNKS)?;
    let rows = statement.query_map([first, second], |row| {
        let chunk = chunk_row(row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?);
        Ok(chunk.map(|(offset, size, hash)| (offset, size, hash.to_vec())))
    })?;
    rows.collect()
}

/// The rows of `nested_catalogs` or `bind_mountpoints`; `None` stands for a row that makes no sense.
pub(super) fn references(
    connection: &Connection,
    table: &str,
    schema_revision: i64,
    path: Option<&TreePath>,
) -> rusqlite::Result<Vec<Option<NestedRef>>> {
    let size = if schema_revision >= REVISION_NESTED_SIZE { "size" } else { "NULL" };
    let filter = if path.is_some() { "WHERE path = ?1" } else { "" };
    let sql = format!("SELECT path, sha1, {size} FROM {table} {filter}");
    let mut statement = connection.prepare_cached(&sql)?;
    let read =
        |row: &rusqlite::Row<'_>| Ok(reference(row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?));
    match path {
        Some(path) => statement.query_map([text(path.as_bytes())], read)?.collect(),
        None => statement.query_map([], read)?.collect(),
    }
}

/// What a row says of a catalog that is mounted at a path, if it makes sense.
pub(super) fn reference(
    path: ValueRef<'_>,
    hash: ValueRef<'_>,
    size: ValueRef<'_>,
) -> Option<NestedRef> {
    let (ValueRef::Text(path), ValueRef::Text(hash)) = (path, hash) else { return None };
    let path = TreePath::parse(path).filter(|path| !path.is_root())?;
    let hash = std::str::from_utf8(hash).ok()?.parse().ok()?;
    let size = match size {
        ValueRef::Integer(size) => u64::try_from(size).ok()?,
        ValueRef::Null => 0,
        _ => return None,
    };
    Some(NestedRef { path, hash, size })
}

/// Switches off whatever makes SQLite do more than look up values, and lets it plan each statement once.
pub(super) fn distrust(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    // Otherwise SQLite would plan a statement with a range again for each value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(&format!(
        "PRAGMA cell_size_check = ON; PRAGMA mmap_size = {MAPPED}; PRAGMA temp_store = MEMORY;"
    ))
}

pub(super) fn properties(connection: &Connection) -> rusqlite::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut statement =
        connection.prepare("SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM properties")?;
    let rows = statement.query_map([], |row| {
        let bytes = |index| match row.get_ref(index) {
            Ok(ValueRef::Blob(bytes)) => bytes.to_vec(),
            _ => Vec::new(),
        };
        Ok((bytes(0), bytes(1)))
    })?;
    rows.collect()
}

/// A property's key or value as SQLite would cast it to bytes; `None` if that would not be the bytes themselves.
pub(super) fn property(value: ValueRef<'_>) -> Option<Vec<u8>> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        ValueRef::Null => Some(Vec::new()),
        ValueRef::Integer(_) | ValueRef::Real(_) => None,
    }
}

/// The values of the counters, by their names.
pub(super) fn counters(connection: &Connection) -> rusqlite::Result<BTreeMap<Vec<u8>, i64>> {
    let mut statement = connection.prepare("SELECT counter, value FROM statistics")?;
    let mut rows = statement.query([])?;
    let mut values = BTreeMap::new();
    while let Some(row) = rows.next()? {
        values.extend(counter_values([row.get_ref(0)?, row.get_ref(1)?]));
    }
    Ok(values)
}

/// The name and value of a counter. Others tell nothing.
pub(super) fn counter_values([name, value]: [ValueRef<'_>; 2]) -> Option<(Vec<u8>, i64)> {
    match (name, value) {
        (ValueRef::Text(name), ValueRef::Integer(value)) => Some((name.to_vec(), value)),
        _ => None,
    }
}

/// The counters, or the name of one that should be there.
pub(super) fn counters_of(
    values: &BTreeMap<Vec<u8>, i64>,
    schema_revision: i64,
) -> Result<Counters, String> {
    let counts = |prefix: &str| {
        let mut counts = [0; COUNTERS];
        for (count, (name, since)) in counts.iter_mut().zip(NAMES) {
            let name = format!("{prefix}_{name}");
            *count = match values.get(name.as_bytes()) {
                Some(value) => u64::try_from(*value).map_err(|_| name)?,
                None if schema_revision < since => 0,
                None => return Err(name),
            };
        }
        Ok(Counts::from_values(counts))
    };
    Ok(Counters { own: counts("self")?, subtree: counts("subtree")? })
}
