//! The names of a tree in a database of their own.
//!
//! It is scratch: nothing waits for the disk, and whatever goes wrong, the file is thrown away. The page cache
//! is small, so that a layer with a million names needs no more memory than one with a thousand.

use std::path::{Path, PathBuf};

use cvmfs_repository::entry::File;
use cvmfs_repository::xattr::Xattrs;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row, params};
use url::Url;

use super::content;
use crate::layer::Timestamp;
use crate::repository::{Error, Result, ScratchError};

/// Pages in memory while a tree is written, in KiB.
const WRITING_CACHE: u32 = 4 << 10;
/// … and while it is read.
const READING_CACHE: u32 = 2 << 10;

/// Statements that are kept prepared.
const STATEMENTS: usize = 64;

/// Number of the root directory.
pub(super) const ROOT: i64 = 1;
/// What the root's own name, which is empty, is in.
pub(super) const OUTSIDE: i64 = 0;
/// What the content of empty files is kept under.
const EMPTY: i64 = 0;

/// The inode has several names.
pub(super) const LINKED: i64 = 1;
/// An entry describes the directory.
pub(super) const DESCRIBED: i64 = 2;
/// Nothing of the lower layers is seen in the directory.
pub(super) const OPAQUE: i64 = 4;

/// `inode` is the same for hard links. `number` is a file's size or a packed device number. `removed` holds
/// the names that entries remove from the lower layers, also if the layer has them itself.
const SCHEMA: &str = "
    CREATE TABLE names (
        parent INTEGER NOT NULL, name BLOB NOT NULL, inode INTEGER NOT NULL, kind INTEGER NOT NULL,
        mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
        seconds INTEGER NOT NULL, nanoseconds INTEGER NOT NULL,
        number INTEGER NOT NULL, target BLOB, xattrs BLOB, flags INTEGER NOT NULL,
        PRIMARY KEY (parent, name)) WITHOUT ROWID;
    CREATE TABLE contents (inode INTEGER PRIMARY KEY, content BLOB NOT NULL);
    CREATE TABLE removed (parent INTEGER NOT NULL, name BLOB NOT NULL,
        PRIMARY KEY (parent, name)) WITHOUT ROWID;";

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum InodeKind {
    Directory = 0,
    File = 1,
    Symlink = 2,
    CharacterDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Socket = 6,
    Whiteout = 7,
}

impl InodeKind {
    const ALL: [Self; 8] = [
        Self::Directory,
        Self::File,
        Self::Symlink,
        Self::CharacterDevice,
        Self::BlockDevice,
        Self::Fifo,
        Self::Socket,
        Self::Whiteout,
    ];

    fn from_code(code: i64) -> rusqlite::Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| *kind as i64 == code)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(1, code))
    }
}

/// Everything about an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) number: i64,
    pub(super) kind: InodeKind,
    pub(super) attributes: Attributes,
    /// Size of a file, packed device number of a device.
    pub(super) value: u64,
    /// Target of a symlink.
    pub(super) target: Option<Vec<u8>>,
    pub(super) flags: i64,
}

/// What an inode carries besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Attributes {
    pub(in super::super) mode: u32,
    pub(in super::super) uid: u32,
    pub(in super::super) gid: u32,
    pub(in super::super) mtime: Timestamp,
    pub(in super::super) xattrs: Xattrs,
}

/// An open database.
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
}

fn inode(row: &Row<'_>) -> rusqlite::Result<Inode> {
    let seconds = row.get(5)?;
    let nanoseconds = row.get(6)?;
    Ok(Inode {
        number: row.get(0)?,
        kind: InodeKind::from_code(row.get(1)?)?,
        attributes: Attributes {
            mode: row.get(2)?,
            uid: row.get(3)?,
            gid: row.get(4)?,
            mtime: Timestamp { seconds, nanoseconds },
            xattrs: Xattrs::from_blob(row.get(9)?),
        },
        value: row.get::<_, i64>(7)?.cast_unsigned(),
        target: row.get(8)?,
        flags: row.get(10)?,
    })
}

impl Database {
    /// Makes a database in which nothing is but a root directory.
    pub(super) fn create(path: &Path, root: &Attributes) -> Result<Self> {
        let database = Self::connect(path, WRITING_CACHE)?;
        database.batch(SCHEMA)?;
        let root = Inode {
            number: ROOT,
            kind: InodeKind::Directory,
            attributes: root.clone(),
            value: 0,
            target: None,
            flags: 0,
        };
        database.insert(OUTSIDE, b"", &root)?;
        Ok(database)
    }

