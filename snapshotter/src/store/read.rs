//! Queries. None of them waits for a writer.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::Store;
use crate::error::{Error, Result};
use crate::filter::Filters;
use crate::snapshot::{
    Info, Labels, Layer, LayerRoot, Record, Remote, SnapshotId, SnapshotKind, Timestamp, Usage,
    shown,
};

/// The columns that [`record`] reads, and the tables they come from.
pub(super) const RECORD: &str = "
    SELECT s.id, s.name, coalesce(p.name, ''), s.kind, s.created, s.updated,
           s.usage_bytes, s.usage_inodes, r.repository, r.layer, r.rootfs
      FROM snapshot s LEFT JOIN snapshot p ON p.id = s.parent LEFT JOIN remote r ON r.snapshot = s.id";

pub(super) fn kind_number(kind: SnapshotKind) -> i64 {
    match kind {
        SnapshotKind::View => 1,
        SnapshotKind::Active => 2,
        SnapshotKind::Committed => 3,
    }
}

fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<SnapshotKind> {
    match row.get(column)? {
        1 => Ok(SnapshotKind::View),
        2 => Ok(SnapshotKind::Active),
        3 => Ok(SnapshotKind::Committed),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

fn remote(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Remote>> {
    let repository: Option<String> = row.get(first)?;
    repository
        .map(|repository| {
            Ok(Remote { repository, layer: row.get(first + 1)?, rootfs: row.get(first + 2)? })
        })
        .transpose()
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let usage = match (row.get(6)?, row.get(7)?) {
        (Some(bytes), Some(inodes)) => Some(Usage { bytes, inodes }),
        _ => None,
    };
    Ok(Record {
        id: SnapshotId(row.get(0)?),
        info: Info {
            name: row.get(1)?,
            parent: row.get(2)?,
            kind: kind(row, 3)?,
            created: Timestamp(row.get(4)?),
            updated: Timestamp(row.get(5)?),
            labels: Labels::new(),
        },
        usage,
        remote: remote(row, 8)?,
    })
}

fn labels(db: &Transaction<'_>, id: SnapshotId) -> Result<Labels> {
    let mut query = db.prepare_cached("SELECT key, value FROM label WHERE snapshot = ?")?;
    let labels = query.query_map([id.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(labels.collect::<rusqlite::Result<_>>()?)
}

/// The record with this key or name.
pub(super) fn find(db: &Transaction<'_>, name: &str) -> Result<Option<Record>> {
    let found = db
        .prepare_cached(&format!("{RECORD} WHERE s.name = ?"))?
        .query_row([name], record)
        .optional()?;
    let Some(mut found) = found else { return Ok(None) };
    found.info.labels = labels(db, found.id)?;
    Ok(Some(found))
}

pub(super) fn get(db: &Transaction<'_>, name: &str) -> Result<Record> {
    find(db, name)?.ok_or_else(|| missing(name))
}

pub(super) fn missing(name: &str) -> Error {
    Error::NotFound(format!("snapshot {} does not exist", shown(name)))
}

fn missing_parent(name: &str) -> Error {
    Error::NotFound(format!("parent snapshot {} does not exist", shown(name)))
}

/// The committed snapshot that is to be a parent.
pub(super) fn parent(db: &Transaction<'_>, name: &str) -> Result<Record> {
    let parent = find(db, name)?.ok_or_else(|| missing_parent(name))?;
    if parent.info.kind != SnapshotKind::Committed {
        let message = format!(
            "parent snapshot {} is {}, not committed",
            shown(name),
            parent.info.kind.as_str()
        );
        return Err(Error::InvalidArgument(message));
    }
    Ok(parent)
}

pub(super) fn taken(name: &str) -> Error {
    Error::AlreadyExists(format!("snapshot {}", shown(name)))
}

fn chain(db: &Transaction<'_>, top: Option<i64>) -> Result<Vec<Layer>> {
    let mut query = db.prepare_cached(
        "WITH RECURSIVE chain (id, depth) AS (
             SELECT ?1, 0 WHERE ?1 IS NOT NULL
             UNION ALL
             SELECT s.parent, depth + 1 FROM chain c JOIN snapshot s ON s.id = c.id
              WHERE s.parent IS NOT NULL)
         SELECT s.id, s.root_uid, s.root_gid, s.root_opaque, r.repository, r.layer, r.rootfs
           FROM chain c JOIN snapshot s ON s.id = c.id LEFT JOIN remote r ON r.snapshot = s.id
          ORDER BY c.depth",
    )?;
    let layers = query.query_map([top], |row| {
        Ok(Layer {
            id: SnapshotId(row.get(0)?),
            root: LayerRoot { uid: row.get(1)?, gid: row.get(2)?, opaque: row.get(3)? },
            remote: remote(row, 4)?,
        })
    })?;
    Ok(layers.collect::<rusqlite::Result<_>>()?)
}

impl Store {
    /// The record of `name`.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, name: &str) -> Result<Record> {
        self.read(|db| get(db, name))
    }

    /// The record of `name`, and the layers below it, nearest parent first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get_with_chain(&self, name: &str) -> Result<(Record, Vec<Layer>)> {
        self.read(|db| {
            let record = get(db, name)?;
            let parent: Option<i64> = db
                .prepare_cached("SELECT parent FROM snapshot WHERE id = ?")?
                .query_row([record.id.0], |row| row.get(0))?;
            Ok((record, chain(db, parent)?))
        })
    }

    /// What is needed for making a snapshot with this key: its parent's record (`None` for an empty name) and all
    /// layers below, nearest first.
    ///
    /// # Errors
    /// As for `Prepare`: the parent is missing or not committed, the key is taken.
    pub fn get_for_child(
        &self,
        key: &str,
        parent_name: &str,
    ) -> Result<(Option<Record>, Vec<Layer>)> {
        self.read(|db| {
            let parent = match parent_name {
                "" => None,
                name => Some(parent(db, name)?),
            };
            if find(db, key)?.is_some() {
                return Err(taken(key));
            }
            let layers = chain(db, parent.as_ref().map(|parent| parent.id.0))?;
            Ok((parent, layers))
        })
    }

    /// The name of a committed snapshot with this label and exactly this parent.
    ///
    /// # Errors
    /// Only of the store itself.
    pub fn find_committed(&self, key: &str, value: &str, parent: &str) -> Result<Option<String>> {
        self.read(|db| {
            let found = db
                .prepare_cached(
                    "SELECT s.name FROM label l JOIN snapshot s ON s.id = l.snapshot
                       LEFT JOIN snapshot p ON p.id = s.parent
                      WHERE l.key = ? AND l.value = ? AND s.kind = ? AND coalesce(p.name, '') = ?
                      LIMIT 1",
                )?
                .query_row(
                    params![key, value, kind_number(SnapshotKind::Committed), parent],
                    |row| row.get(0),
                )
                .optional()?;
            Ok(found)
        })
    }

    /// All snapshots that pass the filters, in byte order of their names.
    ///
    /// # Errors
    /// Only of the store itself.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Info>> {
        self.read(|db| {
            let mut infos = Vec::new();
            let (condition, value) = match filters.parent() {
                // Not compared by name through the join, because only the parent's number has an index.
                Some("") => ("WHERE s.parent IS NULL", None),
                Some(name) => {
                    ("WHERE s.parent = (SELECT id FROM snapshot WHERE name = ?)", Some(name))
                }
                None => ("", None),
            };
            let mut query = db.prepare_cached(&format!("{RECORD} {condition} ORDER BY s.name"))?;
            let mut rows = query.query(rusqlite::params_from_iter(value))?;
            while let Some(row) = rows.next()? {
                let mut record = record(row)?;
                record.info.labels = labels(db, record.id)?;
                if filters.matches(&record.info) {
                    infos.push(record.info);
                }
            }
            Ok(infos)
        })
    }

    /// Whether `name` is still the snapshot with this number.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is not.
    pub fn confirm(&self, name: &str, id: SnapshotId) -> Result<()> {
        self.read(|db| {
            let there: bool = db
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM snapshot WHERE name = ? AND id = ?)")?
                .query_row(params![name, id.0], |row| row.get(0))?;
            if there { Ok(()) } else { Err(missing(name)) }
        })
    }

    /// Whether the parent `name` is still the snapshot with this number.
    ///
    /// # Errors
    /// As for a parent that is missing.
    pub fn confirm_parent(&self, name: &str, id: SnapshotId) -> Result<()> {
        self.confirm(name, id).map_err(|error| match error {
            Error::NotFound(_) => missing_parent(name),
            other => other,
        })
    }

    /// The numbers of all snapshots.
    ///
    /// # Errors
    /// Only of the store itself.
    pub fn ids(&self) -> Result<HashSet<SnapshotId>> {
        self.read(|db| {
            let mut query = db.prepare_cached("SELECT id FROM snapshot")?;
            let ids = query.query_map([], |row| row.get(0).map(SnapshotId))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// All records, without labels.
    ///
    /// # Errors
    /// Only of the store itself.
    pub fn records(&self) -> Result<Vec<Record>> {
        self.read(|db| {
            let mut query = db.prepare_cached(RECORD)?;
            let records = query.query_map([], record)?;
            Ok(records.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The highest number that a snapshot has ever had, or 0.
    ///
    /// # Errors
    /// Only of the store itself.
    pub fn last_id(&self) -> Result<SnapshotId> {
        self.read(|db| {
            let last: Option<i64> = db
                .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'snapshot'")?
                .query_row([], |row| row.get(0))
                .optional()?;
            Ok(SnapshotId(last.unwrap_or(0)))
        })
    }

    /// Directories with a smaller number are older than the store. Their records may have been lost, so they are
    /// never taken for leftovers.
    ///
    /// # Errors
    /// Only of the store itself.
    pub fn spared_below(&self) -> Result<SnapshotId> {
        self.read(|db| {
            let bound: Option<i64> = db
                .query_row("SELECT value FROM setting WHERE name = 'spare-below'", [], |r| r.get(0))
                .optional()?;
            Ok(SnapshotId(bound.unwrap_or(0)))
        })
    }
}
