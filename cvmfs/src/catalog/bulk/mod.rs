//! SQLite databases written as a whole, page by page, from content that is known beforehand.
//!
//! SQLite itself runs a statement for each row, searches every index for the row's place, and may have to make room
//! there. A catalog is made once, from rows that can be sorted. So its trees are filled from left to right and every
//! page is written once, which is several times as fast and leaves full pages. Everything but the content comes from
//! SQLite: it makes one database with empty tables, whose root pages are replaced, and new pages are appended.
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
