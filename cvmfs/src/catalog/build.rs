//! A new catalog database from rows.
//!
//! Two things make it fast and small. Rows come directory by directory and are appended in that order, so what
//! has much in common stands together, which listings like and compression, too. And the index of the primary
//! key, whose values are hashes and would be inserted all over the place, is made at the end in one sort: the
//! table is made without the key, gets a unique index, and then both get the names in the schema that they
//! would have had from the beginning. What comes out is the very schema, and about a twentieth smaller.

use std::fs::File;
use std::io::Read;

use flate2::write::ZlibEncoder;
use rusqlite::serialize::{Data, OwnedData};
use rusqlite::{Connection, ErrorCode, Statement, params};

use crate::entry::Chunk;
use crate::hash::ContentHash;
use crate::path::TreePath;
use crate::scratch::{Scratch, ScratchFile};
use crate::{Error, Result};

use super::counters::{Counters, Counts, NAMES};
use super::database::{failed, private, text};
use super::reader::NestedRef;
use super::row::Columns;
use super::schema::{
    CATALOG, CATALOG_INDEX, CATALOG_UNKEYED, KEY_LAST_MODIFIED, KEY_REVISION, KEY_ROOT_PREFIX,
    KEY_SCHEMA, KEY_SCHEMA_REVISION, PAGE, REVISION, SCHEMA, TABLES,
};
use super::sink::CatalogStore;

/// SQLite's cache for a database that is built in a file, and for sorting, in KiB.
const CACHE: u32 = 8 << 10;
/// Bytes of a database up to which it is compressed at once; larger ones are compressed as they are read.
const AT_ONCE: u64 = 32 << 20;

const INSERT: &str = "INSERT INTO catalog VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
const INSERT_CHUNK: &str = "INSERT INTO chunks VALUES (?1, ?2, ?3, ?4, ?5)";

/// A finished database.
pub(super) struct Database {
    place: Place,
    pub(super) size: u64,
}

enum Place {
    Memory(OwnedData),
    File(ScratchFile),
}

/// What a catalog is called and where it stands.
pub(super) struct Head<'a> {
    pub(super) mount: &'a TreePath,
    pub(super) revision: u64,
    /// Seconds since 1970.
    pub(super) modified: i64,
}

/// Takes the rows of a catalog.
pub(super) struct Inserter<'c> {
    rows: Statement<'c>,
    chunks: Statement<'c>,
    what: &'c str,
    own: Counts,
    subtree: Counts,
    nested: Vec<NestedRef>,
}

impl Inserter<'_> {
    /// Adds a row with its chunks.
    pub(super) fn add(&mut self, columns: &Columns<'_>, chunks: &[Chunk]) -> Result<()> {
        insert(&mut self.rows, columns)
            .and_then(|()| insert_chunks(&mut self.chunks, columns, chunks))
            .map_err(failed("write", self.what))?;
        self.own += Counts::of(columns, chunks.len() as u64);
        Ok(())
    }

    /// Adds a catalog that is mounted in this one; its mountpoint is a row like others.
    pub(super) fn nest(&mut self, reference: NestedRef, counters: &Counters) {
        self.subtree += counters.total();
        self.nested.push(reference);
    }
}

fn insert(statement: &mut Statement<'_>, columns: &Columns<'_>) -> rusqlite::Result<()> {
    let ((path_1, path_2), (parent_1, parent_2)) =
        (columns.path.columns(), columns.parent.columns());
    statement.execute(params![
        path_1,
        path_2,
        parent_1,
        parent_2,
        columns.hardlinks,
        columns.hash,
        columns.size,
        columns.mode,
        columns.mtime,
        columns.mtimens,
        columns.flags,
        text(columns.name),
        text(columns.symlink),
        columns.uid,
        columns.gid,
        columns.xattr,
    ])?;
    Ok(())
}

fn insert_chunks(
    statement: &mut Statement<'_>,
    columns: &Columns<'_>,
    chunks: &[Chunk],
) -> rusqlite::Result<()> {
    let (first, second) = columns.path.columns();
    for chunk in chunks {
        let (offset, size) = (chunk.offset.cast_signed(), chunk.size.cast_signed());
        statement.execute(params![first, second, offset, size, chunk.hash.digest])?;
    }
    Ok(())
}

