//! Changes. Each is one transaction, which either is on disk when it is done, or changes nothing.

use std::collections::BTreeMap;

use rusqlite::{Transaction, TransactionBehavior, params};

use super::Store;
use super::read::{find, get, kind_number, missing, parent, taken};
use crate::error::{Error, Result};
use crate::snapshot::{
    Info, Labels, LayerRoot, Remote, SnapshotId, SnapshotKind, Timestamp, Usage, check_labels,
    shown,
};

/// A snapshot that is to be added.
#[derive(Debug)]
pub struct NewSnapshot<'a> {
    /// Its number; its directory exists already.
    pub id: SnapshotId,
    /// Key or name.
    pub name: &'a str,
    /// The parent, by number, because it must still be the snapshot that the caller saw.
    pub parent: Option<SnapshotId>,
    /// Its kind; committed exactly if `remote` is set.
    pub kind: SnapshotKind,
    /// Labels; those without a value are dropped.
    pub labels: &'a Labels,
    /// Set for a remote layer, which is committed from the start.
    pub remote: Option<NewRemote<'a>>,
}

/// The rest of a remote layer's record.
#[derive(Debug)]
pub struct NewRemote<'a> {
    /// What matters of its root directory.
    pub root: LayerRoot,
    /// Where its content is.
    pub remote: &'a Remote,
}

/// An active snapshot that is to be committed.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The name it gets.
    pub name: &'a str,
    /// The key it has.
    pub key: &'a str,
    /// Its number, because it must still be the snapshot that the caller has measured.
    pub id: SnapshotId,
    /// The labels it gets; those it has are dropped.
    pub labels: &'a Labels,
    /// The parent that a snapshot without one gets (rebase); empty for none.
    pub parent: &'a str,
    /// Disk use, measured by the caller.
    pub usage: Usage,
    /// What matters of its root directory.
    pub root: LayerRoot,
}

/// How `Update` changes labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// Replaces all labels.
    Replace(Labels),
    /// Changes single labels; one whose value is missing or empty is removed.
    Set(BTreeMap<String, Option<String>>),
}

fn put_labels(db: &Transaction<'_>, id: SnapshotId, labels: &Labels) -> Result<()> {
    check_labels(labels)?;
    db.prepare_cached("DELETE FROM label WHERE snapshot = ?")?.execute([id.0])?;
    let mut insert =
        db.prepare_cached("INSERT INTO label (snapshot, key, value) VALUES (?, ?, ?)")?;
    for (key, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        insert.execute(params![id.0, key, value])?;
    }
    Ok(())
}

