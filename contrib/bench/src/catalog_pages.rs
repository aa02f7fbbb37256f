//! What it is worth that catalogs are written page by page: the same sorted rows through the project's page writer and
//! through SQLite, as fast as its statements get.
//!
//! All end with the database's bytes in memory, ready to be compressed, and all databases are compared: they must hold
//! the same rows, and SQLite's own check must find nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cvmfs_repository::catalog::bench::database;
use cvmfs_repository::catalog::row::Columns;
use cvmfs_repository::scratch::Scratch;
use libdeflater::{CompressionLvl, Compressor};
use rusqlite::types::Value;
use rusqlite::{Connection, MAIN_DB};
use rustix::time::{ClockId, clock_gettime};

use crate::catalog_rows::{INSERT, Row, insert, rows};
use crate::{measure, table};

/// Sizes of catalogs, and how many of them are made for one measurement.
const CATALOGS: [(u64, usize); 3] = [(200, 500), (5_000, 20), (100_000, 1)];

/// The level that catalogs are compressed at.
const LEVEL: i32 = 5;

/// Nobody else sees the database, and it is thrown away if anything fails.
const PRIVATE: &str = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; \
    PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;";

const PRIMARY_KEY: &str = ",  CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2)";

/// Makes the index of the primary key when all rows are there, which SQLite does only for other indexes: under another
/// name, which is changed in the schema afterwards.
const KEY: &str =
    "CREATE UNIQUE INDEX unnamed ON catalog (md5path_1, md5path_2); PRAGMA writable_schema = ON;";
const NAME_KEY: &str = "UPDATE sqlite_schema SET sql = ?1 WHERE name = 'catalog'";
const NAME_INDEX: &str = "UPDATE sqlite_schema SET sql = NULL, name = 'sqlite_autoindex_catalog_1' \
    WHERE name = 'unnamed'; COMMIT; PRAGMA writable_schema = RESET;";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Pages { large: bool },
    Sqlite(Sqlite),
}

/// How SQLite makes a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sqlite {
    begin: Begin,
    /// Whether the primary key's index is made when all rows are there; the other index always is.
    key_last: bool,
    /// Whether the rows come in the order of the primary key.
    by_path: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// In memory, with statements that make the tables.
    Tables,
    /// In memory, as a copy of a database with empty tables.
    Copy,
    /// In a file.
    File,
}

const OURS: Contender = Contender::Pages { large: false };

const CONTENDERS: [Contender; 7] = [
    OURS,
    Contender::Pages { large: true },
    sqlite(Begin::Copy, true, false),
    sqlite(Begin::Copy, false, true),
    sqlite(Begin::Copy, false, false),
    sqlite(Begin::Tables, true, false),
    sqlite(Begin::File, true, false),
];

const fn sqlite(begin: Begin, key_last: bool, by_path: bool) -> Contender {
    Contender::Sqlite(Sqlite { begin, key_last, by_path })
}

/// What is the same for all catalogs of SQLite's.
struct Schema {
    /// Statements that make the tables without the indexes that come last, by whether the key's is one of them.
    tables: [String; 2],
    /// An empty database made by them.
    empty: [Vec<u8>; 2],
    catalog: String,
    index: String,
    /// The rows of `properties` and `statistics`.
    properties: Vec<(Value, Value)>,
    statistics: Vec<(Value, Value)>,
}

/// What one catalog cost.
struct Cost {
    wall: f64,
    cpu: f64,
    database: Vec<u8>,
}

/// Compares them.
pub(crate) fn run(rounds: usize) -> Result<()> {
    let scratch = Scratch::below(std::path::Path::new("/dev/shm"))?;
    for (count, catalogs) in CATALOGS {
        compare(&scratch, count, catalogs, rounds)?;
    }
    Ok(())
}