    /// Opens a database to change it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::connect(path, WRITING_CACHE)
    }

    /// Opens a database to read it while it is changed.
    pub(super) fn watch(path: &Path) -> Result<Self> {
        Self::connect(path, READING_CACHE)
    }

    /// Opens a database that nobody changes any more. SQLite can do without locks then, and without checking
    /// whether somebody did.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut uri = Url::from_file_path(path).expect("paths of scratch files are absolute");
        uri.set_query(Some("mode=ro&immutable=1"));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        Self::set_up(Connection::open_with_flags(uri.as_str(), flags), path, READING_CACHE)
    }

    fn connect(path: &Path, cache: u32) -> Result<Self> {
        Self::set_up(Connection::open(path), path, cache)
    }

    fn set_up(opened: rusqlite::Result<Connection>, path: &Path, cache: u32) -> Result<Self> {
        let opened = opened.and_then(|connection| {
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            // Else the statements for a directory would be planned again for each.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            connection.execute_batch(&format!(
                "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; \
                 PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache};"
            ))?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => Ok(Self { connection, path: path.to_owned() }),
            Err(cause) => Err(failed(path)(cause)),
        }
    }

    fn failed<C: Into<ScratchError>>(&self) -> impl FnOnce(C) -> Error + use<'_, C> {
        failed(&self.path)
    }

    /// The error for an inode that lacks what it should have by now.
    pub(super) fn incomplete(&self, inode: i64) -> Error {
        self.failed()(ScratchError::Incomplete(inode))
    }

    fn batch(&self, statements: &str) -> Result<()> {
        self.connection.execute_batch(statements).map_err(self.failed())
    }

    /// Begins many changes, which become visible to others with [`Self::commit`]. There is no way back.
    pub(super) fn begin(&self) -> Result<()> {
        self.batch("BEGIN")
    }

    pub(super) fn commit(&self) -> Result<()> {
        self.batch("COMMIT")
    }

    fn change(&self, statement: &str, parameters: impl Params) -> Result<usize> {
        self.connection
            .prepare_cached(statement)
            .and_then(|mut statement| statement.execute(parameters))
            .map_err(self.failed())
    }

    /// Puts a name unless it is taken. Tells whether it was free.
    pub(super) fn insert(&self, parent: i64, name: &[u8], inode: &Inode) -> Result<bool> {
        let Attributes { mode, uid, gid, mtime, xattrs } = &inode.attributes;
        let inserted = self.change(
            "INSERT INTO names VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
             ON CONFLICT DO NOTHING",
            params![
                parent,
                name,
                inode.number,
                inode.kind as i64,
                mode,
                uid,
                gid,
                mtime.seconds,
                mtime.nanoseconds,
                inode.value.cast_signed(),
                inode.target,
                xattrs.blob(),
                inode.flags
            ],
        )?;
        Ok(inserted > 0)
    }

    /// What has a name.
    pub(super) fn find(&self, parent: i64, name: &[u8]) -> Result<Option<Inode>> {
        let find = concat!(
            "SELECT inode, kind, mode, uid, gid, seconds, nanoseconds, number, target, xattrs, ",
            "flags FROM names WHERE parent = ?1 AND name = ?2"
        );
        self.connection
            .prepare_cached(find)
            .and_then(|mut find| find.query_row(params![parent, name], inode).optional())
            .map_err(self.failed())
    }

    /// The root directory.
    pub(super) fn root(&self) -> Result<Inode> {
        let root = self.find(OUTSIDE, b"")?;
        root.ok_or_else(|| self.failed()(rusqlite::Error::QueryReturnedNoRows))
    }

    /// Gives a directory other attributes, and flags in addition to those it has.
    pub(super) fn update(
        &self,
        parent: i64,
        name: &[u8],
        attributes: &Attributes,
        flags: i64,
    ) -> Result<()> {
        let Attributes { mode, uid, gid, mtime, xattrs } = attributes;
        self.change(
            "UPDATE names SET mode = ?3, uid = ?4, gid = ?5, seconds = ?6, nanoseconds = ?7, \
             xattrs = ?8, flags = flags | ?9 WHERE parent = ?1 AND name = ?2",
            params![
                parent,
                name,
                mode,
                uid,
                gid,
                mtime.seconds,
                mtime.nanoseconds,
                xattrs.blob(),
                flags
            ],
        )?;
        Ok(())
    }

    /// Sets flags on a name; the others stay.
    pub(super) fn flag(&self, parent: i64, name: &[u8], flags: i64) -> Result<()> {
        const FLAG: &str = "UPDATE names SET flags = flags | ?3 WHERE parent = ?1 AND name = ?2";
        self.change(FLAG, params![parent, name, flags]).map(drop)
    }

    /// Removes a name; if it is a directory, with all in it.
    pub(super) fn remove(&self, parent: i64, name: &[u8], inode: &Inode) -> Result<()> {
        if inode.kind == InodeKind::Directory {
            const BELOW: &str = "WITH RECURSIVE below (inode) AS (SELECT ?1 UNION ALL SELECT n.inode \
                 FROM names n JOIN below ON n.parent = below.inode WHERE n.kind = 0) \
                 SELECT inode FROM below";
            let numbers = self.connection.prepare_cached(BELOW).and_then(|mut below| {
                below.query_map([inode.number], |row| row.get::<_, i64>(0))?.collect()
            });
            let directories: Vec<i64> = numbers.map_err(self.failed())?;
            for directory in directories {
                self.change("DELETE FROM names WHERE parent = ?1", [directory])?;
                self.change("DELETE FROM removed WHERE parent = ?1", [directory])?;
            }
        }
        self.change("DELETE FROM names WHERE parent = ?1 AND name = ?2", params![parent, name])?;
        Ok(())
    }

    /// Moves a name to where nothing is.
    pub(super) fn rename(&self, from: (i64, &[u8]), to: (i64, &[u8])) -> Result<()> {
        const RENAME: &str =
            "UPDATE names SET parent = ?3, name = ?4 WHERE parent = ?1 AND name = ?2";
        self.change(RENAME, params![from.0, from.1, to.0, to.1]).map(drop)
    }

    /// The names in a directory, sorted.
    pub(super) fn names(&self, directory: i64) -> Result<Vec<Vec<u8>>> {
        const NAMES: &str = "SELECT name FROM names WHERE parent = ?1 ORDER BY name";
        self.connection
            .prepare_cached(NAMES)
            .and_then(|mut names| names.query_map([directory], |row| row.get(0))?.collect())
            .map_err(self.failed())
    }

    /// Hands out the names in a directory, sorted, with what they are and what files hold.
    pub(super) fn for_each(
        &self,
        directory: i64,
        each: &mut dyn FnMut(Vec<u8>, Inode, Option<File>) -> Result<()>,
    ) -> Result<()> {
        let list = concat!(
            "SELECT n.inode, kind, mode, uid, gid, seconds, nanoseconds, number, target, xattrs, ",
            "flags, name, content FROM names n LEFT JOIN contents c ON c.inode = n.inode ",
            "WHERE parent = ?1 ORDER BY name"
        );
        let mut list = self.connection.prepare_cached(list).map_err(self.failed())?;
        let mut rows = list.query([directory]).map_err(self.failed())?;
        while let Some(row) = rows.next().map_err(self.failed())? {
            let name = row.get(11).map_err(self.failed())?;
            let inode = inode(row).map_err(self.failed())?;
            let content = row.get_ref(12).and_then(|value| Ok(value.as_blob_or_null()?));
            let file = match content.map_err(self.failed())? {
                Some(content) => Some(self.decode(content)?),
                None => None,
            };
            each(name, inode, file)?;
        }
        Ok(())
    }

    fn decode(&self, content: &[u8]) -> Result<File> {
        content::decode(content).ok_or_else(|| self.failed()(ScratchError::Content))
    }

    /// Notes what the file of an inode holds.
    pub(super) fn set_content(&self, inode: i64, file: &File) -> Result<()> {
        const SET: &str = "INSERT OR REPLACE INTO contents VALUES (?1, ?2)";
        self.change(SET, params![inode, content::encode(file)]).map(drop)
    }

    /// What the file of an inode holds.
    pub(super) fn content(&self, inode: i64) -> Result<Option<File>> {
        let content: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT content FROM contents WHERE inode = ?1")
            .and_then(|mut find| find.query_row([inode], |row| row.get(0)).optional())
            .map_err(self.failed())?;
        content.map(|content| self.decode(&content)).transpose()
    }

    /// Notes what all empty files hold.
    pub(super) fn set_empty(&self, file: &File) -> Result<()> {
        self.set_content(EMPTY, file)
    }

    /// What all empty files hold.
    pub(super) fn empty(&self) -> Result<Option<File>> {
        self.content(EMPTY)
    }

    /// Notes that a name is removed from the lower layers.
    pub(super) fn set_removed(&self, directory: i64, name: &[u8]) -> Result<()> {
        const SET: &str = "INSERT OR IGNORE INTO removed VALUES (?1, ?2)";
        self.change(SET, params![directory, name]).map(drop)
    }

    /// Whether a name is removed from the lower layers.
    pub(super) fn is_removed(&self, directory: i64, name: &[u8]) -> Result<bool> {
        const FIND: &str = "SELECT 1 FROM removed WHERE parent = ?1 AND name = ?2";
        self.connection
            .prepare_cached(FIND)
            .and_then(|mut find| find.exists(params![directory, name]))
            .map_err(self.failed())
    }

    /// The names in a directory that are removed from the lower layers.
    pub(super) fn removed(&self, directory: i64) -> Result<Vec<Vec<u8>>> {
        self.connection
            .prepare_cached("SELECT name FROM removed WHERE parent = ?1")
            .and_then(|mut names| names.query_map([directory], |row| row.get(0))?.collect())
            .map_err(self.failed())
    }

    /// The subdirectories of a directory, sorted.
    pub(super) fn directories(&self, directory: i64) -> Result<Vec<(Vec<u8>, i64, i64)>> {
        const LIST: &str = "SELECT name, inode, flags FROM names WHERE parent = ?1 AND kind = 0 \
                            ORDER BY name";
        self.connection
            .prepare_cached(LIST)
            .and_then(|mut list| {
                let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
                list.query_map([directory], row)?.collect()
            })
            .map_err(self.failed())
    }
}

fn failed<C: Into<ScratchError>>(path: &Path) -> impl FnOnce(C) -> Error + use<'_, C> {
    |cause| Error::ScratchDatabase { path: path.to_owned(), cause: cause.into() }
}
