//! A new catalog database from rows.
//!
//! Rows come directory by directory and are stored in that order. So similar rows are neighbours, which makes listings
//! fast and the database compress well. The keys of the indexes are collected meanwhile and sorted at the end.

use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;

use flate2::write::ZlibEncoder;
use rusqlite::Connection;

use crate::entry::Chunk;
use crate::hash::ContentHash;
use crate::path::TreePath;
use crate::scratch::{Scratch, ScratchFile};
use crate::{Error, Result};

use super::bulk::{Index, Pages, Record, Table, Template, Value};
use super::counters::{Counters, Counts, NAMES};
use super::database::{failed, in_memory_database};
use super::reference::NestedRef;
use super::row::Columns;
use super::schema::{
    CATALOG, CATALOG_INDEX, KEY_LAST_MODIFIED, KEY_REVISION, KEY_ROOT_PREFIX, KEY_SCHEMA,
    KEY_SCHEMA_REVISION, REVISION, SCHEMA, TABLES,
};
use super::store::CatalogStore;

/// Largest database, in bytes, that is compressed in one go; larger ones are compressed while they are read.
const AT_ONCE: u64 = 32 << 20;

/// A finished database.
pub(super) struct Database {
    bytes: DatabaseBytes,
    pub(super) size: u64,
}

enum DatabaseBytes {
    Memory(Vec<u8>),
    File(ScratchFile),
}

/// What a catalog says of itself.
pub(super) struct Head<'a> {
    pub(super) mount: &'a TreePath,
    pub(super) revision: u64,
    /// Seconds since 1970.
    pub(super) modified: i64,
}

/// Takes the rows of a catalog.
pub(super) struct Inserter<'a> {
    scratch: &'a Scratch,
    output: Output<'a>,
    rows: Table,
    chunks: Table,
    /// The path of each row, with the row's number.
    paths: Vec<[i64; 3]>,
    /// The path of each row's directory, with the row's number.
    parents: Vec<[i64; 3]>,
    /// Of each chunk the path of its file, its offset and size, and the number of its row.
    pieces: Vec<[i64; 5]>,
    own: Counts,
    subtree: Counts,
    nested: Vec<NestedRef>,
}

/// The database that is being written.
struct Output<'a> {
    template: &'a Template,
    pages: Pages,
    record: Record,
}

/// Whether no key occurs twice.
type Unique = bool;

impl<'a> Inserter<'a> {
    fn new(template: &'a Template, scratch: &'a Scratch, file: Option<File>) -> io::Result<Self> {
        let pages = template.begin(file)?;
        Ok(Self {
            scratch,
            output: Output { template, pages, record: Record::default() },
            rows: Table::new(template.root("catalog")?),
            chunks: Table::new(template.root("chunks")?),
            paths: Vec::new(),
            parents: Vec::new(),
            pieces: Vec::new(),
            own: Counts::default(),
            subtree: Counts::default(),
            nested: Vec::new(),
        })
    }

    /// Adds a row with its chunks.
    pub(super) fn add(&mut self, columns: &Columns<'_>, chunks: &[Chunk]) -> Result<()> {
        self.put(columns, chunks).map_err(|cause| self.scratch.refused(cause))?;
        self.own += Counts::of(columns, chunks.len() as u64);
        Ok(())
    }

    fn put(&mut self, columns: &Columns<'_>, chunks: &[Chunk]) -> io::Result<()> {
        let (path, parent) = (columns.path.columns(), columns.parent.columns());
        let row = [
            Value::Integer(path.0),
            Value::Integer(path.1),
            Value::Integer(parent.0),
            Value::Integer(parent.1),
            Value::Integer(columns.hardlinks),
            columns.hash.map_or(Value::Null, Value::Blob),
            Value::Integer(columns.size),
            Value::Integer(columns.mode.into()),
            Value::Integer(columns.mtime),
            columns.mtimens.map_or(Value::Null, Value::Integer),
            Value::Integer(columns.flags),
            Value::Text(columns.name),
            Value::Text(columns.symlink),
            Value::Integer(columns.uid),
            Value::Integer(columns.gid),
            columns.xattr.map_or(Value::Null, Value::Blob),
        ];
        let number = self.output.row(&mut self.rows, &row)?;
        self.paths.push([path.0, path.1, number]);
        self.parents.push([parent.0, parent.1, number]);
        for chunk in chunks {
            let (offset, size) = (chunk.offset.cast_signed(), chunk.size.cast_signed());
            let [a, b, c, d] = [path.0, path.1, offset, size].map(Value::Integer);
            let row = [a, b, c, d, Value::Blob(&chunk.hash.digest)];
            let number = self.output.row(&mut self.chunks, &row)?;
            self.pieces.push([path.0, path.1, offset, size, number]);
        }
        Ok(())
    }