fn compare(scratch: &Scratch, count: u64, catalogs: usize, rounds: usize) -> Result<()> {
    let rows = rows(count)?;
    let mut by_path = rows.clone();
    by_path.sort_by_key(|row| row.path.columns());
    let schema = Schema::of(&database(scratch, rows.iter().map(Row::columns), false)?)?;
    let results = measure::in_turn(rounds, CONTENDERS.len(), |side| {
        let contender = CONTENDERS[side];
        let rows = if contender.is_by_path() { &by_path } else { &rows };
        let columns: Vec<_> = rows.iter().map(Row::columns).collect();
        measure(catalogs, || contender.make(scratch, &columns, &schema))
    })?;

    let expected = contents(&results[0].first().context("a round")?.database)?;
    let medians: Vec<_> = results
        .iter()
        .map(|costs| {
            let wall = measure::median(costs.iter().map(|cost| cost.wall));
            (wall, measure::median(costs.iter().map(|cost| cost.cpu)))
        })
        .collect();
    let mut lines = Vec::new();
    for ((contender, costs), (wall, cpu)) in CONTENDERS.iter().zip(&results).zip(&medians) {
        let bytes = &costs.first().context("a round")?.database;
        ensure!(contents(bytes)? == expected, "{contender} holds something else");
        lines.push(vec![
            contender.to_string(),
            format!("{:.2}", wall * 1e3),
            format!("{:.2}", cpu * 1e3),
            format!("{:.0}", bytes.len() as f64 / 1e3),
            format!("{:.0}", compressed(bytes)? as f64 / 1e3),
            format!("{:.2}", wall / medians[0].0),
            format!("{:.2}", cpu / medians[0].1),
        ]);
    }
    let headline = format!("A catalog of {count} entries");
    let columns = ["", "wall ms", "CPU ms", "KB", "KB deflated", "wall / pages", "CPU / pages"];
    table::print(&headline, &columns, &lines);
    Ok(())
}

/// Makes a catalog many times.
fn measure(catalogs: usize, mut make: impl FnMut() -> Result<Vec<u8>>) -> Result<Cost> {
    let (begin, cpu) = (Instant::now(), processor_time());
    let mut database = Vec::new();
    for _ in 0..catalogs {
        database = make()?;
    }
    let (wall, cpu) = (begin.elapsed().as_secs_f64(), (processor_time() - cpu).as_secs_f64());
    Ok(Cost { wall: wall / catalogs as f64, cpu: cpu / catalogs as f64, database })
}

impl Contender {
    fn is_by_path(self) -> bool {
        matches!(self, Self::Sqlite(Sqlite { by_path: true, .. }))
    }

