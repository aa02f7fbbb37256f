//! SQLite databases written as a whole, page by page, from content that is known beforehand.
//!
//! SQLite itself takes a statement for each row, looks for its place in every index, and may have to make room
//! there. A catalog is made once, from rows that can be sorted, so its trees are filled from left to right and
//! every page is written once: several times as fast, with full pages. What is not content comes from SQLite: a
//! database with the empty tables is made by it once, and pages are put in place of their roots and behind them.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, sections 1.3, 1.6 and 2.

mod btree;
mod pages;
mod record;
mod template;
mod varint;

pub(super) use btree::{Index, Table};
pub(super) use pages::Pages;
pub(super) use record::{Record, Value};
pub(super) use template::Template;

#[cfg(test)]
mod tests;
