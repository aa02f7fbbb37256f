//! What a change relies on: that some paths still are what its author saw there.
//!
//! Two revisions share the catalogs in which they do not differ. So they are compared from the root downwards, and where
//! a catalog is the same in both, nothing below it has to be looked at: relying on ten thousand paths costs no more than
//! the catalogs that somebody else has changed since.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::{Catalog, Mount, Row};
use crate::hash::ContentHash;
use crate::path::TreePath;
use crate::snapshot::Snapshot;
use crate::{Error, Result};

/// Paths that have to be as they were in a revision.
#[derive(Clone)]
pub(crate) struct Reliance {
    seen: Snapshot,
    paths: Node,
}

#[derive(Debug, Clone, Default)]
struct Node {
    relied: bool,
    below: BTreeMap<Vec<u8>, Node>,
}

impl Reliance {
    /// On nothing yet; `seen` is the revision that the author of the change has read.
    pub(crate) fn new(seen: Snapshot) -> Self {
        Self { seen, paths: Node::default() }
    }

    /// The revision that the author of the change has read.
    pub(crate) fn seen(&self) -> &Snapshot {
        &self.seen
    }

    /// Adds a path.
    pub(crate) fn add(&mut self, path: &TreePath) {
        let mut node = &mut self.paths;
        for name in path.components() {
            node = node.below.entry(name.to_vec()).or_default();
        }
        node.relied = true;
    }

    /// The first path that is not in `newer` what it was: a tree with a catalog of its own has to have the same
    /// catalog, anything else the same kind and content. Only a directory without a catalog may hold other things.
    pub(crate) fn broken_in(&self, newer: &Snapshot) -> Result<Option<TreePath>> {
        let comparison = Comparison { old: &self.seen, new: newer };
        let roots = [&self.seen, newer].map(|snapshot| Arc::clone(snapshot.root_catalog()));
        comparison.below(&self.paths, &TreePath::ROOT, &roots)
    }
}

/// Two revisions, the older one first wherever there are two of something.
struct Comparison<'a> {
    old: &'a Snapshot,
    new: &'a Snapshot,
}

type Both<T> = [T; 2];

impl Comparison<'_> {
    fn below(
        &self,
        node: &Node,
        path: &TreePath,
        catalogs: &Both<Arc<Catalog>>,
    ) -> Result<Option<TreePath>> {
        let [old, new] = catalogs;
        if old.hash() == new.hash() {
            return Ok(None);
        }
        for (name, node) in &node.below {
            let path = path.join(name);
            let broken = match (old.lookup(&path)?, new.lookup(&path)?) {
                (None, None) => None,
                (Some(was), Some(is)) => self.at(node, &path, catalogs, &[was, is])?,
                _ => Some(path),
            };
            if broken.is_some() {
                return Ok(broken);
            }
        }
        Ok(None)
    }

    fn at(
        &self,
        node: &Node,
        path: &TreePath,
        catalogs: &Both<Arc<Catalog>>,
        rows: &Both<Row>,
    ) -> Result<Option<TreePath>> {
        let [old, new] = catalogs;
        let [was, is] = rows;
        let nested = [nested(old, path, was)?, nested(new, path, is)?];
        if let [Some(was), Some(is)] = nested
            && was == is
        {
            return Ok(None);
        }
        let changed = nested != [None, None] || was.entry.kind != is.entry.kind;
        if node.relied && changed {
            return Ok(Some(path.clone()));
        }
        let open = |snapshot: &Snapshot, catalog: &Arc<Catalog>, nested: Option<ContentHash>| {
            nested.map_or_else(|| Ok(Arc::clone(catalog)), |hash| snapshot.catalog(hash))
        };
        let [was, is] = nested;
        self.below(node, path, &[open(self.old, old, was)?, open(self.new, new, is)?])
    }
}

/// The catalog that begins at a row.
fn nested(catalog: &Catalog, path: &TreePath, row: &Row) -> Result<Option<ContentHash>> {
    if row.mount != Mount::Nested {
        return Ok(None);
    }
    let found = catalog.nested_at(path)?.ok_or_else(|| Error::Corrupt {
        what: format!("the catalog at {}", catalog.mount()),
        reason: format!("{path} is a mountpoint without a nested catalog"),
    })?;
    Ok(Some(found.hash))
}
