//! Which content became which object in earlier runs.
//!
//! A local SQLite database from SHA-256 of content to object. It may be lost or thrown away at any time, it only
//! saves the compression of what was compressed before. So nothing here fails a publish: a database that does not
//! work is left alone for the rest of the run, one that is damaged is made anew. It belongs to no storage in
//! particular, as the object that a content becomes depends on none.
//!
//! Rows are appended, and found by an index of the first bytes of the digest: digests come in no order, so a table
//! sorted by them would have each of its pages changed by every publish.
//!
//! Rows carry a checksum, because SQLite has none and a wrong row would put another file's content in place of the
//! right one.
//!
//! Several processes may use it at a time. Its journal is a write-ahead log, so that one can read for long, without
//! the system calls that a new transaction takes for each look, while another writes.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io, mem};

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest as _, Sha256};

use crate::compression::Compression;
use crate::hash::{Algorithm, ContentHash, LENGTH, ObjectId, ObjectKind};
use crate::{Error, Result};

/// Version of the table, in SQLite's `user_version`. The index of another version is made anew.
const VERSION: i32 = 2;

/// How many rows are written in one go. They come in no order, so that few would change as many pages as many do.
const BATCH: usize = 32 << 10;

/// Pages in memory, in KiB.
const CACHE: u32 = 8 << 10;

/// How long to wait for another process that uses the index, too.
const BUSY: Duration = Duration::from_secs(1);

/// Objects by their content.
pub struct Index {
    /// Rows that are not written yet. Whoever needs both locks takes that of the database first.
    fresh: Mutex<HashMap<Key, Known>>,
    state: Mutex<State>,
}

struct State {
    path: PathBuf,
    /// Absent when it turned out not to work.
    database: Option<Connection>,
    /// Reading does not keep others from writing.
    shared: bool,
    /// A read transaction is open.
    reading: bool,
}

/// What an object depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    content: [u8; 32],
    algorithm: Algorithm,
    compression: Compression,
    kind: ObjectKind,
}

/// An object that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: ObjectId,
    /// Bytes of the object.
    pub(super) stored: u64,
}

