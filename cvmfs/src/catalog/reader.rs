//! Catalogs of a repository, read.
//!
//! A catalog comes from the network. Its name is the hash of its bytes and the root's name is signed, but its
//! writer need not have known the format. So every value is checked, everything that a database can bring along
//! (views, triggers, functions of its own) is switched off in SQLite, and what does not fit is an
//! [`Error::Corrupt`] that names catalog and row.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use flate2::read::ZlibDecoder;
use md5::{Digest as _, Md5};
use rusqlite::{Connection, OpenFlags};
use url::Url;

use crate::hash::{ContentHash, ObjectKind};
use crate::path::{PathHash, TreePath};
use crate::scratch::Scratch;
use crate::storage::Storage;
use crate::{Error, Result};

use super::counters::Counters;
use super::database::{IN_MEMORY, failed, in_memory_database};
use super::query::{
    MAPPED, PAGE_ROWS, Query, RawRow, RawScan, Statements, counters, counters_of, distrust,
    properties, references, scan,
};
use super::reference::NestedRef;
use super::row::{ChunkColumns, Columns, Row, Unfit};
use super::schema::{
    DEFAULT_TTL, KEY_LAST_MODIFIED, KEY_PREVIOUS, KEY_REVISION, KEY_ROOT_PREFIX, KEY_SCHEMA,
    KEY_SCHEMA_REVISION, KEY_TTL, REVISION, REVISION_BIND, SCHEMA,
};
use super::small::{About, Mounted, Small};

/// Largest database that is opened, in bytes: a hundred times what the stock tools warn of.
const MAX_DATABASE: u64 = 16 << 30;
/// About the bytes that SQLite takes for an open database, besides the database itself.
const CONNECTION: u64 = 192 << 10;
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
    source: Source,
}

/// Where its rows come from.
enum Source {
    /// The pages of the database; and SQLite as soon as somebody asks for something else than a few rows.
    Small(Box<(Small, OnceLock<Mutex<Connection>>)>),
    /// SQLite.
    Database(Mutex<Connection>),
}

/// A property that is a number.
fn number(properties: &BTreeMap<Vec<u8>, Vec<u8>>, key: &str) -> Option<f64> {
    std::str::from_utf8(properties.get(key.as_bytes())?).ok()?.trim().parse().ok()
}

