//! Edits of a repository, and how they become a revision.
//!
//! Edits say what shall be at which paths; they do not depend on the revision that they are applied to. So a publisher
//! that finds a new revision by somebody else applies them to that one, and nobody's work is lost. An edit also knows
//! what its author saw at the path: if somebody else has put something else there since, it is not applied
//! ([`Error::Conflict`]). And edits may rely on other paths, or on the whole revision, as their author saw them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::catalog::{CatalogRef, CatalogUpdate, Counters, Mount, NestedRef, NestedTree};
use crate::entry::{Entry, EntryKind, File, Time};
use crate::hash::ContentHash;
use crate::objects::Objects;
use crate::path::TreePath;
use crate::reliance::Reliance;
use crate::snapshot::Snapshot;
use crate::unix_time::unix_seconds;
use crate::{Error, Result};

/// Mode of directories that are made because something below them is put.
const IMPLIED_MODE: u32 = 0o755;

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
        match reliance.broken_in(base)? {
            Some(path) => Err(Error::Conflict(path)),
            None => Ok(()),
        }
    }

    /// Writes the catalogs of `base` with the edits, and returns the new root; `None` if nothing differs.
    ///
    /// # Errors
    /// If something that the edits depend on has changed, something that is no directory is on the way to a path, or a
    /// catalog cannot be read or written.
    pub(crate) fn apply(
        &self,
        base: &Snapshot,
        objects: &Objects,
        revision: u64,
        now: SystemTime,
    ) -> Result<Option<CatalogRef>> {
        self.check(base)?;
        let stamp = Stamp { seconds: unix_seconds(now), marker: objects.store_file(b"")? };
        let editing = Editing { base, objects, stamp };
        let root = base.root_catalog();
        let mut update = CatalogUpdate::open(root, base.scratch())?;
        if !editing.directory(&mut update, &TreePath::ROOT, &self.root)? {
            return Ok(None);
        }
        update.set_revision(revision);
        Ok(Some(editing.finish(update, Some(base.manifest().root))?.0))
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

/// What is the same for everything in one revision.
struct Stamp {
    seconds: i64,
    /// The empty file.
    marker: File,
}

/// Edits on their way into the catalogs of a revision.
struct Editing<'a> {
    base: &'a Snapshot,
    objects: &'a Objects,
    stamp: Stamp,
}