    fn make(self, scratch: &Scratch, rows: &[Columns<'_>], schema: &Schema) -> Result<Vec<u8>> {
        match self {
            Self::Pages { large } => Ok(database(scratch, rows.iter().copied(), large)?),
            Self::Sqlite(sqlite) => sqlite.make(scratch, rows, schema),
        }
    }
}

impl Sqlite {
    fn make(self, scratch: &Scratch, rows: &[Columns<'_>], schema: &Schema) -> Result<Vec<u8>> {
        if self.begin == Begin::File {
            let file = tempfile::NamedTempFile::new_in(scratch.path())?;
            let connection = Connection::open(file.path())?;
            connection.execute_batch("PRAGMA page_size = 1024;")?;
            self.fill(&connection, rows, schema)?;
            connection.close().map_err(|(_, error)| error)?;
            return Ok(std::fs::read(file.path())?);
        }
        let mut connection = Connection::open_in_memory()?;
        if self.begin == Begin::Copy {
            let empty = &schema.empty[usize::from(self.key_last)];
            let read_only = false;
            connection.deserialize_read_exact(MAIN_DB, &empty[..], empty.len(), read_only)?;
        } else {
            connection.execute_batch("PRAGMA page_size = 1024;")?;
        }
        self.fill(&connection, rows, schema)?;
        Ok(connection.serialize(MAIN_DB)?.to_vec())
    }

    fn fill(self, connection: &Connection, rows: &[Columns<'_>], schema: &Schema) -> Result<()> {
        connection.execute_batch(PRIVATE)?;
        connection.execute_batch("BEGIN")?;
        if self.begin != Begin::Copy {
            connection.execute_batch(&schema.tables[usize::from(self.key_last)])?;
        }
        let mut statement = connection.prepare(INSERT)?;
        for columns in rows {
            insert(&mut statement, columns)?;
        }
        drop(statement);
        for (table, rows) in
            [("properties", &schema.properties), ("statistics", &schema.statistics)]
        {
            let mut statement =
                connection.prepare(&format!("INSERT INTO {table} VALUES (?1, ?2)"))?;
            for (name, value) in rows {
                statement.execute((name, value))?;
            }
        }
        if self.key_last {
            connection.execute_batch(KEY)?;
            connection.execute(NAME_KEY, [&schema.catalog])?;
            connection.execute_batch(NAME_INDEX)?;
            connection.execute_batch(&schema.index)?;
        } else {
            connection.execute_batch(&schema.index)?;
            connection.execute_batch("COMMIT")?;
        }
        Ok(())
    }
}

impl Schema {
    /// That of a catalog.
    fn of(catalog: &[u8]) -> Result<Self> {
        let connection = open(catalog)?;
        let all: Vec<String> = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name != 'catalog'")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let named = |name: &str| -> rusqlite::Result<String> {
            let find = "SELECT sql FROM sqlite_schema WHERE name = ?1";
            connection.query_row(find, [name], |row| row.get(0))
        };
        let catalog = named("catalog")?;
        let unkeyed = catalog.replace(PRIMARY_KEY, "");
        ensure!(unkeyed != catalog, "another primary key than expected: {catalog}");
        let tables = [&catalog, &unkeyed].map(|first| format!("{first};{}", all.join(";")));
        let [keyed, unkeyed] = tables.each_ref().map(|tables| -> Result<Vec<u8>> {
            let mut connection = Connection::open_in_memory()?;
            connection
                .execute_batch(&format!("PRAGMA page_size = 1024; BEGIN; {tables}; COMMIT;"))?;
            Ok(connection.serialize(MAIN_DB)?.to_vec())
        });
        let empty = [keyed?, unkeyed?];
        let pairs = |table: &str| -> rusqlite::Result<Vec<(Value, Value)>> {
            let mut list = connection.prepare(&format!("SELECT * FROM {table}"))?;
            list.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let (properties, statistics) = (pairs("properties")?, pairs("statistics")?);
        Ok(Self {
            tables,
            empty,
            index: named("idx_catalog_parent")?,
            catalog,
            properties,
            statistics,
        })
    }
}

fn open(database: &[u8]) -> Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    let read_only = true;
    connection.deserialize_read_exact(MAIN_DB, database, database.len(), read_only)?;
    Ok(connection)
}

/// All rows of a database that SQLite finds nothing wrong with, and its schema.
fn contents(database: &[u8]) -> Result<Vec<Vec<Value>>> {
    let connection = open(database)?;
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(check == "ok", "SQLite finds: {check}");
    let mut all = Vec::new();
    for (list, columns) in [
        ("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name", 4),
        ("SELECT * FROM catalog ORDER BY md5path_1, md5path_2", 16),
        ("SELECT * FROM properties ORDER BY key", 2),
        ("SELECT * FROM statistics ORDER BY counter", 2),
    ] {
        let mut list = connection.prepare(list)?;
        let rows =
            list.query_map([], |row| (0..columns).map(|column| row.get(column)).collect())?;
        for row in rows {
            all.push(row?);
        }
    }
    Ok(all)
}

/// Bytes of the object that a database becomes.
fn compressed(database: &[u8]) -> Result<usize> {
    let mut compressor = Compressor::new(CompressionLvl::new(LEVEL).ok().context("no such level")?);
    let mut stored = vec![0; compressor.zlib_compress_bound(database.len())];
    Ok(compressor.zlib_compress(database, &mut stored)?)
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

impl std::fmt::Display for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sqlite { begin, key_last, by_path } = match self {
            Self::Pages { large: false } => return f.write_str("**page by page, in memory**"),
            Self::Pages { large: true } => return f.write_str("page by page, in a file"),
            Self::Sqlite(sqlite) => sqlite,
        };
        f.write_str(match begin {
            Begin::Tables => "SQLite, in memory, tables made for each",
            Begin::Copy => "SQLite, in memory, from a copy of empty tables",
            Begin::File => "SQLite, in a file",
        })?;
        f.write_str(match (key_last, by_path) {
            (true, _) => "; all indexes at the end",
            (false, true) => "; rows in the order of the key",
            (false, false) => "; rows as they come",
        })
    }
}
