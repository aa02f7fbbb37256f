//! Statements that change a catalog database in place.

use rusqlite::{Connection, params};

use crate::entry::Chunk;
use crate::path::{PathHash, TreePath};

use super::build::statistics;
use super::counters::Counters;
use super::database::text;
use super::reference::NestedRef;
use super::row::Columns;
use super::schema::{HIDDEN, KEY_SCHEMA_REVISION, REVISION, REVISION_NANOSECONDS};

// Tables made by other tools may have another order of columns.
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

/// Removes a nested catalog or a bind mountpoint from the table that notes it.
pub(super) fn delete_reference(
    connection: &Connection,
    table: &str,
    path: &TreePath,
) -> rusqlite::Result<()> {
    let sql = format!("DELETE FROM {table} WHERE path = ?1");
    connection.execute(&sql, [text(path.as_bytes())]).map(drop)
}

/// Removes a row and its chunks.
pub(super) fn delete_row(connection: &Connection, path: PathHash) -> rusqlite::Result<()> {
    let (first, second) = path.columns();
    for table in ["chunks", "catalog"] {
        let sql = format!("DELETE FROM {table} WHERE md5path_1 = ?1 AND md5path_2 = ?2");
        connection.prepare_cached(&sql)?.execute([first, second])?;
    }
    Ok(())
}

/// Takes one name from a group of hard links in a directory.
pub(super) fn shrink_group(
    connection: &Connection,
    directory: PathHash,
    group: i64,
) -> rusqlite::Result<()> {
    let sql = "UPDATE catalog SET hardlinks = \
               CASE WHEN hardlinks & 0xffffffff > 2 THEN hardlinks - 1 ELSE 1 END \
               WHERE parent_1 = ?1 AND parent_2 = ?2 AND hardlinks >> 32 = ?3";
    set(connection, sql, directory, group)
}

/// Adds to a directory's link count.
pub(super) fn add_links(
    connection: &Connection,
    directory: PathHash,
    by: i64,
) -> rusqlite::Result<()> {
    let sql =
        "UPDATE catalog SET hardlinks = hardlinks + ?3 WHERE md5path_1 = ?1 AND md5path_2 = ?2";
    set(connection, sql, directory, by)
}

/// Sets the column `size`.
pub(super) fn set_size(connection: &Connection, path: PathHash, size: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE catalog SET size = ?3 WHERE md5path_1 = ?1 AND md5path_2 = ?2";
    set(connection, sql, path, size)
}

fn set(connection: &Connection, sql: &str, path: PathHash, value: i64) -> rusqlite::Result<()> {
    let (first, second) = path.columns();
    connection.prepare_cached(sql)?.execute([first, second, value]).map(drop)
}

/// Gives the row of a directory the attributes in `new`.
pub(super) fn set_attributes(connection: &Connection, new: &Columns<'_>) -> rusqlite::Result<()> {
    let (first, second) = new.path.columns();
    let sql = "UPDATE catalog SET mode = ?3, uid = ?4, gid = ?5, mtime = ?6, mtimens = ?7, xattr = ?8, \
               flags = (flags & ~?9) | ?10 WHERE md5path_1 = ?1 AND md5path_2 = ?2";
    let values = params![
        first,
        second,
        new.mode,
        new.uid,
        new.gid,
        new.mtime,
        new.mtimens,
        new.xattr,
        HIDDEN,
        new.flags & HIDDEN,
    ];
    connection.execute(sql, values).map(drop)
}

/// Brings the schema to the revision that is written here.
pub(super) fn upgrade(connection: &Connection, schema_revision: i64) -> rusqlite::Result<()> {
    let columns = "SELECT count(*) FROM pragma_table_info('catalog') WHERE name = 'mtimens'";
    let has: i64 = connection.query_row(columns, [], |row| row.get(0))?;
    if has == 0 {
        connection.execute_batch("ALTER TABLE catalog ADD mtimens INTEGER")?;
    } else if schema_revision < REVISION_NANOSECONDS {
        // Readers of that revision ignore the column, so it may hold anything.
        connection.execute_batch("UPDATE catalog SET mtimens = NULL")?;
    }
    if schema_revision < REVISION {
        let revision = REVISION.to_string();
        set_property(connection, KEY_SCHEMA_REVISION, Some(revision.as_bytes()))?;
    }
    Ok(())
}

/// Sets a property, or removes it.
pub(super) fn set_property(
    connection: &Connection,
    key: &str,
    value: Option<&[u8]>,
) -> rusqlite::Result<()> {
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO properties (key, value) VALUES (?1, ?2)")?
            .execute(params![key, text(value)]),
        None => connection.execute("DELETE FROM properties WHERE key = ?1", [key]),
    }
    .map(drop)
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
