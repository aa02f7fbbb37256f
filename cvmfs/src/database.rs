//! Small databases that are read and written whole: the tag database and the reference log.
//!
//! They are parsed into values and written from those values, so that the same content always has the same bytes.
//! Both follow what clients need of a catalog: rollback journal, pages of 1024 bytes, plain tables.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OptionalExtension, Row};

use crate::fqrn::Fqrn;
use crate::{Error, Result};

/// The schema of both databases; a database of another one is not understood.
const SCHEMA: &str = "1.0";

const PROPERTIES: &str =
    "CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));";

/// A database that was read into memory.
pub(crate) struct Database {
    connection: Connection,
    what: &'static str,
}

impl Database {
    /// Opens a database of schema revision `revision`; `what` is named in errors.
    pub(crate) fn open(bytes: &[u8], what: &'static str, revision: u32) -> Result<Self> {
        let connection = Connection::open_in_memory().map_err(failed("open", what))?;
        let mut database = Self { connection, what };
        database.load(bytes).map_err(|error| database.corrupt(error.to_string()))?;
        let schema = (database.property("schema")?, database.property("schema_revision")?);
        let expected = (Some(SCHEMA.to_owned()), Some(revision.to_string()));
        if schema != expected {
            let said = |part: Option<String>| part.unwrap_or_else(|| "none".to_owned());
            return Err(Error::UnknownSchema {
                what: what.to_owned(),
                found: format!("{} revision {}", said(schema.0), said(schema.1)),
                supported: format!("{SCHEMA} revision {revision}"),
            });
        }
        Ok(database)
    }

    fn load(&mut self, bytes: &[u8]) -> rusqlite::Result<()> {
        let connection = &mut self.connection;
        // A hostile database must not make SQLite do more than look up values.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        connection.execute_batch("PRAGMA cell_size_check = ON;")?;
        let read_only = true;
        connection.deserialize_read_exact(MAIN_DB, bytes, bytes.len(), read_only)
    }

    /// A property, if it is there.
    pub(crate) fn property(&self, key: &str) -> Result<Option<String>> {
        self.connection
            .query_row("SELECT value FROM properties WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(|error| self.corrupt(error.to_string()))
    }

    /// The repository that it claims to belong to.
    pub(crate) fn fqrn(&self) -> Result<Fqrn> {
        self.property("fqrn")?
            .ok_or_else(|| self.corrupt("it names no repository".to_owned()))?
            .parse()
            .map_err(|error| self.corrupt(format!("{error}")))
    }

    /// All rows of a query; `read` may return the reason why a row is impossible.
    pub(crate) fn rows<T>(
        &self,
        query: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<std::result::Result<T, String>>,
    ) -> Result<Vec<T>> {
        let corrupt = |error: rusqlite::Error| self.corrupt(error.to_string());
        let mut statement = self.connection.prepare(query).map_err(corrupt)?;
        let rows = statement.query_map([], |row| read(row)).map_err(corrupt)?;
        rows.map(|row| row.map_err(corrupt)?.map_err(|reason| self.corrupt(reason))).collect()
    }

    /// The error for damage.
    pub(crate) fn corrupt(&self, reason: String) -> Error {
        Error::Corrupt { what: self.what.to_owned(), reason }
    }
}

/// Makes a database: `schema` makes its tables other than the properties, `fill` their rows.
pub(crate) fn build(
    what: &'static str,
    revision: u32,
    fqrn: &Fqrn,
    schema: &str,
    fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<Vec<u8>> {
    let build = || {
        let mut connection = Connection::open_in_memory()?;
        connection.execute_batch("PRAGMA page_size = 1024; PRAGMA foreign_keys = OFF; BEGIN;")?;
        connection.execute_batch(PROPERTIES)?;
        connection.execute_batch(schema)?;
        set_property(&connection, "schema", SCHEMA)?;
        set_property(&connection, "schema_revision", &revision.to_string())?;
        set_property(&connection, "fqrn", fqrn.as_str())?;
        fill(&connection)?;
        connection.execute_batch("COMMIT;")?;
        Ok(connection.serialize(MAIN_DB)?.to_vec())
    };
    build().map_err(failed("make", what))
}

/// Adds a property.
pub(crate) fn set_property(
    connection: &Connection,
    key: &str,
    value: &str,
) -> rusqlite::Result<()> {
    connection.execute("INSERT INTO properties (key, value) VALUES (?1, ?2)", [key, value])?;
    Ok(())
}

fn failed(action: &'static str, what: &str) -> impl Fn(rusqlite::Error) -> Error {
    move |cause| Error::Database { action, what: what.to_owned(), cause }
}

/// A number of a database, none of which may be negative.
pub(crate) fn unsigned(number: i64, what: &str) -> std::result::Result<u64, String> {
    u64::try_from(number).map_err(|_| format!("{what} is {number}"))
}

/// A number as a database holds it; SQLite's end at 2^63.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The database after some SQL.
    pub(crate) fn changed(bytes: &[u8], sql: &str) -> Vec<u8> {
        let mut connection = Connection::open_in_memory().unwrap();
        let read_only = false;
        connection.deserialize_read_exact(MAIN_DB, bytes, bytes.len(), read_only).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        connection.execute_batch(sql).unwrap();
        connection.serialize(MAIN_DB).unwrap().to_vec()
    }

    #[test]
    fn others_read_the_file() {
        let fqrn = "test.example.org".parse().unwrap();
        let bytes = build("it", 7, &fqrn, "CREATE TABLE t (x INTEGER);", |connection| {
            connection.execute_batch("INSERT INTO t VALUES (1), (2)")
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes.unwrap()).unwrap();
        let connection = Connection::open(file.path()).unwrap();
        for (pragma, expected) in [
            ("page_size", "1024"),
            ("encoding", "UTF-8"),
            ("journal_mode", "delete"),
            ("integrity_check", "ok"),
            ("auto_vacuum", "0"),
        ] {
            let query = format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}");
            let value: String = connection.query_row(&query, [], |row| row.get(0)).unwrap();
            assert_eq!(value, expected, "{pragma}");
        }
        let properties = "SELECT group_concat(key || '=' || value) FROM properties";
        let properties: String = connection.query_row(properties, [], |row| row.get(0)).unwrap();
        assert_eq!(properties, "schema=1.0,schema_revision=7,fqrn=test.example.org");
    }
}
