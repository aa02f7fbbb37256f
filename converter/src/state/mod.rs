//! What a publisher remembers between rounds. It only saves work: whoever loses it asks registries and the repository
//! again, and tries failed images sooner than it would have.
//!
//! An SQLite database for each repository, in one directory.

mod failure;
mod image;
mod memory;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

pub use failure::{Failure, next_try};
pub use image::SeenImage;
pub use memory::Memory;

/// How the names of the databases end.
const EXTENSION: &str = "state";

/// Changes whenever a table does. A database of another version is begun again.
const VERSION: i64 = 1;

/// How long one process waits for another.
const BUSY: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
    CREATE TABLE image (name TEXT PRIMARY KEY, wanted TEXT NOT NULL, source TEXT NOT NULL, published TEXT NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE failure (name TEXT PRIMARY KEY, reason TEXT NOT NULL, count INTEGER NOT NULL, first TEXT NOT NULL,
        last TEXT NOT NULL, next TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE document (name TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
";

/// The result of this room's fallible functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be remembered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made.
    #[error("cannot make the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: std::io::Error,
    },
    /// SQLite refused an operation.
    #[error("cannot use {}: it only saves work, and can be removed", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// SQLite's error.
        #[source]
        cause: rusqlite::Error,
    },
    /// What was stored is not what this program stores.
    #[error("{} holds something else than {what}: remove it", path.display())]
    Content {
        /// The database.
        path: PathBuf,
        /// What was expected.
        what: &'static str,
    },
}

/// What is remembered of one repository.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    database: Mutex<Connection>,
}

impl State {
    /// Where in `directory` is remembered what belongs to a repository.
    pub fn path(directory: &Path, repository: &str) -> PathBuf {
        // The name may be a path.
        let name: String = repository
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' })
            .collect();
        directory.join(format!("{name}.{EXTENSION}"))
    }

    /// Whether a file in the directory is such a database, by its name.
    pub fn is_state(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == EXTENSION)
    }

    /// Opens the database at a path. A damaged one, or one of another version, is begun again.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open_at(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .map_err(|cause| Error::Directory { path: directory.to_owned(), cause })?;
        }
        let database = match connect(&path) {
            Ok(database) => database,
            Err(error) if is_damage(&error) => {
                tracing::warn!("{} is of no use ({error}); beginning again", path.display());
                for suffix in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
                }
                connect(&path).map_err(|cause| Error::Database { path: path.clone(), cause })?
            }
            Err(cause) => return Err(Error::Database { path, cause }),
        };
        Ok(Self { path, database: Mutex::new(database) })
    }

    /// Remembers until this is dropped.
    fn in_memory() -> Result<Self> {
        let path = PathBuf::from(":memory:");
        match connect(&path) {
            Ok(database) => Ok(Self { path, database: Mutex::new(database) }),
            Err(cause) => Err(Error::Database { path, cause }),
        }
    }

    /// The document with the report on the last round.
    pub const ROUND: &str = "round";

    /// Remembers a document under a name, in place of the last one.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn put_document(&self, name: &str, json: &str) -> Result<()> {
        let statement = "INSERT OR REPLACE INTO document VALUES (?1, ?2)";
        self.run(|database| database.execute(statement, (name, json)).map(drop))
    }

    /// The document of a name.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn document(&self, name: &str) -> Result<Option<String>> {
        let statement = "SELECT json FROM document WHERE name = ?1";
        self.run(|database| database.query_row(statement, [name], |row| row.get(0)).optional())
    }

    /// All documents, by name.
    fn documents(&self) -> Result<Vec<(String, String)>> {
        self.run(|database| {
            let mut statement = database.prepare("SELECT name, json FROM document")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.held()).map_err(|cause| Error::Database { path: self.path.clone(), cause })
    }

    fn held(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == VERSION {
        return Ok(database);
    }
    let tables: Vec<String> = database
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut script = String::from("BEGIN IMMEDIATE;");
    for table in tables {
        script += &format!("DROP TABLE \"{table}\";");
    }
    script += SCHEMA;
    script += &format!("PRAGMA user_version = {VERSION}; COMMIT;");
    database.execute_batch(&script)?;
    Ok(database)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_outlive_the_process() {
        let place = tempfile::tempdir().unwrap();
        let open =
            || State::open_at(&State::path(place.path(), "/srv/unpacked.example.org")).unwrap();
        assert_eq!(open().document("round").unwrap(), None);
        for json in ["{}", "{\"images\":1}"] {
            open().put_document("round", json).unwrap();
            assert_eq!(open().document("round").unwrap().as_deref(), Some(json));
        }
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_begun_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("r.state");
        std::fs::write(&path, "this is no database, but a text that is long enough").unwrap();
        let state = State::open_at(&State::path(place.path(), "r")).unwrap();
        state.put_document("a", "1").unwrap();
        state.run(|database| database.pragma_update(None, "user_version", 99)).unwrap();
        drop(state);
        let state = State::open_at(&State::path(place.path(), "r")).unwrap();
        assert_eq!(state.document("a").unwrap(), None);
    }

    #[test]
    fn repositories_have_databases_of_their_own() {
        let place = tempfile::tempdir().unwrap();
        let [a, b] = ["a.example.org", "b.example.org"]
            .map(|name| State::open_at(&State::path(place.path(), name)).unwrap());
        a.put_document("x", "1").unwrap();
        assert_eq!(b.document("x").unwrap(), None);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error =
            State::open_at(&State::path(Path::new("/proc/no/such"), "r")).unwrap_err().to_string();
        assert_eq!(error, "cannot make the directory /proc/no/such");
    }
}
