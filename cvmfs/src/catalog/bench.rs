//! One catalog's database from its rows, without what comes before and after: what `contrib/bench` measures beside
//! SQLite. No part of the interface.

use crate::Result;
use crate::path::TreePath;
use crate::scratch::Scratch;

use super::build::{Head, build};
use super::row::Columns;

/// The bytes of a database with these rows, which come directory by directory; it is made in a file, if it is `large`.
///
/// # Errors
/// If two rows have the same path, and if there is no room.
pub fn database<'a>(
    scratch: &Scratch,
    rows: impl IntoIterator<Item = Columns<'a>>,
    large: bool,
) -> Result<Vec<u8>> {
    let head = Head { mount: &TreePath::ROOT, revision: 1, modified: 0 };
    let (database, _) = build(scratch, &head, large, |inserter| {
        rows.into_iter().try_for_each(|columns| inserter.add(&columns, &[]))
    })?;
    database.into_bytes(scratch)
}