impl Index {
    /// Opens the index in a file, or makes it.
    ///
    /// # Errors
    /// If the file cannot be opened or made. A damaged one is made anew, with a warning.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |cause| Error::Database {
            action: "open",
            what: format!("the index of known content {}", path.display()),
            cause,
        };
        let (database, shared) = match connect(path) {
            Err(error) if is_damaged(&error) => {
                tracing::warn!(path = %path.display(), %error, "the index of known content is made anew");
                remove(path)?;
                connect(path).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        let state =
            State { path: path.to_owned(), database: Some(database), shared, reading: false };
        Ok(Self { fresh: Mutex::default(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of each key, if any.
    pub(super) fn get(&self, keys: &[Option<Key>]) -> Vec<Option<Known>> {
        let mut state = self.state();
        let mut known: Vec<_> = {
            let fresh = self.fresh();
            keys.iter().map(|key| key.as_ref().and_then(|key| fresh.get(key).copied())).collect()
        };
        for (key, known) in keys.iter().zip(&mut known) {
            if let (Some(key), None) = (key, &known) {
                *known = state.get(key);
            }
        }
        known
    }

    /// Writes what is new. Done when the index is dropped, too, but threads that are just ending may keep it until
    /// the process is gone.
    pub(super) fn write(&self) {
        let mut state = self.state();
        let fresh = mem::take(&mut *self.fresh());
        state.write(fresh);
    }

    pub(super) fn put(&self, key: Key, known: Known) {
        let mut fresh = self.fresh();
        fresh.insert(key, known);
        if fresh.len() >= BATCH {
            drop(fresh);
            self.write();
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.write();
    }
}

impl State {
    fn get(&mut self, key: &Key) -> Option<Known> {
        self.look_up(key).unwrap_or_else(|error| {
            self.give_up(&error);
            None
        })
    }

    fn look_up(&mut self, key: &Key) -> rusqlite::Result<Option<Known>> {
        let Some(database) = &self.database else { return Ok(None) };
        if self.shared && !self.reading {
            database.execute_batch("BEGIN")?;
            self.reading = true;
        }
        let row: Option<(Vec<u8>, i64, i64)> = database
            .prepare_cached(
                "SELECT object, stored, checksum FROM known \
                 WHERE start = ?1 AND content = ?2 AND form = ?3 ORDER BY rowid DESC LIMIT 1",
            )?
            .query_row(params![key.start(), key.content, key.form()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        Ok(row.and_then(|(object, stored, checksum)| {
            let digest = <[u8; LENGTH]>::try_from(object).ok()?;
            let hash = ContentHash { algorithm: key.algorithm, digest };
            let known = Known { id: hash.object(key.kind), stored: u64::try_from(stored).ok()? };
            (key.checksum(&known) == checksum).then_some(known)
        }))
    }

    /// Writes rows.
    fn write(&mut self, fresh: HashMap<Key, Known>) {
        let mut fresh: Vec<_> = fresh.into_iter().collect();
        // In the order of the index, else each row would touch another page.
        fresh.sort_unstable_by_key(|(key, _)| key.start());
        let Some(database) = &mut self.database else { return };
        if fresh.is_empty() {
            return;
        }
        let reading = mem::take(&mut self.reading);
        let write = |database: &mut Connection| {
            if reading {
                database.execute_batch("COMMIT")?;
            }
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO known (start, content, form, object, stored, checksum) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?;
                for (key, known) in &fresh {
                    insert.execute(params![
                        key.start(),
                        key.content,
                        key.form(),
                        known.id.hash.digest,
                        known.stored.cast_signed(),
                        key.checksum(known)
                    ])?;
                }
            }
            transaction.commit()
        };
        if let Err(error) = write(database) {
            self.give_up(&error);
        }
    }

    /// Goes on without the database.
    fn give_up(&mut self, error: &rusqlite::Error) {
        tracing::warn!(
            path = %self.path.display(),
            %error,
            "the index of known content does not work; going on without it"
        );
        self.database = None;
        if is_damaged(error)
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(%error, "the damaged index of known content stays");
        }
    }
}

impl Hash for Key {
    /// The content's digest is a hash already.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_i64(self.start());
    }
}

impl Key {
    pub(super) fn new(
        content: &[u8],
        algorithm: Algorithm,
        compression: Compression,
        kind: ObjectKind,
    ) -> Self {
        Self { content: Sha256::digest(content).into(), algorithm, compression, kind }
    }

    /// The first bytes of the digest.
    fn start(&self) -> i64 {
        let [a, b, c, d, e, f, g, h, ..] = self.content;
        i64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// How the content is stored, as one number.
    fn form(&self) -> u8 {
        u8::from(self.kind == ObjectKind::Chunk)
            | self.compression.code() << 1
            | self.algorithm.code() << 4
    }

    fn checksum(&self, known: &Known) -> i64 {
        let mut hash = Sha256::new();
        hash.update(self.content);
        hash.update([self.form()]);
        hash.update(known.id.hash.digest);
        hash.update(known.stored.to_le_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        i64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Opens the database. Tells whether one can read for long while another writes.
fn connect(path: &Path) -> rusqlite::Result<(Connection, bool)> {
    let database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    // A power cut may cost the index, not more.
    database.pragma_update(None, "synchronous", false)?;
    database.pragma_update(None, "cache_size", -i64::from(CACHE))?;
    // A file system may lack what it takes, another process may be just reading: it works in the old way, too.
    let journal: rusqlite::Result<String> =
        database.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
    let shared = match journal {
        Ok(mode) => mode == "wal",
        Err(error) if is_damaged(&error) => return Err(error),
        Err(_) => false,
    };
    let version: i32 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != VERSION {
        database.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             DROP TABLE IF EXISTS known;
             CREATE TABLE known (start INTEGER NOT NULL, content BLOB NOT NULL, form INTEGER NOT NULL,
                 object BLOB NOT NULL, stored INTEGER NOT NULL, checksum INTEGER NOT NULL);
             CREATE INDEX known_by_start ON known (start);
             PRAGMA user_version = {VERSION};
             COMMIT;"
        ))?;
    }
    Ok((database, shared))
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut path = path.as_os_str().to_owned();
        path.push(suffix);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Error::System { action: "remove", path: path.into(), cause });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(content: &[u8], kind: ObjectKind) -> Key {
        Key::new(content, Algorithm::Sha1, Compression::Zlib, kind)
    }

    fn known(kind: ObjectKind) -> Known {
        Known { id: Algorithm::Sha1.hash(b"stored").object(kind), stored: 6 }
    }

    fn get(index: &Index, key: Key) -> Option<Known> {
        index.get(&[None, Some(key)])[1]
    }

    #[test]
    fn what_was_put_is_known_in_the_next_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        let index = Index::open(&path).unwrap();
        index.put(key(b"a", ObjectKind::File), known(ObjectKind::File));
        assert_eq!(get(&index, key(b"a", ObjectKind::File)), Some(known(ObjectKind::File)));
        drop(index);
        let index = Index::open(&path).unwrap();
        assert_eq!(get(&index, key(b"a", ObjectKind::File)), Some(known(ObjectKind::File)));
        for other in [
            key(b"b", ObjectKind::File),
            key(b"a", ObjectKind::Chunk),
            Key { algorithm: Algorithm::Rmd160, ..key(b"a", ObjectKind::File) },
            Key { compression: Compression::None, ..key(b"a", ObjectKind::File) },
        ] {
            assert_eq!(get(&index, other), None, "{other:?}");
        }
    }

    #[test]
    fn damage_costs_the_index_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        fs::write(&path, [b'x'; 5000]).unwrap();
        let index = Index::open(&path).unwrap();
        index.put(key(b"a", ObjectKind::File), known(ObjectKind::File));
        drop(index);

        let database = Connection::open(&path).unwrap();
        database.execute("UPDATE known SET stored = 7", []).unwrap();
        drop(database);
        let index = Index::open(&path).unwrap();
        assert_eq!(
            get(&index, key(b"a", ObjectKind::File)),
            None,
            "the row does not fit its checksum"
        );
        // Another process throws the table away.
        Connection::open(&path).unwrap().execute("DROP TABLE known", []).unwrap();
        assert_eq!(get(&index, key(b"a", ObjectKind::File)), None);
        index.put(key(b"a", ObjectKind::File), known(ObjectKind::File));
    }
}