    /// Adds a catalog that is mounted in this one. Its mountpoint is added as a row like any other.
    pub(super) fn nest(&mut self, reference: NestedRef, counters: &Counters) {
        self.subtree += counters.total();
        self.nested.push(reference);
    }

    /// Writes the indexes and the other tables. Returns the database if it is in memory, the counters, and whether
    /// no path occurs twice.
    fn finish(self, head: &Head<'_>) -> io::Result<(Option<Vec<u8>>, Counters, Unique)> {
        let Self { mut output, rows, chunks, paths, parents, pieces, own, subtree, nested, .. } =
            self;
        rows.finish(&mut output.pages)?;
        chunks.finish(&mut output.pages)?;
        let unique = output.index("sqlite_autoindex_catalog_1", paths)?;
        output.index("idx_catalog_parent", parents)?;
        output.index("sqlite_autoindex_chunks_1", pieces)?;

        let hashes: Vec<_> = nested.iter().map(|nested| nested.hash.to_string()).collect();
        let references = nested.iter().zip(&hashes).map(|(nested, hash)| {
            let size = Value::Integer(nested.size.cast_signed());
            (nested.path.as_bytes(), vec![Value::Text(hash.as_bytes()), size])
        });
        output.named("nested_catalogs", references.collect())?;
        let properties = properties(head);
        let properties =
            (properties.iter()).map(|(key, value)| (key.as_bytes(), vec![Value::Text(value)]));
        output.named("properties", properties.collect())?;
        let counters = Counters { own, subtree };
        let statistics = statistics(&counters);
        let statistics = (statistics.iter())
            .map(|(name, value)| (name.as_bytes(), vec![Value::Integer(*value)]));
        output.named("statistics", statistics.collect())?;
        Ok((output.pages.finish()?, counters, unique))
    }
}

impl Output<'_> {
    /// Adds a row to a table; returns its number.
    fn row(&mut self, table: &mut Table, values: &[Value<'_>]) -> io::Result<i64> {
        table.add(&mut self.pages, self.record.of(values))
    }

    /// Writes an index. The last number of a key is that of its row; what must be unique is the rest.
    fn index<const N: usize>(&mut self, name: &str, mut keys: Vec<[i64; N]>) -> io::Result<Unique> {
        keys.sort_unstable();
        let mut index = Index::new(self.template.root(name)?);
        for key in &keys {
            index.add(&mut self.pages, self.record.of(&key.map(Value::Integer)))?;
        }
        index.finish(&mut self.pages)?;
        Ok(keys.windows(2).all(|pair| pair[0][..N - 1] != pair[1][..N - 1]))
    }

    /// Writes a table whose primary key is its first column, a text, and the index of that key.
    fn named(&mut self, name: &str, mut rows: Vec<(&[u8], Vec<Value<'_>>)>) -> io::Result<()> {
        rows.sort_by_key(|(key, _)| *key);
        let mut table = Table::new(self.template.root(name)?);
        let mut index = Index::new(self.template.root(&format!("sqlite_autoindex_{name}_1"))?);
        for (key, mut values) in rows {
            let key = Value::Text(key);
            values.insert(0, key);
            let number = self.row(&mut table, &values)?;
            index.add(&mut self.pages, self.record.of(&[key, Value::Integer(number)]))?;
        }
        table.finish(&mut self.pages)?;
        index.finish(&mut self.pages)
    }
}

/// The database without rows.
fn template() -> Result<&'static Template> {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    if let Some(template) = TEMPLATE.get() {
        return Ok(template);
    }
    let made = Template::new(&[CATALOG, CATALOG_INDEX, TABLES])
        .map_err(failed("make", "an empty catalog"))?;
    Ok(TEMPLATE.get_or_init(|| made))
}

