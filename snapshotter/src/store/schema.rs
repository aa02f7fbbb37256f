//! The tables, and how the database is opened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::snapshot::SnapshotId;

/// Marks the file as a store of this program (`PRAGMA application_id`): "cvsn".
const APPLICATION: i32 = 0x6376_736e;

/// Version of the tables (`PRAGMA user_version`).
const VERSION: i32 = 1;

/// `id` names the snapshot's directory, so no number is used twice (AUTOINCREMENT). `usage_*` and `root_*` are set
/// when a snapshot is committed. Times are nanoseconds since 1970.
const TABLES: &str = "
CREATE TABLE snapshot (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE,
    parent       INTEGER REFERENCES snapshot (id),
    kind         INTEGER NOT NULL,
    created      INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    usage_bytes  INTEGER,
    usage_inodes INTEGER,
    root_uid     INTEGER NOT NULL DEFAULT 0,
    root_gid     INTEGER NOT NULL DEFAULT 0,
    root_opaque  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX snapshot_parent ON snapshot (parent);
CREATE TABLE label (
    snapshot INTEGER NOT NULL REFERENCES snapshot (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (snapshot, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX label_value ON label (key, value);
CREATE TABLE remote (
    snapshot   INTEGER PRIMARY KEY REFERENCES snapshot (id) ON DELETE CASCADE,
    repository TEXT NOT NULL,
    layer      TEXT NOT NULL,
    rootfs     TEXT
) STRICT;
CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
";

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite cannot use the file.
    #[error(
        "cannot open the metadata store {0}: {1}. If the file is damaged: stop containerd, move it away \
         together with its -wal and -shm files, start again, then remove and pull the images of this \
         snapshotter. Nothing in the snapshots directory is deleted by that"
    )]
    Unusable(PathBuf, #[source] rusqlite::Error),
    /// The file's pages contradict each other.
    #[error(
        "the metadata store {0} is damaged ({1}): stop containerd, move it away together with its -wal \
         and -shm files, start again, then remove and pull the images of this snapshotter. Nothing in \
         the snapshots directory is deleted by that"
    )]
    Damaged(PathBuf, String),
    /// There is no file.
    #[error(
        "there are no records: {0} does not exist; is `root` in the configuration that of the daemon?"
    )]
    Missing(PathBuf),
    /// The file is some other database.
    #[error("{0} is not a metadata store of cvmfs-snapshotter: choose another root")]
    Foreign(PathBuf),
    /// Written by a later release.
    #[error(
        "the metadata store {0} has version {1}, this program knows {VERSION}: use a newer release"
    )]
    Newer(PathBuf, i32),
}

fn pragma<T: rusqlite::types::FromSql>(db: &Connection, name: &str) -> rusqlite::Result<T> {
    db.pragma_query_value(None, name, |row| row.get(0))
}

fn configure(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(Duration::from_secs(10))?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Opens the database for writing. Also returns whether it is new, and its tables were made just now.
pub(super) fn open_writer(
    path: &Path,
    existing: SnapshotId,
) -> Result<(Connection, bool), OpenError> {
    let unusable = |error| OpenError::Unusable(path.to_owned(), error);
    let mut db = Connection::open(path).map_err(unusable)?;
    let check = |db: &mut Connection| -> rusqlite::Result<Result<bool, OpenError>> {
        let (application, version): (i32, i32) =
            (pragma(db, "application_id")?, pragma(db, "user_version")?);
        let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
        if tables > 0 && application != APPLICATION {
            return Ok(Err(OpenError::Foreign(path.to_owned())));
        }
        if version > VERSION {
            return Ok(Err(OpenError::Newer(path.to_owned(), version)));
        }
        let verdict: String = pragma(db, "quick_check")?;
        if verdict != "ok" {
            return Ok(Err(OpenError::Damaged(path.to_owned(), verdict)));
        }
        db.pragma_update(None, "journal_mode", "WAL")?;
        configure(db)?;
        if version == 0 {
            let new = db.transaction()?;
            new.execute_batch(TABLES)?;
            // In the same transaction as the tables: after a crash between the two, the directories would be
            // swept away.
            new.execute("INSERT INTO setting VALUES ('spare-below', ?)", [existing.0 + 1])?;
            new.pragma_update(None, "application_id", APPLICATION)?;
            new.pragma_update(None, "user_version", VERSION)?;
            new.commit()?;
        }
        Ok(Ok(version == 0))
    };
    let new = check(&mut db).map_err(unusable)??;
    Ok((db, new))
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    // Not opened read-only, because even a reader of a database in WAL mode writes to its shared memory.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    configure(&db)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}
