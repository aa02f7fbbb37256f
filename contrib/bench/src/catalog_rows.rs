//! The rows of a catalog such as an image gives, and how SQLite gets them.

use anyhow::{Context, Result};
use cvmfs_repository::catalog::Mount;
use cvmfs_repository::catalog::row::{Columns, Location};
use cvmfs_repository::compression::Compression;
use cvmfs_repository::entry::{Content, Entry, EntryKind, File, Time};
use cvmfs_repository::hash::{Algorithm, ContentHash};
use cvmfs_repository::path::{PathHash, TreePath};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Statement, params};

/// Entries of one directory, as in an image of Debian with Python.
const IN_DIRECTORY: u64 = 12;
/// One entry in this many is a link.
const LINKS: u64 = 10;

/// A row with all that its columns refer to.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) path: PathHash,
    parent: PathHash,
    name: Vec<u8>,
    entry: Entry,
}

impl Row {
    /// Its columns.
    pub(crate) fn columns(&self) -> Columns<'_> {
        let location = Location { path: self.path, parent: self.parent, name: &self.name };
        Columns::encode(location, &self.entry, Mount::None, 2)
    }
}

/// So many rows, directory by directory and in each by name: the order in which catalogs are written.
pub(crate) fn rows(count: u64) -> Result<Vec<Row>> {
    let mut random = fastrand::Rng::with_seed(count);
    let mut rows = Vec::new();
    let mut directory = TreePath::ROOT;
    for number in 0..count {
        if number % IN_DIRECTORY == 0 {
            let text = format!("/usr/lib/python3/package-{}/module-{}", number / 100, number);
            directory = TreePath::parse(text.as_bytes()).context("a path")?;
        }
        let length = random.usize(4..20);
        let word: String = std::iter::repeat_with(|| random.lowercase()).take(length).collect();
        let name = format!("{word}-{number}.py").into_bytes();
        let kind = if number % IN_DIRECTORY == 0 {
            EntryKind::Directory
        } else if number % LINKS == 0 {
            EntryKind::Symlink(format!("../{word}.so").into_bytes())
        } else {
            let mut digest = [0; 20];
            random.fill(&mut digest);
            let hash = ContentHash { algorithm: Algorithm::Sha1, digest };
            let bits = random.u32(1..24);
            let size = random.u64(0..1 << bits);
            let content = Content::Whole(hash);
            EntryKind::File(File { size, compression: Compression::Zlib, content })
        };
        let mtime = Time {
            seconds: random.i64(1_600_000_000..1_760_000_000),
            nanoseconds: Some(random.u32(0..1_000_000_000)),
        };
        let entry = Entry { kind, ..Entry::directory(0o644, mtime) };
        let path = directory.join(&name).hash();
        rows.push(Row { path, parent: directory.hash(), name, entry });
    }
    rows.sort_by(|a, b| (a.parent.columns(), &a.name).cmp(&(b.parent.columns(), &b.name)));
    Ok(rows)
}

pub(crate) const INSERT: &str = "INSERT INTO catalog \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

/// Hands a row to [`INSERT`].
pub(crate) fn insert(statement: &mut Statement<'_>, columns: &Columns<'_>) -> Result<()> {
    let text = |bytes| ToSqlOutput::Borrowed(ValueRef::Text(bytes));
    let (path, parent) = (columns.path.columns(), columns.parent.columns());
    statement.execute(params![
        path.0,
        path.1,
        parent.0,
        parent.1,
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
    Ok(())
}