/// Builds a database from rows that `fill` adds directory by directory; in a file if it will be `large`.
///
/// # Errors
/// If two rows have the same path, if there is no room, and those of `fill`.
pub(super) fn build(
    scratch: &Scratch,
    head: &Head<'_>,
    large: bool,
    fill: impl FnOnce(&mut Inserter<'_>) -> Result<()>,
) -> Result<(Database, Counters)> {
    let refused = |cause| scratch.refused(cause);
    let file = if large { Some(scratch.named()?) } else { None };
    let pages = match &file {
        Some(file) => Some(file.as_file().try_clone().map_err(refused)?),
        None => None,
    };
    let mut inserter = Inserter::new(template()?, scratch, pages).map_err(refused)?;
    fill(&mut inserter)?;
    let (bytes, counters, unique) = inserter.finish(head).map_err(refused)?;
    let bytes = match (file, bytes) {
        (Some(file), _) => DatabaseBytes::File(file),
        (None, bytes) => DatabaseBytes::Memory(bytes.expect("pages without a file are in memory")),
    };
    if !unique {
        return Err(bytes.twice(head.mount));
    }
    Ok((Database::new(bytes, scratch)?, counters))
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

/// The rows of the table `statistics`.
pub(super) fn statistics(counters: &Counters) -> Vec<(String, i64)> {
    let both = [("self", &counters.own), ("subtree", &counters.subtree)];
    let rows = both.iter().flat_map(|(prefix, counts)| {
        let names = NAMES.iter().zip(counts.values());
        names.map(move |((name, _), value)| (format!("{prefix}_{name}"), value.cast_signed()))
    });
    rows.collect()
}

impl DatabaseBytes {
    /// The error for two rows of one path.
    fn twice(&self, mount: &TreePath) -> Error {
        // The index holds both and is invalid, so SQLite must read the table itself.
        let find = "SELECT CAST(name AS BLOB) FROM catalog NOT INDEXED \
                    GROUP BY md5path_1, md5path_2 HAVING count(*) > 1";
        let name = || -> rusqlite::Result<Vec<u8>> {
            let connection = match self {
                Self::File(file) => Connection::open(file.path())?,
                Self::Memory(bytes) => in_memory_database(bytes, true)?,
            };
            connection.query_row(find, [], |row| row.get(0))
        };
        let name = name().unwrap_or_else(|_| b"?".to_vec());
        let name = String::from_utf8_lossy(&name).into_owned();
        Error::DuplicateName { name, mount: mount.clone() }
    }
}

impl Database {
    fn new(bytes: DatabaseBytes, scratch: &Scratch) -> Result<Self> {
        let size = match &bytes {
            DatabaseBytes::Memory(data) => data.len() as u64,
            DatabaseBytes::File(file) => {
                file.as_file().metadata().map_err(|cause| scratch.refused(cause))?.len()
            }
        };
        Ok(Self { bytes, size })
    }

    /// A database that was changed in place in a file.
    pub(super) fn from_file(file: ScratchFile, scratch: &Scratch) -> Result<Self> {
        Self::new(DatabaseBytes::File(file), scratch)
    }

    /// A database that was changed in place in memory.
    pub(super) fn from_memory(bytes: Vec<u8>, scratch: &Scratch) -> Result<Self> {
        Self::new(DatabaseBytes::Memory(bytes), scratch)
    }

    /// Its bytes.
    pub(super) fn into_bytes(self, scratch: &Scratch) -> Result<Vec<u8>> {
        match self.bytes {
            DatabaseBytes::Memory(data) => Ok(data),
            DatabaseBytes::File(file) => {
                std::fs::read(file.path()).map_err(|cause| scratch.refused(cause))
            }
        }
    }

    /// Stores it.
    pub(super) fn store(self, store: &dyn CatalogStore, scratch: &Scratch) -> Result<ContentHash> {
        let file = match self.bytes {
            DatabaseBytes::Memory(data) => return store.store_catalog(&data),
            DatabaseBytes::File(file) => file,
        };
        // A handle of its own, because the position of the other one is unknown.
        let open = || {
            let mut reader = File::open(file.path())?;
            if self.size > AT_ONCE {
                let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                io::copy(&mut reader, &mut encoder)?;
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
