//! The databases that hold a repository's tree.
//!
//! A catalog is an SQLite database with one row for each entry below its mountpoint. Where a nested catalog
//! begins, it has the directory's entry and the name of the nested catalog's object. The nested catalog has a
//! second copy of that entry, and everything below it. Clients fetch only the catalogs that they need.
//!
//! | file | what it is for |
//! |---|---|
//! | `schema` | names and numbers of the format |
//! | `row` | a row's columns and what they mean |
//! | `counters` | the sums that every catalog holds |
//! | `reader` | catalogs of a repository, read |
//! | `query` | the queries of a database |
//! | `small` | small catalogs, read without SQLite |
//! | `build`, `bulk` | a new database from rows |
//! | `reference` | how catalogs refer to each other |
//! | `packed_row`, `spool` | rows that wait to be written |
//! | `sink`, `store` | threads that build databases, and what stores them |
//! | `tree` | a whole tree, written as nested catalogs |
//! | `update`, `change`, `working_copy` | an existing catalog, changed in place |
//! | `verify` | whether a catalog keeps the rules |

#[doc(hidden)]
pub mod bench;
mod build;
mod bulk;
mod change;
mod counters;
mod database;
mod packed_row;
mod query;
mod reader;
mod reference;
pub mod row;
mod schema;
mod sink;
mod small;
mod spool;
mod store;
mod tree;
mod update;
mod verify;
mod working_copy;

pub use counters::{COUNTERS, Counters, Counts};
pub use reader::Catalog;
pub use reference::{CatalogRef, NestedRef};
pub use row::{Mount, Row};
pub use schema::MARKER;
pub use sink::CatalogSink;
pub use store::CatalogStore;
pub use tree::{NestedTree, Split, TreeWriter};
pub use update::{CatalogUpdate, CountersOf};
pub use verify::{Fault, Problem, Subject, verify};

#[cfg(test)]
mod tests;
