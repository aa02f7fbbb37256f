//! The copy of a database in which a catalog is changed.

use std::io::Write as _;

use rusqlite::{Connection, MAIN_DB};

use super::build::Database;
use super::database::{failed, in_memory_database, private};
use super::query::distrust;
use crate::Result;
use crate::scratch::{Scratch, ScratchFile};

/// SQLite's cache, in KiB.
const CACHE: u32 = 8 << 10;

/// A database that is changed in one transaction: in memory, or in a file if it is large.
pub(super) struct WorkingCopy {
    pub(super) connection: Connection,
    /// Where it is, if not in memory.
    file: Option<ScratchFile>,
    scratch: Scratch,
}

impl WorkingCopy {
    /// Copies a database, of which up to `in_memory` bytes are changed in memory. `shown` is named in errors.
    pub(super) fn of(
        database: &[u8],
        in_memory: u64,
        shown: &str,
        scratch: &Scratch,
    ) -> Result<Self> {
        let file = match database.len() as u64 > in_memory {
            true => Some(scratch.named()?),
            false => None,
        };
        if let Some(file) = &file {
            file.as_file().write_all(database).map_err(|cause| scratch.refused(cause))?;
        }
        let open = || {
            let connection = match &file {
                Some(file) => Connection::open(file.path())?,
                None => in_memory_database(database, false)?,
            };
            distrust(&connection)?;
            private(&connection, CACHE)?;
            connection.execute_batch("BEGIN")?;
            Ok(connection)
        };
        let connection = open().map_err(failed("change", shown))?;
        Ok(Self { connection, file, scratch: scratch.clone() })
    }

    /// Ends the transaction, and gives the changed database. If much of it is empty, it is made smaller.
    pub(super) fn finish(mut self, shown: &str) -> Result<Database> {
        let failed = failed("change", shown);
        let end = || {
            self.connection.execute_batch("COMMIT")?;
            let count = |pragma| self.connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
            if count("PRAGMA freelist_count")? * 4 > count("PRAGMA page_count")? {
                self.connection.execute_batch("VACUUM")?;
            }
            Ok(())
        };
        end().map_err(&failed)?;
        match self.file {
            Some(file) => {
                self.connection.close().map_err(|(_, cause)| failed(cause))?;
                Database::from_file(file, &self.scratch)
            }
            None => {
                let bytes = self.connection.serialize(MAIN_DB).map_err(&failed)?.to_vec();
                Database::from_memory(bytes, &self.scratch)
            }
        }
    }
}