/// Inserts a row into a catalog that is changed in place.
pub(super) fn insert_row(
    connection: &Connection,
    columns: &Columns<'_>,
    chunks: &[Chunk],
) -> rusqlite::Result<()> {
    let mut rows = connection.prepare_cached(INSERT_NAMED)?;
    insert(&mut rows, columns)?;
    let mut pieces = connection.prepare_cached(INSERT_CHUNK_NAMED)?;
    insert_chunks(&mut pieces, columns, chunks)
}

// The order of columns in a table that others made is theirs.
const INSERT_NAMED: &str = "INSERT INTO catalog (md5path_1, md5path_2, parent_1, parent_2, hardlinks, hash, \
     size, mode, mtime, mtimens, flags, name, symlink, uid, gid, xattr) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
const INSERT_CHUNK_NAMED: &str = "INSERT INTO chunks (md5path_1, md5path_2, offset, size, hash) \
     VALUES (?1, ?2, ?3, ?4, ?5)";

/// Builds a database from rows that `fill` adds directory by directory; in a file, if it will be `large`.
///
/// # Errors
/// If two rows have the same path, if there is no room, and those of `fill`.
pub(super) fn build(
    scratch: &Scratch,
    head: &Head<'_>,
    large: bool,
    fill: impl FnOnce(&mut Inserter<'_>) -> Result<()>,
) -> Result<(Database, Counters)> {
    let what = format!("the new catalog at {}", head.mount);
    let failed = failed("write", &what);
    let file = if large { Some(scratch.named()?) } else { None };
    let connection = match &file {
        Some(file) => Connection::open(file.path()),
        None => Connection::open_in_memory(),
    }
    .map_err(&failed)?;
    let begin = || {
        connection.execute_batch(&format!("PRAGMA page_size = {PAGE};"))?;
        private(&connection, CACHE)?;
        connection.execute_batch("BEGIN")?;
        connection.execute_batch(CATALOG_UNKEYED)?;
        connection.execute_batch(TABLES)
    };
    begin().map_err(&failed)?;
    let mut inserter = Inserter {
        rows: connection.prepare(INSERT).map_err(&failed)?,
        chunks: connection.prepare(INSERT_CHUNK).map_err(&failed)?,
        what: &what,
        own: Counts::default(),
        subtree: Counts::default(),
        nested: Vec::new(),
    };
    fill(&mut inserter)?;
    let counters = Counters { own: inserter.own, subtree: inserter.subtree };
    let nested = std::mem::take(&mut inserter.nested);
    drop(inserter);

    let fill_tables = || {
        for reference in &nested {
            insert_nested(&connection, reference)?;
        }
        for (key, value) in properties(head) {
            set_property(&connection, key, &value)?;
        }
        set_counters(&connection, &counters)
    };
    fill_tables().map_err(&failed)?;
    key(&connection).map_err(|cause| match cause.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => twice(&connection, head.mount),
        _ => failed(cause),
    })?;
    let place = match file {
        Some(file) => {
            connection.close().map_err(|(_, cause)| failed(cause))?;
            Place::File(file)
        }
        None => Place::Memory(serialized(connection).map_err(&failed)?),
    };
    Ok((Database::new(place, scratch)?, counters))
}

fn properties(head: &Head<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let mut properties = vec![
        (KEY_SCHEMA, SCHEMA.to_string().into_bytes()),
        (KEY_SCHEMA_REVISION, REVISION.to_string().into_bytes()),
    ];
    if !head.mount.is_root() {
        properties.push((KEY_ROOT_PREFIX, head.mount.as_bytes().to_vec()));
    }
    properties.push((KEY_LAST_MODIFIED, head.modified.to_string().into_bytes()));
    properties.push((KEY_REVISION, head.revision.to_string().into_bytes()));
    properties
}

