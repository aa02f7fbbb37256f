//! Whether somebody else has put something where edits are to put something else.

use std::sync::Arc;

use super::{Edit, Node, mounted};
use crate::catalog::{Catalog, Mount, Row};
use crate::entry::{Entry, EntryKind};
use crate::path::TreePath;
use crate::snapshot::Snapshot;
use crate::{Error, Result};

/// What the author of edits saw, and what they are to be applied to.
pub(super) struct Comparison<'a> {
    pub(super) seen: &'a Snapshot,
    pub(super) base: &'a Snapshot,
}

impl Comparison<'_> {
    /// Fails if somebody else has put something else where something is to be put below a path. The catalogs are those
    /// that the path is in, the older one first; what is the same in both need not be looked at.
    pub(super) fn below(
        &self,
        path: &TreePath,
        node: &Node,
        catalogs: &[Arc<Catalog>; 2],
    ) -> Result<()> {
        let [seen, base] = catalogs;
        if seen.hash() == base.hash() {
            return Ok(());
        }
        for (name, node) in &node.below {
            let path = path.join(name);
            let there = base.lookup(&path)?;
            let conflict = match &node.edit {
                None => false,
                // What follows below it goes to an empty place.
                Some(Edit::Remove) => continue,
                Some(Edit::Graft { tree, replaces }) => {
                    !replaces
                        && there.is_some()
                        && base.nested_at(&path)?.map(|there| there.hash) != Some(tree.catalog.hash)
                }
                Some(Edit::Put { entry, seen, .. }) => {
                    fit(there.as_ref(), entry, seen.as_ref()) == Fit::Conflict
                }
            };
            if conflict {
                return Err(Error::Conflict(path));
            }
            if !node.below.is_empty() {
                let inside = |of: &Snapshot, catalog: &Arc<Catalog>, row: Option<Row>| match row {
                    Some(Row { mount: Mount::Nested, .. }) => {
                        of.catalog(mounted(catalog.nested_at(&path)?, catalog.mount(), &path)?)
                    }
                    _ => Ok(Arc::clone(catalog)),
                };
                let was = seen.lookup(&path)?;
                let catalogs = [inside(self.seen, seen, was)?, inside(self.base, base, there)?];
                self.below(&path, node, &catalogs)?;
            }
        }
        Ok(())
    }
}

/// What an entry that is to be put means to what is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is the same.
    Same,
    /// A directory gets other attributes.
    Attributes,
    /// It takes the place of what its author saw there.
    Replaces,
    /// Somebody else has put something else there.
    Conflict,
}

pub(super) fn fit(there: Option<&Row>, entry: &Entry, seen: Option<&EntryKind>) -> Fit {
    match there {
        Some(there) if there.entry.is_directory() && entry.is_directory() => {
            // Directories are made with the time of the revision; another time alone is no change.
            let same = (there.entry.mode, there.entry.uid, there.entry.gid)
                == (entry.mode, entry.uid, entry.gid)
                && there.entry.xattrs == entry.xattrs;
            if same || there.mount != Mount::None { Fit::Same } else { Fit::Attributes }
        }
        Some(there) if there.entry.kind == entry.kind && there.entry.mode == entry.mode => {
            Fit::Same
        }
        there if there.map(|there| &there.entry.kind) != seen => Fit::Conflict,
        _ => Fit::Replaces,
    }
}
