//! Statements that change a catalog database in place.

use rusqlite::{Connection, params};

use crate::entry::Chunk;

use super::build::statistics;
use super::counters::Counters;
use super::database::text;
use super::reader::NestedRef;
use super::row::Columns;

// The order of columns in a table that others made is theirs.
const INSERT: &str = "INSERT INTO catalog (md5path_1, md5path_2, parent_1, parent_2, hardlinks, hash, \
     size, mode, mtime, mtimens, flags, name, symlink, uid, gid, xattr) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
const INSERT_CHUNK: &str = "INSERT INTO chunks (md5path_1, md5path_2, offset, size, hash) \
     VALUES (?1, ?2, ?3, ?4, ?5)";

/// Inserts a row into a catalog that is changed in place.
pub(super) fn insert_row(
    connection: &Connection,
    columns: &Columns<'_>,
    chunks: &[Chunk],
) -> rusqlite::Result<()> {
    let ((path_1, path_2), (parent_1, parent_2)) =
        (columns.path.columns(), columns.parent.columns());
    connection.prepare_cached(INSERT)?.execute(params![
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
    let mut insert = connection.prepare_cached(INSERT_CHUNK)?;
    for chunk in chunks {
        let (offset, size) = (chunk.offset.cast_signed(), chunk.size.cast_signed());
        insert.execute(params![path_1, path_2, offset, size, chunk.hash.digest])?;
    }
    Ok(())
}

/// Notes a nested catalog.
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

/// Sets a property.
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

/// Sets all counters.
pub(super) fn set_counters(connection: &Connection, counters: &Counters) -> rusqlite::Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT OR REPLACE INTO statistics (counter, value) VALUES (?1, ?2)")?;
    for (name, value) in statistics(counters) {
        statement.execute(params![name, value])?;
    }
    Ok(())
}