impl Editing<'_> {
    /// Applies the edits of the names in a directory of `catalog`. Returns whether anything changed.
    fn directory(&self, catalog: &mut CatalogUpdate, path: &TreePath, node: &Node) -> Result<bool> {
        let mut changed = false;
        for (name, node) in &node.below {
            changed |= self.name(catalog, &path.join(name), node)?;
        }
        Ok(changed)
    }

    fn name(&self, catalog: &mut CatalogUpdate, path: &TreePath, node: &Node) -> Result<bool> {
        let changed = self.edit(catalog, path, node)?;
        if node.below.is_empty() {
            return Ok(changed);
        }
        let mount = match catalog.lookup(path)? {
            Some(row) if row.entry.is_directory() => row.mount,
            _ if !node.adds_below() => return Ok(changed),
            Some(_) => return Err(occupied(path, "something that is no directory")),
            None => {
                let directory = Entry::directory(IMPLIED_MODE, self.now());
                self.make(catalog, path, directory, node.nested)?;
                if node.nested { Mount::Nested } else { Mount::None }
            }
        };
        let below = match mount {
            Mount::Nested => self.nested(catalog, path, node)?,
            Mount::Bind => return Err(occupied(path, "a bind mountpoint")),
            Mount::None | Mount::Root => self.directory(catalog, path, node)?,
        };
        if below && node.prune && mount == Mount::None && catalog.is_empty(path)? {
            catalog.remove(path, &self.counters())?;
        }
        Ok(changed | below)
    }

    /// Applies the edit of a name. Returns whether it changed anything.
    fn edit(&self, catalog: &mut CatalogUpdate, path: &TreePath, node: &Node) -> Result<bool> {
        match &node.edit {
            None => Ok(false),
            Some(Edit::Remove) => catalog.remove(path, &self.counters()),
            Some(Edit::Graft { tree, replaces }) => {
                let there = catalog.nested_at(path)?;
                if there.is_some_and(|there| there.hash == tree.catalog.hash) {
                    return Ok(false);
                }
                if !replaces && catalog.lookup(path)?.is_some() {
                    return Err(Error::Conflict(path.clone()));
                }
                catalog.graft(path, tree, &self.counters())?;
                Ok(true)
            }
            Some(Edit::Put { entry, seen, replaces }) => {
                let there = catalog.lookup(path)?;
                if !replaces
                    && there.is_some_and(|there| there.entry.is_directory())
                    && !entry.is_directory()
                {
                    return Err(occupied(path, "a directory"));
                }
                self.put(catalog, path, entry, seen.as_ref(), node.nested)
            }
        }
    }

    fn put(
        &self,
        catalog: &mut CatalogUpdate,
        path: &TreePath,
        entry: &Entry,
        seen: Option<&EntryKind>,
        nested: bool,
    ) -> Result<bool> {
        match catalog.lookup(path)? {
            Some(there) if there.entry.is_directory() && entry.is_directory() => {
                // Directories are made with the time of the revision; another time alone is no change.
                let same = (there.entry.mode, there.entry.uid, there.entry.gid)
                    == (entry.mode, entry.uid, entry.gid)
                    && there.entry.xattrs == entry.xattrs;
                if same || there.mount != Mount::None {
                    return Ok(false);
                }
                catalog.put(path, entry)?;
            }
            Some(there) if there.entry.kind == entry.kind && there.entry.mode == entry.mode => {
                return Ok(false);
            }
            there if there.as_ref().map(|there| &there.entry.kind) != seen => {
                return Err(Error::Conflict(path.clone()));
            }
            _ => {
                catalog.remove(path, &self.counters())?;
                self.make(catalog, path, entry.clone(), nested)?;
            }
        }
        Ok(true)
    }

    /// Adds an entry at a path where there is nothing.
    fn make(
        &self,
        catalog: &mut CatalogUpdate,
        path: &TreePath,
        entry: Entry,
        nested: bool,
    ) -> Result<()> {
        if !(nested && entry.is_directory()) {
            return catalog.put(path, &entry);
        }
        let fresh = CatalogUpdate::nested(path, &entry, &self.stamp.marker, self.base.scratch())?;
        let (reference, root, links) = self.finish(fresh, None)?;
        let tree = NestedTree { root, links, catalog: reference };
        catalog.graft(path, &tree, &self.counters())
    }

    /// Applies edits inside a nested catalog, and mounts its new version.
    fn nested(&self, catalog: &mut CatalogUpdate, path: &TreePath, node: &Node) -> Result<bool> {
        let NestedRef { hash, .. } = catalog.nested_at(path)?.ok_or_else(|| Error::Corrupt {
            what: format!("the catalog at {}", catalog.mount()),
            reason: format!("{path} is a mountpoint without a nested catalog"),
        })?;
        let old = self.base.catalog(hash)?;
        let mut update = CatalogUpdate::open(&old, self.base.scratch())?;
        if !self.directory(&mut update, path, node)? {
            return Ok(false);
        }
        update.raise_revision();
        let (reference, root, links) = self.finish(update, Some(hash))?;
        let tree = NestedTree { root, links, catalog: reference };
        catalog.graft(path, &tree, &self.counters())?;
        Ok(true)
    }

    fn finish(
        &self,
        mut update: CatalogUpdate,
        previous: Option<ContentHash>,
    ) -> Result<(CatalogRef, Entry, u32)> {
        update.set_last_modified(self.stamp.seconds);
        update.set_previous(previous);
        update.finish(self.objects)
    }

    /// Finds what a nested catalog that is removed or replaced holds.
    fn counters(&self) -> impl Fn(&NestedRef) -> Result<Counters> {
        |nested| Ok(*self.base.catalog(nested.hash)?.counters())
    }

    fn now(&self) -> Time {
        Time { seconds: self.stamp.seconds, nanoseconds: None }
    }
}

fn occupied(path: &TreePath, what: &'static str) -> Error {
    Error::Occupied { path: path.clone(), what }
}