#[expect(clippy::cast_possible_truncation, reason = "revisions are small whole numbers")]
fn schema_revision(properties: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<i64> {
    number(properties, KEY_SCHEMA_REVISION).map(|number| number as i64)
}

/// A database that is not trusted.
fn prepared(connection: Connection) -> rusqlite::Result<Connection> {
    distrust(&connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
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
        Self::from_stored_within(stored, hash, scratch, IN_MEMORY)
    }

    /// The same with another limit of what is held in memory, in bytes.
    pub(super) fn from_stored_within(
        stored: &[u8],
        hash: ContentHash,
        scratch: &Scratch,
        in_memory: u64,
    ) -> Result<Self> {
        let what = format!("catalog {hash}");
        let corrupt = |reason: String| Error::Corrupt { what: what.clone(), reason };
        let no_stream = |error| corrupt(format!("it is no zlib stream: {error}"));
        let mut decoder = ZlibDecoder::new(stored);
        let mut head = Vec::new();
        (&mut decoder).take(in_memory + 1).read_to_end(&mut head).map_err(no_stream)?;
        let mut size = head.len() as u64;
        let file = match size > in_memory {
            true => Some(scratch.named()?),
            false => None,
        };
        if let Some(file) = &file {
            let refused = |cause| scratch.refused(cause);
            file.as_file().write_all(&head).map_err(refused)?;
            let mut buffer = vec![0; 64 << 10];
            loop {
                let read = decoder.read(&mut buffer).map_err(no_stream)?;
                if read == 0 {
                    break;
                }
                size += read as u64;
                if size > MAX_DATABASE {
                    return Err(corrupt(format!("it inflates to more than {MAX_DATABASE} bytes")));
                }
                file.as_file().write_all(&buffer[..read]).map_err(refused)?;
            }
        }
        if decoder.total_in() != stored.len() as u64 {
            return Err(corrupt("there are bytes behind its end".to_owned()));
        }
        if file.is_none()
            && let Some((small, about)) = Small::read(&head)
            && let Some(REVISION) = schema_revision(&about.properties)
        {
            let source = Source::Small(Box::new((small, OnceLock::new())));
            return Self::new(source, about, size, hash);
        }
        let connection = match &file {
            // The name is removed when this returns; SQLite keeps the file open as long as the connection lives.
            Some(file) => Self::connect(file.path()),
            None => in_memory_database(&head, true),
        };
        let connection = connection.and_then(prepared).map_err(failed("open", &what))?;
        let about = || {
            let (properties, counters) = (properties(&connection)?, counters(&connection)?);
            Ok(About { properties, counters })
        };
        let about = about().map_err(failed("open", &what))?;
        Self::new(Source::Database(Mutex::new(connection)), about, size, hash)
    }

    fn connect(path: &Path) -> rusqlite::Result<Connection> {
        let mut uri = Url::from_file_path(path).expect("paths of scratch files are absolute");
        // Nobody else writes it, so SQLite needs no locks and no journal.
        uri.set_query(Some("mode=ro&immutable=1"));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(uri.as_str(), flags)
    }

    fn new(source: Source, about: About, size: u64, hash: ContentHash) -> Result<Self> {
        let what = format!("catalog {hash}");
        let corrupt = |reason: String| Error::Corrupt { what: what.clone(), reason };
        let About { properties, counters } = about;
        let schema = number(&properties, KEY_SCHEMA);
        if schema.is_none_or(|schema| (schema - SCHEMA).abs() > 0.0005) {
            return Err(corrupt(format!("its schema is not {SCHEMA}")));
        }
        let schema_revision = schema_revision(&properties).unwrap_or_default();
        let mount = properties.get(KEY_ROOT_PREFIX.as_bytes()).map_or(&b""[..], Vec::as_slice);
        let mount = TreePath::parse(mount)
            .ok_or_else(|| corrupt("its property root_prefix is no path".to_owned()))?;
        let counters = counters_of(&counters, schema_revision)
            .map_err(|name| corrupt(format!("the counter {name} is missing or negative")))?;
        let statements = Statements::new(schema_revision);
        if let Source::Database(connection) = &source {
            // It is needed anyway, and preparing it now shows whether a column is missing.
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            connection.prepare_cached(&statements.lookup).map_err(failed("open", &what))?;
        }
        Ok(Self {
            hash,
            size,
            shown: format!("catalog {hash} at {mount}"),
            mount,
            schema_revision,
            properties,
            counters,
            statements,
            source,
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

    /// About the bytes that it takes as long as it is open.
    pub(crate) fn footprint(&self) -> u64 {
        match &self.source {
            Source::Small(small) => small.0.footprint() as u64,
            Source::Database(_) => CONNECTION + self.size.min(MAPPED),
        }
    }

    /// The directory that it begins at, as it says itself.
    pub fn mount(&self) -> &TreePath {
        &self.mount
    }

    /// What it says about its content.
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
        self.scan(Query::Lookup(hash), &mut |id, columns, chunks| {
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

    /// Hands out the entries of a directory, in no particular order, but always in the same one. `each` may use
    /// the catalog.
    ///
    /// # Errors
    /// If a row is damaged, or is not where its name says; and those of `each`.
    pub fn for_each_child(
        &self,
        directory: &TreePath,
        each: &mut dyn FnMut(Row) -> Result<()>,
    ) -> Result<()> {
        let (names, hash) = (Names::new(directory), directory.hash());
        self.pages(&mut |after, add| self.scan(Query::Children(hash, after), add), &mut |row| {
            // A root is nobody's child, and the hash is the only thing that keeps a hostile catalog from
            // leading in circles.
            if row.path != names.hash(&row.name) {
                return Err(self.damaged(row.id, &format!("it is in {directory}, but not of it")));
            }
            each(row)
        })
    }

    /// Hands out all rows in the order of their numbers, without checking that they form a tree.
    ///
    /// # Errors
    /// If a row is damaged, and those of `each`.
    pub fn for_each_row(&self, each: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
        self.pages(&mut |after, add| self.scan(Query::All(after), add), each)
    }

    /// The catalogs that are mounted in this one.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn nested(&self) -> Result<Vec<NestedRef>> {
        self.references(Mounted::Nested, None)
    }

    /// The catalog that is mounted at a path.
    ///
    /// # Errors
    /// If the row is damaged.
    pub fn nested_at(&self, path: &TreePath) -> Result<Option<NestedRef>> {
        Ok(self.references(Mounted::Nested, Some(path))?.pop())
    }

    /// The root catalogs of other revisions that are shown in this one.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn bind_mountpoints(&self) -> Result<Vec<NestedRef>> {
        if self.schema_revision < REVISION_BIND {
            return Ok(Vec::new());
        }
        self.references(Mounted::Bind, None)
    }

    fn references(&self, table: Mounted, path: Option<&TreePath>) -> Result<Vec<NestedRef>> {
        let found = match &self.source {
            Source::Small(small) => small.0.references(table, path),
            Source::Database(connection) => {
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                references(&connection, table.table(), self.schema_revision, path)
                    .map_err(failed("read", &self.shown))?
            }
        };
        let is_there = |reference: Option<NestedRef>| {
            reference.ok_or_else(|| Error::Corrupt {
                what: self.shown.clone(),
                reason: format!("a row of {} holds no path, hash and size", table.table()),
            })
        };
        found.into_iter().map(is_there).collect()
    }

    /// Number of rows in `chunks`, over all files.
    pub(super) fn chunk_rows(&self) -> Result<u64> {
        let connection = self.lock()?;
        let count =
            connection.query_row("SELECT count(*) FROM chunks", [], |row| row.get::<_, i64>(0));
        count.map(i64::cast_unsigned).map_err(failed("read", &self.shown))
    }

    /// The bytes of the database.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub(super) fn database(&self) -> Result<Vec<u8>> {
        if let Source::Small(small) = &self.source {
            return Ok(small.0.database().to_vec());
        }
        let mut connection = self.lock()?;
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

    /// Hands out the columns of all rows as they are, including those that make no sense.
    pub(super) fn for_each_columns(
        &self,
        each: &mut dyn FnMut(i64, RawRow<'_>) -> Result<()>,
    ) -> Result<()> {
        let connection = self.lock()?;
        scan(&connection, &self.statements.every, [], &mut |id, row| {
            each(id, row)?;
            Ok(ControlFlow::Continue(()))
        })
        .map_err(|error| error.of("read", &self.shown))
    }

    fn scan(&self, query: Query, each: Scan<'_>) -> Result<()> {
        let each: RawScan<'_> = &mut |id, row| {
            let (columns, chunks) = row.map_err(|unfit| self.unfit(id, unfit))?;
            each(id, columns, chunks)
        };
        let connection = match &self.source {
            Source::Small(small) => {
                return small.0.scan(query, each).map_err(|error| error.of("read", &self.shown));
            }
            Source::Database(connection) => {
                connection.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        let Statements { lookup, children, all, .. } = &self.statements;
        let result = match query {
            Query::Lookup(path) => {
                let (first, second) = path.columns();
                scan(&connection, lookup, [first, second], each)
            }
            Query::Children(directory, after) => {
                let (first, second) = directory.columns();
                scan(&connection, children, [first, second, after], each)
            }
            Query::All(after) => scan(&connection, all, [after], each),
        };
        result.map_err(|error| error.of("read", &self.shown))
    }

    /// SQLite's view of the database.
    fn lock(&self) -> Result<MutexGuard<'_, Connection>> {
        let connection = match &self.source {
            Source::Database(connection) => connection,
            Source::Small(small) => {
                let (small, opened) = &**small;
                match opened.get() {
                    Some(connection) => connection,
                    None => {
                        let connection = in_memory_database(small.database(), true)
                            .and_then(prepared)
                            .map_err(failed("open", &self.shown))?;
                        opened.get_or_init(|| Mutex::new(connection))
                    }
                }
            }
        };
        // A reader that panicked has left nothing half done: the database is only read.
        Ok(connection.lock().unwrap_or_else(PoisonError::into_inner))
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
