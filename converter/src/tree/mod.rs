//! The overlay rule: what is seen where layers lie on each other.
//!
//! Pure: names and what they are go in, names and contributors come out. Where they come from (directories,
//! catalogs, tests) and what becomes of the result is up to the caller.

mod merge;

pub use merge::{Class, Listing, Merged, merge, seen, stack};
