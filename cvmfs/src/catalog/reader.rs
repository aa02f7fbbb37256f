//! Catalogs of a repository, read.
//!
//! A catalog comes from the network. Its name is the hash of its bytes and the root's name is signed, but
//! nothing here relies on that its writer knew the format: every value is checked, SQLite runs with what a
//! database can bring along (views, triggers, its own functions) switched off, and what does not fit gives
//! [`Error::Corrupt`], which names catalog and row.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::read::ZlibDecoder;
use md5::{Digest as _, Md5};
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Params};
use url::Url;

use crate::hash::{ContentHash, ObjectKind};
use crate::path::{PathHash, TreePath};
use crate::scratch::Scratch;
use crate::storage::Storage;
use crate::{Error, Result};

use super::counters::{COUNTERS, Counters, Counts, NAMES};
use super::database::failed;
use super::row::{ChunkColumns, Columns, Row, Unfit};
use super::schema::{
    DEFAULT_TTL, KEY_LAST_MODIFIED, KEY_PREVIOUS, KEY_REVISION, KEY_ROOT_PREFIX, KEY_SCHEMA,
    KEY_SCHEMA_REVISION, KEY_TTL, REVISION_BIND, REVISION_NANOSECONDS, REVISION_NESTED_SIZE,
    REVISION_XATTR, SCHEMA,
};

/// Largest database that is opened, in bytes: a hundred times what the stock tools warn of.
const MAX_DATABASE: u64 = 16 << 30;
/// Rows that are fetched at once. No lock is held while the caller looks at them.
const PAGE_ROWS: i64 = 256;
/// Bytes of the database that SQLite may map into memory.
const MAPPED: u64 = 1 << 30;
/// Prepared statements that are kept.
const STATEMENTS: usize = 8;

/// A catalog, read-only. Any number of threads can read it.
pub struct Catalog {
    hash: ContentHash,
    size: u64,
    shown: String,
    mount: TreePath,
    schema_revision: i64,
    properties: BTreeMap<Vec<u8>, Vec<u8>>,
    counters: Counters,
    statements: Statements,
    connection: Mutex<Connection>,
}

/// A catalog that is mounted in another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestedRef {
    /// Its mountpoint.
    pub path: TreePath,
    /// Its object.
    pub hash: ContentHash,
    /// Bytes of its uncompressed database; 0 if its parent does not say.
    pub size: u64,
}

/// The statements that read rows.
pub(super) struct Statements {
    pub(super) lookup: String,
    pub(super) children: String,
    all: String,
    /// As `all`, but in one go.
    every: String,
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

impl Catalog {
    /// Fetches a catalog from its repository.
    ///
    /// # Errors
    /// If it is missing, damaged, or no catalog.
    pub fn load(storage: &Storage, hash: ContentHash, scratch: &Scratch) -> Result<Arc<Self>> {
        let stored = storage.get(hash.object(ObjectKind::Catalog))?;
        Self::from_stored(&stored, hash, scratch).map(Arc::new)
    }

    /// Opens a catalog from the bytes of its object, which the caller has compared with the hash.
    ///
    /// # Errors
    /// If it is damaged or no catalog.
    pub fn from_stored(stored: &[u8], hash: ContentHash, scratch: &Scratch) -> Result<Self> {
        let corrupt = |reason: String| Error::Corrupt { what: format!("catalog {hash}"), reason };
        let file = scratch.named()?;
        let mut decoder = ZlibDecoder::new(stored);
        let mut size = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = decoder
                .read(&mut buffer)
                .map_err(|error| corrupt(format!("it is no zlib stream: {error}")))?;
            if read == 0 {
                break;
            }
            size += read as u64;
            if size > MAX_DATABASE {
                return Err(corrupt(format!("it inflates to more than {MAX_DATABASE} bytes")));
            }
            file.as_file().write_all(&buffer[..read]).map_err(|cause| scratch.refused(cause))?;
        }
        if decoder.total_in() != stored.len() as u64 {
            return Err(corrupt("there are bytes behind its end".to_owned()));
        }
        // SQLite keeps the file open; without a name it goes with the connection, whatever happens.
        Self::open(file.path(), size, hash)
    }

    fn open(path: &std::path::Path, size: u64, hash: ContentHash) -> Result<Self> {
        let what = format!("catalog {hash}");
        let corrupt = |reason: String| Error::Corrupt { what: what.clone(), reason };
        let failed = failed("open", &what);
        let mut uri = Url::from_file_path(path).map_err(|()| {
            Error::Refused(format!("{} is no absolute path; set TMPDIR to one", path.display()))
        })?;
        // Nobody else writes it: no locks, no look for a journal.
        uri.set_query(Some("mode=ro&immutable=1"));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri.as_str(), flags).map_err(&failed)?;
        distrust(&connection).map_err(&failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);

