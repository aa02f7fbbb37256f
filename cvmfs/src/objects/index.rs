//! Which content became which object in earlier runs.
//!
//! A local SQLite database from BLAKE3 of content to object. It may be lost or thrown away at any time, it only
//! saves the compression of what was compressed before. So nothing here makes a publish fail: a database that does not
//! work is not used for the rest of the run, and a damaged one is replaced by an empty one. It belongs to no storage in
//! particular, because the object that content becomes does not depend on the storage.
//!
//! Rows are appended, and found by an index of the first bytes of the digest. Digests come in no order, so every publish
//! would change each page of a table that is sorted by them.
//!
//! The digest is BLAKE3, because every published byte goes through it in addition to the format's own hash: it takes
//! from two thirds (files of 4 KiB) to a quarter of the time of SHA-256 with the processor's instructions for that, and
//! less without them. It never leaves this database.
//!
//! A row is the first 8 bytes of the digest, as a number, and an entry of 61 bytes:
//!
//! | bytes | what they are |
//! |---|---|
//! | 24 | the rest of the digest |
//! | 1 | how the content is stored |
//! | 20 | the object's hash |
//! | 8 | its size, little-endian |
//! | 8 | a checksum of all before, because SQLite has none and a wrong row would put another file's content in place of the right one |
//!
//! Several processes may use it at a time. Its journal is a write-ahead log: so one process can keep a read transaction
//! open, which saves the system calls of a new transaction for each query, while another process writes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io, mem};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use crate::compression::Compression;
use crate::hash::{Algorithm, ContentHash, LENGTH, ObjectId, ObjectKind};
use crate::{Error, Result};

/// Version of the table, in SQLite's `user_version`. An index of another version is emptied.
const VERSION: i32 = 3;

/// Bytes of the digest that a row is found by.
const START: usize = 8;
/// Bytes of the checksum of an entry.
const CHECKSUM: usize = 8;
/// Bytes of an entry.
const ENTRY: usize = 32 - START + 1 + LENGTH + 8 + CHECKSUM;

/// How many rows are written in one go. They are spread over the whole index, so that a few rows change about as many
/// pages as many rows do.
const BATCH: usize = 32 << 10;

/// Pages in memory, in KiB.
const CACHE: u32 = 8 << 10;

/// How long to wait for another process that is using the index.
const BUSY: Duration = Duration::from_secs(1);

/// Objects by their content.
pub struct Index {
    /// Rows that are not written yet. If both locks are needed, that of the database is taken first.
    fresh: Mutex<Fresh>,
    state: Mutex<State>,
}

