//! What reading and writing have in common at the edge to SQLite.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, MAIN_DB};

use crate::Error;

/// Databases of up to so many bytes are held in memory: most of them. Larger ones are files of a scratch directory, whose
/// mapped pages the kernel can take back; the C library keeps for each thread what was once allocated in large pieces.
pub(super) const IN_MEMORY: u64 = 512 << 10;

/// Opens a database from a copy of its bytes.
pub(super) fn in_memory_database(bytes: &[u8], read_only: bool) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    // SQLite allocates nothing for no bytes, and takes that for a lack of memory. An empty database has none.
    if !bytes.is_empty() {
        connection.deserialize_read_exact(MAIN_DB, bytes, bytes.len(), read_only)?;
    }
    Ok(connection)
}

/// Bytes as a value of SQLite's type TEXT, which names and targets have although they need not be UTF-8.
pub(super) fn text(bytes: &[u8]) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(bytes))
}

/// The error of an operation on the catalog `what`: damage, if SQLite says that the database is damaged.
pub(super) fn failed(action: &'static str, what: &str) -> impl Fn(rusqlite::Error) -> Error {
    move |cause| {
        // A missing table or column is reported in one of the first two ways.
        let damage = matches!(cause, rusqlite::Error::SqlInputError { .. })
            || matches!(
                cause.sqlite_error_code(),
                Some(ErrorCode::Unknown | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            );
        match damage {
            true => Error::Corrupt { what: what.to_owned(), reason: cause.to_string() },
            false => Error::Database { action, what: what.to_owned(), cause },
        }
    }
}

/// Settings for a private database that is thrown away if anything fails: no journal, no waiting for the disk.
/// `cache` is in KiB.
pub(super) fn private(connection: &Connection, cache: u32) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; \
         PRAGMA foreign_keys = OFF; PRAGMA cache_size = -{cache};"
    ))
}