impl Store {
    fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = change(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Adds a snapshot.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if the name is taken, [`Error::NotFound`] if the parent has gone,
    /// [`Error::InvalidArgument`] if the labels are too long.
    pub fn create(&self, new: &NewSnapshot<'_>) -> Result<()> {
        self.write(|db| {
            if let Some(parent) = new.parent {
                let there: bool = db
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM snapshot WHERE id = ? AND kind = ?)",
                    )?
                    .query_row(params![parent.0, kind_number(SnapshotKind::Committed)], |row| {
                        row.get(0)
                    })?;
                if !there {
                    let name = shown(new.name);
                    let message = format!("the parent of snapshot {name} has been removed");
                    return Err(Error::NotFound(message));
                }
            }
            if find(db, new.name)?.is_some() {
                return Err(taken(new.name));
            }
            let now = Timestamp::now();
            db.prepare_cached(
                "INSERT INTO snapshot (id, name, parent, kind, created, updated)
                 VALUES (?, ?, ?, ?, ?5, ?5)",
            )?
            .execute(params![
                new.id.0,
                new.name,
                new.parent.map(|parent| parent.0),
                kind_number(new.kind),
                now.0
            ])?;
            put_labels(db, new.id, new.labels)?;
            if let Some(NewRemote { root, remote }) = &new.remote {
                // A remote layer takes no space here.
                set_committed(db, new.id, Usage::default(), *root)?;
                db.prepare_cached(
                    "INSERT INTO remote (snapshot, repository, layer, rootfs) VALUES (?, ?, ?, ?)",
                )?
                .execute(params![
                    new.id.0,
                    remote.repository,
                    remote.layer,
                    remote.rootfs
                ])?;
            }
            Ok(())
        })
    }

    /// Makes an active snapshot a committed one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::AlreadyExists`] if the name is taken; [`Error::FailedPrecondition`] if the
    /// snapshot is not active, or the parent that it is to get is not committed; [`Error::InvalidArgument`] if it
    /// has another parent already, or the labels are too long.
    pub fn commit(&self, commit: &Commit<'_>) -> Result<()> {
        self.write(|db| {
            let record = get(db, commit.key)?;
            if record.id != commit.id {
                return Err(missing(commit.key));
            }
            if find(db, commit.name)?.is_some() {
                return Err(taken(commit.name));
            }
            if record.info.kind != SnapshotKind::Active {
                let (key, kind) = (shown(commit.key), record.info.kind.as_str());
                let message = format!("snapshot {key} is {kind}, not active");
                return Err(Error::FailedPrecondition(message));
            }
            if !commit.parent.is_empty() && commit.parent != record.info.parent {
                if !record.info.parent.is_empty() {
                    let message = format!(
                        "snapshot {} has the parent {}, which cannot become {}",
                        shown(commit.key),
                        shown(&record.info.parent),
                        shown(commit.parent)
                    );
                    return Err(Error::InvalidArgument(message));
                }
                let parent = parent(db, commit.parent).map_err(|error| match error {
                    Error::InvalidArgument(message) => Error::FailedPrecondition(message),
                    other => other,
                })?;
                db.prepare_cached("UPDATE snapshot SET parent = ? WHERE id = ?")?
                    .execute([parent.id.0, record.id.0])?;
            }
            db.prepare_cached(
                "UPDATE snapshot SET name = ?, kind = ?, created = ?3, updated = ?3 WHERE id = ?4",
            )?
            .execute(params![
                commit.name,
                kind_number(SnapshotKind::Committed),
                Timestamp::now().0,
                record.id.0
            ])?;
            set_committed(db, record.id, commit.usage, commit.root)?;
            put_labels(db, record.id, commit.labels)
        })
    }

    /// Removes a record and returns its number, whose directory the caller has to remove.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::FailedPrecondition`] if the snapshot is a parent.
    pub fn remove(&self, name: &str) -> Result<SnapshotId> {
        self.write(|db| {
            let record = get(db, name)?;
            let child: bool = db
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM snapshot WHERE parent = ?)")?
                .query_row([record.id.0], |row| row.get(0))?;
            if child {
                let message = format!("cannot remove snapshot {}, which is a parent", shown(name));
                return Err(Error::FailedPrecondition(message));
            }
            db.prepare_cached("DELETE FROM snapshot WHERE id = ?")?.execute([record.id.0])?;
            Ok(record.id)
        })
    }

    /// Changes labels, and returns the changed record.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InvalidArgument`] if the labels become too long.
    pub fn update(&self, name: &str, change: &LabelChange) -> Result<Info> {
        self.write(|db| {
            let record = get(db, name)?;
            let mut labels = record.info.labels;
            match change {
                LabelChange::Replace(new) => labels.clone_from(new),
                LabelChange::Set(changes) => {
                    for (key, value) in changes {
                        match value {
                            Some(value) => labels.insert(key.clone(), value.clone()),
                            None => labels.remove(key),
                        };
                    }
                }
            }
            put_labels(db, record.id, &labels)?;
            db.prepare_cached("UPDATE snapshot SET updated = ? WHERE id = ?")?
                .execute([Timestamp::now().0, record.id.0])?;
            Ok(get(db, name)?.info)
        })
    }
}

fn set_committed(
    db: &Transaction<'_>,
    id: SnapshotId,
    usage: Usage,
    root: LayerRoot,
) -> Result<()> {
    db.prepare_cached(
        "UPDATE snapshot SET usage_bytes = ?, usage_inodes = ?, root_uid = ?, root_gid = ?,
                root_opaque = ? WHERE id = ?",
    )?
    .execute(params![usage.bytes, usage.inodes, root.uid, root.gid, root.opaque, id.0])?;
    Ok(())
}