struct State {
    path: PathBuf,
    /// Absent when it turned out not to work.
    database: Option<Connection>,
    /// Whether others can write while this process reads.
    shared: bool,
    /// Whether a read transaction is open.
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

/// Rows that are not written yet.
type Fresh = HashMap<Key, Known, BuildHasherDefault<Start>>;

/// Takes the first bytes of a digest for its hash.
#[derive(Default)]
struct Start(u64);

impl Hasher for Start {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 | u64::from(byte);
        }
    }

    fn write_i64(&mut self, start: i64) {
        self.0 = start.cast_unsigned();
    }

    fn finish(&self) -> u64 {
        self.0
    }
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
    /// If the file cannot be opened or made. A damaged one is replaced by an empty one, with a warning.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |cause| Error::Database {
            action: "open",
            what: format!("the index of known content {}", path.display()),
            cause,
        };
        let (database, shared) = match connect(path) {
            Err(error) if is_damaged(&error) => {
                tracing::warn!(path = %path.display(), %error, "the index of known content is damaged; beginning a new one");
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

    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of each key, if any.
    pub(super) fn get(&self, keys: &[Option<Key>]) -> Vec<Option<Known>> {
        let mut state = self.state();
        let mut known: Vec<_> = {
            let fresh = self.fresh();
            keys.iter().map(|key| key.as_ref().and_then(|key| fresh.get(key).copied())).collect()
        };
        if let Err(error) = state.look_up(keys, &mut known) {
            state.give_up(&error);
        }
        known
    }

    /// Writes what is new. Dropping the index does this, too, but threads that are about to end may keep the index
    /// until the process is gone.
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
    /// Looks for what is not known yet.
    fn look_up(
        &mut self,
        keys: &[Option<Key>],
        known: &mut [Option<Known>],
    ) -> rusqlite::Result<()> {
        let Some(database) = &self.database else { return Ok(()) };
        if self.shared && !self.reading {
            database.execute_batch("BEGIN")?;
            self.reading = true;
        }
        let mut find = database
            .prepare_cached("SELECT entry FROM known WHERE start = ?1 ORDER BY rowid DESC")?;
        for (key, known) in keys.iter().zip(known) {
            if let (Some(key), None) = (key, &known) {
                let mut rows = find.query([key.start()])?;
                while let (None, Some(row)) = (&known, rows.next()?) {
                    *known = key.known(row.get_ref(0)?.as_blob()?);
                }
            }
        }
        Ok(())
    }

    /// Writes rows.
    fn write(&mut self, fresh: Fresh) {
        let mut fresh: Vec<_> = fresh.into_iter().collect();
        // In the order of the index, so that neighbours change the same page.
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
                let mut insert = transaction
                    .prepare_cached("INSERT INTO known (start, entry) VALUES (?1, ?2)")?;
                for (key, known) in &fresh {
                    insert.execute(params![key.start(), key.entry(known)])?;
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
        Self { content: blake3::hash(content).into(), algorithm, compression, kind }
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

    /// The entry that notes which object it became.
    fn entry(&self, known: &Known) -> Vec<u8> {
        let mut entry = Vec::with_capacity(ENTRY);
        entry.extend_from_slice(&self.content[START..]);
        entry.push(self.form());
        entry.extend_from_slice(&known.id.hash.digest);
        entry.extend_from_slice(&known.stored.to_le_bytes());
        let mut checksum = blake3::Hasher::new();
        checksum.update(&self.content[..START]).update(&entry);
        entry.extend_from_slice(&checksum.finalize().as_bytes()[..CHECKSUM]);
        entry
    }

    /// The object in an entry, if the entry belongs to this key and is not damaged.
    fn known(&self, entry: &[u8]) -> Option<Known> {
        let (rest, _) = entry.split_last_chunk::<CHECKSUM>()?;
        let (rest, stored) = rest.split_last_chunk()?;
        let (_, &digest) = rest.split_last_chunk::<LENGTH>()?;
        let hash = ContentHash { algorithm: self.algorithm, digest };
        let known = Known { id: hash.object(self.kind), stored: u64::from_le_bytes(*stored) };
        (self.entry(&known) == entry).then_some(known)
    }
}

/// Opens the database. Returns also whether others can write while this process reads.
fn connect(path: &Path) -> rusqlite::Result<(Connection, bool)> {
    let database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    // Otherwise SQLite would plan the query again for each digest.
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A power cut may cost the index, not more.
    database.pragma_update(None, "synchronous", false)?;
    database.pragma_update(None, "cache_size", -i64::from(CACHE))?;
    // The file system may not support it, or another process may be reading; an ordinary journal will do then.
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
             CREATE TABLE known (start INTEGER NOT NULL, entry BLOB NOT NULL);
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
        // One bit of the size.
        let changed = database.execute(
            "UPDATE known SET entry = CAST(substr(entry, 1, 45) || x'07' || substr(entry, 47) AS BLOB)",
            [],
        );
        assert_eq!(changed, Ok(1));
        drop(database);
        let index = Index::open(&path).unwrap();
        assert_eq!(
            get(&index, key(b"a", ObjectKind::File)),
            None,
            "the entry does not fit its checksum"
        );
        // Another process throws the table away.
        Connection::open(&path).unwrap().execute("DROP TABLE known", []).unwrap();
        assert_eq!(get(&index, key(b"a", ObjectKind::File)), None);
        index.put(key(b"a", ObjectKind::File), known(ObjectKind::File));
    }
}
