//! The databases that hold a repository's tree.
//!
//! A catalog is an SQLite database with one row for each entry below its mountpoint. Where a nested catalog
//! begins, it has the directory's entry and the name of the nested catalog's object; the nested catalog has
//! the entry once more, and everything below. Clients fetch only the catalogs of directories they look at.
//!
//! | file | what it is for |
//! |---|---|
//! | `schema` | names and numbers of the format |
//! | `row` | a row's columns and what they mean |
//! | `counters` | the sums that every catalog holds |
//! | `reader` | catalogs of a repository, read |
//! | `query` | what is asked of a database |
//! | `build`, `bulk` | a new database from rows |
//! | `record`, `spool` | rows that wait to be written |
//! | `sink` | threads that build databases and hand them to the storage |
//! | `tree` | a whole tree, written as nested catalogs |
//! | `update`, `change` | an existing catalog, changed in place |
//! | `verify` | whether a catalog keeps the rules |

#[doc(hidden)]
pub mod bench;
mod build;
mod bulk;
mod change;
mod counters;
mod database;
mod query;
mod reader;
mod record;
pub mod row;
mod schema;
mod sink;
mod spool;
mod tree;
mod update;
mod verify;

use crate::hash::ContentHash;

pub use counters::{COUNTERS, Counters, Counts};
pub use reader::{Catalog, NestedRef};
pub use row::{Mount, Row};
pub use schema::MARKER;
pub use sink::{CatalogSink, CatalogStore};
pub use tree::{NestedTree, Split, TreeWriter};
pub use update::{CatalogUpdate, CountersOf};
pub use verify::{Fault, Problem, Subject, verify};

/// A catalog that has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogRef {
    /// Its object.
    pub hash: ContentHash,
    /// Bytes of its database.
    pub size: u64,
    /// What it and the catalogs below it hold.
    pub counters: Counters,
}

#[cfg(test)]
mod tests;
