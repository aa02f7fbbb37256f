//! Edits of a repository, and how they become a revision.
//!
//! Edits say what shall be at which paths; they do not depend on the revision that they are applied to. So a publisher
//! that finds a new revision by somebody else applies them to that one, and nobody's work is lost. An edit also knows
//! what its author saw at the path: if somebody else has put something else there since, it is not applied
//! ([`Error::Conflict`]). And edits may rely on other paths, or on the whole revision, as their author saw them. All of
//! that is checked before anything is stored, because what is stored for edits that do not fit is of no use.

mod apply;
mod conflict;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::{NestedRef, NestedTree};
use crate::entry::{Entry, EntryKind};
use crate::hash::ContentHash;
use crate::path::TreePath;
use crate::reliance::Reliance;
use crate::snapshot::Snapshot;
use crate::{Error, Result};

use self::conflict::Comparison;

/// What shall be at which paths of a repository.
#[derive(Clone, Default)]
pub struct Edits {
    root: Node,
    reliance: Option<Reliance>,
    /// Whether they are for the revision of `reliance` alone.
    exact: bool,
}

/// The edits at a path and below it.
#[derive(Debug, Clone, Default)]
struct Node {
    edit: Option<Edit>,
    nested: bool,
    prune: bool,
    below: BTreeMap<Vec<u8>, Node>,
}

#[derive(Debug, Clone)]
enum Edit {
    Put { entry: Entry, seen: Option<EntryKind>, replaces: bool },
    Graft { tree: Box<NestedTree>, replaces: bool },
    Remove,
}

impl Edits {
    /// Edits whose author has read this revision.
    pub fn since(seen: &Snapshot) -> Self {
        Self { reliance: Some(Reliance::new(seen.clone())), ..Self::default() }
    }

    /// The revision that their author has read.
    pub(crate) fn seen(&self) -> Option<&Snapshot> {
        self.reliance.as_ref().map(Reliance::seen)
    }

    /// Puts a file, symlink or special file in place of what is there, or a directory with these attributes
    /// in place of anything else. Directories on the way are made. `seen` is what the caller saw there.
    pub fn put(&mut self, path: &TreePath, entry: Entry, seen: Option<&Entry>) {
        let seen = seen.map(|entry| entry.kind.clone());
        self.node(path).edit = Some(Edit::Put { entry, seen, replaces: false });
    }

    /// The same, but a directory that is there goes, too, with all below it.
    pub fn put_instead(&mut self, path: &TreePath, entry: Entry, seen: Option<&Entry>) {
        let seen = seen.map(|entry| entry.kind.clone());
        self.node(path).edit = Some(Edit::Put { entry, seen, replaces: true });
    }

    /// Puts a tree that was written for this path, where the caller saw nothing.
    pub fn graft(&mut self, path: &TreePath, tree: NestedTree) {
        let edit = Edit::Graft { tree: Box::new(tree), replaces: false };
        *self.node(path) = Node { edit: Some(edit), ..Node::default() };
    }

    /// Puts a tree that was written for this path in place of what is there, whatever it is.
    pub fn graft_instead(&mut self, path: &TreePath, tree: NestedTree) {
        let edit = Edit::Graft { tree: Box::new(tree), replaces: true };
        *self.node(path) = Node { edit: Some(edit), ..Node::default() };
    }

    /// Removes what is at a path, and all below it. Edits below it that follow put new things there.
    pub fn remove(&mut self, path: &TreePath) {
        *self.node(path) = Node { edit: Some(Edit::Remove), ..Node::default() };
    }

    /// Removes also a directory above what is removed, if nothing else is in it then. A directory in which a nested
    /// catalog begins stays.
    pub fn prune(&mut self, path: &TreePath) {
        self.node(path).prune = true;
    }

    /// Begins a nested catalog at a directory, if these edits make that directory. One that is there
    /// already stays in its catalog.
    pub fn nest(&mut self, path: &TreePath) {
        self.node(path).nested = true;
    }

    /// Makes the edits depend on what their author saw at a path: if somebody else has changed or removed that since,
    /// none of them is applied ([`Error::Conflict`]). Below a directory without a catalog of its own, others may change
    /// what they like. Means nothing unless [`Self::since`] has told the revision.
    pub fn rely_on(&mut self, path: &TreePath) {
        if let Some(reliance) = &mut self.reliance {
            reliance.add(path);
        }
    }

    /// Makes the edits fit only the revision that their author has read: on another one, none of them is applied
    /// ([`Error::Superseded`]). Means nothing unless [`Self::since`] has told the revision.
    pub fn require_unchanged(&mut self) {
        self.exact = true;
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.root.edit.is_none() && self.root.below.is_empty()
    }

    fn node(&mut self, path: &TreePath) -> &mut Node {
        let mut node = &mut self.root;
        for name in path.components() {
            node = node.below.entry(name.to_vec()).or_default();
        }
        node
    }

    /// Checks that what the edits depend on is in `base`.
    fn check(&self, base: &Snapshot) -> Result<()> {
        let Some(reliance) = &self.reliance else { return Ok(()) };
        let (seen, newest) = (reliance.seen().manifest(), base.manifest());
        if self.exact && seen.root != newest.root {
            return Err(Error::Superseded { seen: seen.revision, newest: newest.revision });
        }
        if let Some(path) = reliance.broken_in(base)? {
            return Err(Error::Conflict(path));
        }
        let roots = [reliance.seen(), base].map(|snapshot| Arc::clone(snapshot.root_catalog()));
        Comparison { seen: reliance.seen(), base }.below(&TreePath::ROOT, &self.root, &roots)
    }
}

impl Node {
    /// Whether something is put below it.
    fn adds_below(&self) -> bool {
        self.below.values().any(|node| {
            matches!(node.edit, Some(Edit::Put { .. } | Edit::Graft { .. })) || node.adds_below()
        })
    }
}

/// The catalog at a mountpoint of the catalog at `mount`, which was looked for there.
fn mounted(found: Option<NestedRef>, mount: &TreePath, path: &TreePath) -> Result<ContentHash> {
    found.map(|found| found.hash).ok_or_else(|| Error::Corrupt {
        what: format!("the catalog at {mount}"),
        reason: format!("{path} is a mountpoint without a nested catalog"),
    })
}
