//! A database with nothing but empty tables, as SQLite makes it.

use std::collections::HashMap;
use std::fs::File;
use std::io;

use rusqlite::{Connection, MAIN_DB};

use super::pages::{Pages, SIZE};

/// An empty database.
pub(in super::super) struct Template {
    bytes: Vec<u8>,
    /// The first page of each table and index.
    roots: HashMap<String, u32>,
}

impl Template {
    /// Makes one with these tables and indexes.
    pub(in super::super) fn new(schema: &[&str]) -> rusqlite::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        connection.execute_batch(&format!("PRAGMA page_size = {SIZE}; BEGIN;"))?;
        for part in schema {
            connection.execute_batch(part)?;
        }
        connection.execute_batch("COMMIT;")?;
        let roots = connection
            .prepare("SELECT name, rootpage FROM sqlite_schema")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { bytes: connection.serialize(MAIN_DB)?.to_vec(), roots })
    }

    /// Begins a database like it, in memory or in an empty file.
    pub(in super::super) fn begin(&self, file: Option<File>) -> io::Result<Pages> {
        Pages::new(&self.bytes, file)
    }

    /// The first page of a table or an index. An index that belongs to a constraint is named by SQLite,
    /// `sqlite_autoindex_TABLE_1`.
    pub(in super::super) fn root(&self, name: &str) -> io::Result<u32> {
        self.roots.get(name).copied().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("the schema has no {name}"))
        })
    }
}