        let properties = properties(&connection).map_err(&failed)?;
        let number = |key: &str| -> Option<f64> {
            std::str::from_utf8(properties.get(key.as_bytes())?).ok()?.trim().parse().ok()
        };
        if number(KEY_SCHEMA).is_none_or(|schema| (schema - SCHEMA).abs() > 0.0005) {
            return Err(corrupt(format!("its schema is not {SCHEMA}")));
        }
        #[expect(clippy::cast_possible_truncation, reason = "revisions are small whole numbers")]
        let schema_revision = number(KEY_SCHEMA_REVISION).unwrap_or_default() as i64;
        let mount = properties.get(KEY_ROOT_PREFIX.as_bytes()).map_or(&b""[..], Vec::as_slice);
        let mount = TreePath::parse(mount)
            .ok_or_else(|| corrupt("its property root_prefix is no path".to_owned()))?;
        let counters = counters(&connection, schema_revision)
            .map_err(&failed)?
            .map_err(|name| corrupt(format!("the counter {name} is missing or negative")))?;
        Ok(Self {
            hash,
            size,
            shown: format!("catalog {hash} at {mount}"),
            mount,
            schema_revision,
            properties,
            counters,
            statements: Statements::new(schema_revision),
            connection: Mutex::new(connection),
        })
    }

    /// Its object.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Bytes of its database.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The directory that it begins at, as it says itself.
    pub fn mount(&self) -> &TreePath {
        &self.mount
    }

    /// What it says of its content.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A property as text; `None` if there is none, or if it is no UTF-8.
    pub fn get(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.properties.get(key.as_bytes())?).ok()
    }

    /// Its revision: the repository's if it is the root catalog, else a count of its own. 0 if it does not
    /// say.
    pub fn revision(&self) -> u64 {
        self.get(KEY_REVISION).and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// When it was written, in seconds since 1970; 0 if it does not say.
    pub fn last_modified(&self) -> i64 {
        self.get(KEY_LAST_MODIFIED).and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// The catalog that it follows. Stock tools write forty zeros for the first of a nested directory.
    pub fn previous(&self) -> Option<ContentHash> {
        let hash: ContentHash = self.get(KEY_PREVIOUS)?.parse().ok()?;
        (hash.digest != [0; 20]).then_some(hash)
    }

    /// How long clients may keep the revision, in seconds.
    pub fn ttl(&self) -> u64 {
        self.get(KEY_TTL).and_then(|value| value.parse().ok()).unwrap_or(DEFAULT_TTL)
    }

    /// The revision of its schema; 7 is the newest that is known.
    pub fn schema_revision(&self) -> i64 {
        self.schema_revision
    }

    /// The entry of a path, in this catalog alone.
    ///
    /// # Errors
    /// If its row is damaged.
    pub fn lookup(&self, path: &TreePath) -> Result<Option<Row>> {
        let hash = path.hash();
        let (parent, name) = match path.split() {
            Some((directory, name)) => (directory.hash(), name),
            None => (PathHash::NONE, &b""[..]),
        };
        let mut found = None;
        let (first, second) = hash.columns();
        self.scan(&self.statements.lookup, [first, second], &mut |id, columns, chunks| {
            let row = columns.decode(id, chunks).map_err(|unfit| self.unfit(id, unfit))?;
            if row.parent != parent || row.name != name {
                return Err(
                    self.damaged(id, &format!("it stands at the hash of {path}, but is not it"))
                );
            }
            found = Some(row);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Hands out what stands in a directory, in no particular order but the same each time. `each` can use
    /// the catalog.
    ///
    /// # Errors
    /// If a row is damaged, or is not where its name says; and those of `each`.
    pub fn for_each_child(
        &self,
        directory: &TreePath,
        each: &mut dyn FnMut(Row) -> Result<()>,
    ) -> Result<()> {
        let names = Names::new(directory);
        let (first, second) = directory.hash().columns();
        self.pages(
            &mut |after, add| self.scan(&self.statements.children, [first, second, after], add),
            &mut |row| {
                // A root is nobody's child, and the hash is the only thing that keeps a hostile catalog from
                // leading in circles.
                if row.path != names.hash(&row.name) {
                    return Err(
                        self.damaged(row.id, &format!("it is in {directory}, but not of it"))
                    );
                }
                each(row)
            },
        )
    }

    /// Hands out all rows in the order of their numbers. Whether they hang together is not looked at.
    ///
    /// # Errors
    /// If a row is damaged, and those of `each`.
    pub fn for_each_row(&self, each: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
        self.pages(&mut |after, add| self.scan(&self.statements.all, [after], add), each)
    }

    /// The catalogs that are mounted in this one.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn nested(&self) -> Result<Vec<NestedRef>> {
        self.references("nested_catalogs", None)
    }

    /// The catalog that is mounted at a path.
    ///
    /// # Errors
    /// If the row is damaged.
    pub fn nested_at(&self, path: &TreePath) -> Result<Option<NestedRef>> {
        Ok(self.references("nested_catalogs", Some(path))?.pop())
    }

    /// The root catalogs of other revisions that are shown in this one.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn bind_mountpoints(&self) -> Result<Vec<NestedRef>> {
        if self.schema_revision < REVISION_BIND {
            return Ok(Vec::new());
        }
        self.references("bind_mountpoints", None)
    }

    fn references(&self, table: &str, path: Option<&TreePath>) -> Result<Vec<NestedRef>> {
        let connection = self.lock();
        references(&connection, table, self.schema_revision, path)
            .map_err(failed("read", &self.shown))?
            .into_iter()
            .map(|reference| {
                reference.ok_or_else(|| Error::Corrupt {
                    what: self.shown.clone(),
                    reason: format!("a row of {table} holds no path, hash and size"),
                })
            })
            .collect()
    }

    /// Number of rows in `chunks`, of whatever file.
    pub(super) fn chunk_rows(&self) -> Result<u64> {
        let connection = self.lock();
        let count =
            connection.query_row("SELECT count(*) FROM chunks", [], |row| row.get::<_, i64>(0));
        count.map(i64::cast_unsigned).map_err(failed("read", &self.shown))
    }

    /// The bytes of the database.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub(super) fn database(&self) -> Result<Vec<u8>> {
        let mut connection = self.lock();
        let data = connection.serialize("main").map_err(failed("read", &self.shown))?;
        Ok(data.to_vec())
    }

    /// Goes through rows page by page, so that nothing is locked while the caller works on one.
    fn pages(
        &self,
        page: &mut dyn FnMut(i64, Scan<'_>) -> Result<()>,
        each: &mut dyn FnMut(Row) -> Result<()>,
    ) -> Result<()> {
        let mut rows: Vec<Row> = Vec::new();
        let mut after = i64::MIN;
        loop {
            page(after, &mut |id, columns, chunks| {
                rows.push(columns.decode(id, chunks).map_err(|unfit| self.unfit(id, unfit))?);
                Ok(ControlFlow::Continue(()))
            })?;
            let full = i64::try_from(rows.len()) == Ok(PAGE_ROWS);
            after = rows.last().map_or(after, |row| row.id);
            for row in rows.drain(..) {
                each(row)?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Hands out all rows with their columns as they are, those included that make no sense.
    pub(super) fn for_each_columns(
        &self,
        each: &mut dyn FnMut(i64, Result<(&Columns<'_>, &[ChunkColumns<'_>]), Unfit>) -> Result<()>,
    ) -> Result<()> {
        let connection = self.lock();
        scan(&connection, &self.statements.every, [], &mut |id, row| {
            each(id, row)?;
            Ok(ControlFlow::Continue(()))
        })
        .map_err(|error| error.of("read", &self.shown))
    }

    fn scan(&self, statement: &str, values: impl Params, each: Scan<'_>) -> Result<()> {
        let connection = self.lock();
        scan(&connection, statement, values, &mut |id, row| {
            let (columns, chunks) = row.map_err(|unfit| self.unfit(id, unfit))?;
            each(id, columns, chunks)
        })
        .map_err(|error| error.of("read", &self.shown))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic of another reader leaves nothing half done in a database that is only read.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unfit(&self, id: i64, unfit: Unfit) -> Error {
        self.damaged(id, &unfit.to_string())
    }

    fn damaged(&self, id: i64, reason: &str) -> Error {
        let what = format!("row {id} of {}", self.shown);
        Error::Corrupt { what, reason: reason.to_owned() }
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The hashes of the names in one directory: the hash of the path up to the name is computed once.
pub(super) struct Names(Md5);

impl Names {
    pub(super) fn new(directory: &TreePath) -> Self {
        Self(Md5::new().chain_update(directory.as_bytes()).chain_update(b"/"))
    }

    pub(super) fn hash(&self, name: &[u8]) -> PathHash {
        PathHash(self.0.clone().chain_update(name).finalize().into())
    }
}

/// Takes a row and its chunks.
type Scan<'a> =
    &'a mut dyn FnMut(i64, &Columns<'_>, &[ChunkColumns<'_>]) -> Result<ControlFlow<()>>;

/// Takes a row, or why its columns have not even the right types.
type RawScan<'a> = &'a mut dyn FnMut(
    i64,
    Result<(&Columns<'_>, &[ChunkColumns<'_>]), Unfit>,
) -> Result<ControlFlow<()>>;

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
        let flow = match columns(row)? {
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

/// The columns of a row of one of [`Statements`], if they have the types they should.
fn columns<'a>(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Result<Columns<'a>, Unfit>> {
    // The number of columns is that of the statement, so an error of `get_ref` is none of the database.
    let values = |from: usize| row.get_ref(from);
    let integer = |index, name| match values(index) {
        Ok(ValueRef::Integer(value)) => Ok(value),
        _ => Err(Unfit::Type(name)),
    };
    let text = |index, name| match values(index) {
        Ok(ValueRef::Text(value)) => Ok(value),
        _ => Err(Unfit::Type(name)),
    };
    let blob = |index, name| match values(index) {
        Ok(ValueRef::Blob(value)) => Ok(Some(value)),
        Ok(ValueRef::Null) => Ok(None),
        _ => Err(Unfit::Type(name)),
    };
    let hash = |first, second, name| {
        Ok(PathHash::from_columns(integer(first, name)?, integer(second, name)?))
    };
    let read = || {
        Ok(Columns {
            path: hash(1, 2, "md5path")?,
            parent: hash(3, 4, "parent")?,
            hardlinks: integer(5, "hardlinks")?,
            hash: blob(6, "hash")?,
            size: integer(7, "size")?,
            mode: u32::try_from(integer(8, "mode")?).map_err(|_| Unfit::Value("mode"))?,
            mtime: integer(9, "mtime")?,
            mtimens: match values(10) {
                Ok(ValueRef::Null) => None,
                _ => Some(integer(10, "mtimens")?),
            },
            flags: integer(11, "flags")?,
            name: text(12, "name")?,
            symlink: text(13, "symlink")?,
            uid: integer(14, "uid")?,
            gid: integer(15, "gid")?,
            xattr: blob(16, "xattr")?,
        })
    };
    Ok(read())
}

type ChunkRow = Option<(i64, i64, Vec<u8>)>;

/// The chunks of a file; `None` for a row of other types.
pub(super) fn chunks(connection: &Connection, path: PathHash) -> rusqlite::Result<Vec<ChunkRow>> {
    let (first, second) = path.columns();
    let mut statement = connection.prepare_cached(CHUNKS)?;
    let rows = statement.query_map([first, second], |row| {
        Ok(match (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?) {
            (ValueRef::Integer(offset), ValueRef::Integer(size), ValueRef::Blob(hash)) => {
                Some((offset, size, hash.to_vec()))
            }
            _ => None,
        })
    })?;
    rows.collect()
}

/// The rows of `nested_catalogs` or `bind_mountpoints`; `None` for one that makes no sense.
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
    let read = |row: &rusqlite::Row<'_>| {
        let size = match row.get_ref(2)? {
            ValueRef::Integer(size) => u64::try_from(size).ok(),
            ValueRef::Null => Some(0),
            _ => None,
        };
        let (ValueRef::Text(path), ValueRef::Text(hash)) = (row.get_ref(0)?, row.get_ref(1)?)
        else {
            return Ok(None);
        };
        let hash = std::str::from_utf8(hash).ok().and_then(|hash| hash.parse().ok());
        Ok(match (TreePath::parse(path), hash, size) {
            (Some(path), Some(hash), Some(size)) if !path.is_root() => {
                Some(NestedRef { path, hash, size })
            }
            _ => None,
        })
    };
    match path {
        Some(path) => {
            statement.query_map([super::database::text(path.as_bytes())], read)?.collect()
        }
        None => statement.query_map([], read)?.collect(),
    }
}

/// Switches off all that makes SQLite do more than look up values.
pub(super) fn distrust(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
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

/// The counters, or the name of one that should be there.
pub(super) fn counters(
    connection: &Connection,
    schema_revision: i64,
) -> rusqlite::Result<Result<Counters, String>> {
    let mut statement = connection.prepare("SELECT counter, value FROM statistics")?;
    let mut rows = statement.query([])?;
    let mut values = BTreeMap::new();
    while let Some(row) = rows.next()? {
        if let (ValueRef::Text(name), ValueRef::Integer(value)) = (row.get_ref(0)?, row.get_ref(1)?)
        {
            values.insert(name.to_vec(), value);
        }
    }
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
    let both = || Ok(Counters { own: counts("self")?, subtree: counts("subtree")? });
    Ok(both())
}