/// Gives the table of entries its primary key and its index.
fn key(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE UNIQUE INDEX unnamed ON catalog (md5path_1, md5path_2); PRAGMA writable_schema = ON;",
    )?;
    connection.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'catalog'", [CATALOG])?;
    connection.execute_batch(
        "UPDATE sqlite_schema SET sql = NULL, name = 'sqlite_autoindex_catalog_1' WHERE name = 'unnamed'; \
         COMMIT; PRAGMA writable_schema = RESET;",
    )?;
    connection.execute_batch(CATALOG_INDEX)
}

/// The error for two rows of one path.
fn twice(connection: &Connection, mount: &TreePath) -> Error {
    let find =
        "SELECT CAST(name AS BLOB) FROM catalog GROUP BY md5path_1, md5path_2 HAVING count(*) > 1";
    let name: Vec<u8> =
        connection.query_row(find, [], |row| row.get(0)).unwrap_or_else(|_| b"?".to_vec());
    let name = String::from_utf8_lossy(&name).into_owned();
    Error::Refused(format!("the name {name:?} is twice in one directory below {mount}"))
}

/// The bytes of a database in memory.
pub(super) fn serialized(mut connection: Connection) -> rusqlite::Result<OwnedData> {
    match connection.serialize("main")? {
        Data::Owned(data) => Ok(data),
        // Only databases that were deserialized are shared, and those of this crate are not.
        Data::Shared(_) => Err(rusqlite::Error::InvalidQuery),
    }
}

pub(super) fn insert_nested(
    connection: &Connection,
    reference: &NestedRef,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO nested_catalogs (path, sha1, size) VALUES (?1, ?2, ?3)")?
        .execute(params![
            text(reference.path.as_bytes()),
            reference.hash.to_string(),
            reference.size.cast_signed(),
        ])?;
    Ok(())
}

pub(super) fn set_property(
    connection: &Connection,
    key: &str,
    value: &[u8],
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO properties (key, value) VALUES (?1, ?2)")?
        .execute(params![key, text(value)])?;
    Ok(())
}

pub(super) fn set_counters(connection: &Connection, counters: &Counters) -> rusqlite::Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT OR REPLACE INTO statistics (counter, value) VALUES (?1, ?2)")?;
    for (prefix, counts) in [("self", &counters.own), ("subtree", &counters.subtree)] {
        for ((name, _), value) in NAMES.iter().zip(counts.values()) {
            statement.execute(params![format!("{prefix}_{name}"), value.cast_signed()])?;
        }
    }
    Ok(())
}

impl Database {
    fn new(place: Place, scratch: &Scratch) -> Result<Self> {
        let size = match &place {
            Place::Memory(data) => data.len() as u64,
            Place::File(file) => {
                file.as_file().metadata().map_err(|cause| scratch.refused(cause))?.len()
            }
        };
        Ok(Self { place, size })
    }

    /// A database that was changed in place.
    pub(super) fn from_file(file: ScratchFile, scratch: &Scratch) -> Result<Self> {
        Self::new(Place::File(file), scratch)
    }

    /// Its bytes.
    pub(super) fn into_bytes(self, scratch: &Scratch) -> Result<Vec<u8>> {
        match self.place {
            Place::Memory(data) => Ok(data.to_vec()),
            Place::File(file) => std::fs::read(file.path()).map_err(|cause| scratch.refused(cause)),
        }
    }

    /// Hands it to the storage.
    pub(super) fn store(self, store: &dyn CatalogStore, scratch: &Scratch) -> Result<ContentHash> {
        let file = match self.place {
            Place::Memory(data) => return store.store_catalog(&data),
            Place::File(file) => file,
        };
        // Opened anew: the position of the other handle is anywhere.
        let open = || {
            let mut reader = File::open(file.path())?;
            if self.size > AT_ONCE {
                let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                std::io::copy(&mut reader, &mut encoder)?;
                return Ok((encoder.finish()?, true));
            }
            let mut database = Vec::with_capacity(usize::try_from(self.size).unwrap_or_default());
            reader.read_to_end(&mut database)?;
            Ok((database, false))
        };
        match open().map_err(|cause| scratch.refused(cause))? {
            (stored, true) => store.store_compressed_catalog(stored, self.size),
            (database, false) => store.store_catalog(&database),
        }
    }
}
