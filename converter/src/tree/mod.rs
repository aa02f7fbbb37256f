//! The overlay rule: what is seen where layers lie on each other.
//!
//! Pure: names and kinds go in, names and contributors come out. Where they come from (directories,
//! catalogs, tests) and what is done with the result is the caller's.

mod merge;

pub use merge::{Class, Listing, Merged, merge, seen, stack};
