//! Edits on their way into catalogs.
//!
//! The catalogs that change are made several at a time: each of them is read and stored, and depends only on those below
//! it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::conflict::{Fit, fit};
use super::{Edit, Edits, Node, mounted};
use crate::catalog::{CatalogRef, CatalogUpdate, Counters, Mount, NestedRef, NestedTree};
use crate::crew::Crew;
use crate::entry::{Entry, EntryKind, File, Time};
use crate::hash::ContentHash;
use crate::objects::Objects;
use crate::path::TreePath;
use crate::snapshot::Snapshot;
use crate::unix_time::unix_seconds;
use crate::{Error, Result};

/// Mode of directories that are made because something below them is put.
const IMPLIED_MODE: u32 = 0o755;
/// How many catalogs are made at a time.
const CATALOGS_AT_A_TIME: usize = 16;

impl Edits {
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
        let editing = Editing { base, objects, stamp, crew: Crew::new(CATALOGS_AT_A_TIME) };
        let root = base.root_catalog();
        let mut update = CatalogUpdate::open(root, base.scratch())?;
        if !editing.directory(&mut update, &TreePath::ROOT, &self.root)? {
            return Ok(None);
        }
        update.set_revision(revision);
        Ok(Some(editing.finish(update, Some(base.manifest().root))?.0))
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
    crew: Crew,
}

/// A nested catalog that is to be made.
struct Nested<'a> {
    name: &'a [u8],
    path: TreePath,
    node: &'a Node,
    /// The one that is there.
    old: Option<ContentHash>,
}

impl Editing<'_> {
    /// Applies the edits of the names in a directory of `catalog`. Returns whether anything changed.
    fn directory(&self, catalog: &mut CatalogUpdate, path: &TreePath, node: &Node) -> Result<bool> {
        let nested = self.nested_in(catalog, path, node)?;
        let make = |at: &Nested<'_>| self.make_nested(&at.path, at.node, at.old);
        let made = self.crew.each(&nested, make)?;
        let mut made: BTreeMap<_, _> = nested.iter().map(|nested| nested.name).zip(made).collect();
        let mut changed = false;
        for (name, node) in &node.below {
            let path = path.join(name);
            changed |= match made.remove(name.as_slice()) {
                Some(Some(tree)) => {
                    catalog.graft(&path, &tree, &self.counters())?;
                    true
                }
                Some(None) => false,
                None => self.name(catalog, &path, node)?,
            };
        }
        Ok(changed)
    }

    /// The nested catalogs in a directory that are to be made because of edits below their roots, and of nothing else.
    fn nested_in<'n>(
        &self,
        catalog: &CatalogUpdate,
        path: &TreePath,
        node: &'n Node,
    ) -> Result<Vec<Nested<'n>>> {
        let mut found = Vec::new();
        for (name, node) in &node.below {
            if node.edit.is_some() || node.below.is_empty() {
                continue;
            }
            let path = path.join(name);
            let old = match catalog.lookup(&path)? {
                Some(row) if row.entry.is_directory() && row.mount == Mount::Nested => {
                    Some(mounted(catalog.nested_at(&path)?, catalog.mount(), &path)?)
                }
                None if node.nested && node.adds_below() => None,
                _ => continue,
            };
            found.push(Nested { name, path, node, old });
        }
        Ok(found)
    }

    /// Makes a nested catalog; `None` if that would not differ from the one that is there.
    fn make_nested(
        &self,
        path: &TreePath,
        node: &Node,
        old: Option<ContentHash>,
    ) -> Result<Option<NestedTree>> {
        let mut update = match old {
            Some(old) => {
                let old = self.base.catalog(old)?;
                let mut update = CatalogUpdate::open(&old, self.base.scratch())?;
                update.raise_revision();
                update
            }
            None => self.fresh(path, &Entry::directory(IMPLIED_MODE, self.now()))?,
        };
        if !self.directory(&mut update, path, node)? && old.is_some() {
            return Ok(None);
        }
        let (reference, root, links) = self.finish(update, old)?;
        Ok(Some(NestedTree { root, links, catalog: reference }))
    }

    fn fresh(&self, path: &TreePath, directory: &Entry) -> Result<CatalogUpdate> {
        CatalogUpdate::nested(path, directory, &self.stamp.marker, self.base.scratch())
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
            Mount::Nested => {
                let old = Some(mounted(catalog.nested_at(path)?, catalog.mount(), path)?);
                match self.make_nested(path, node, old)? {
                    Some(tree) => {
                        catalog.graft(path, &tree, &self.counters())?;
                        true
                    }
                    None => false,
                }
            }
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
        match fit(catalog.lookup(path)?.as_ref(), entry, seen) {
            Fit::Same => return Ok(false),
            Fit::Attributes => catalog.put(path, entry)?,
            Fit::Replaces => {
                catalog.remove(path, &self.counters())?;
                self.make(catalog, path, entry.clone(), nested)?;
            }
            Fit::Conflict => return Err(Error::Conflict(path.clone())),
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
        let (reference, root, links) = self.finish(self.fresh(path, &entry)?, None)?;
        let tree = NestedTree { root, links, catalog: reference };
        catalog.graft(path, &tree, &self.counters())
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
        |nested| self.base.counters_of(nested.hash)
    }

    fn now(&self) -> Time {
        Time { seconds: self.stamp.seconds, nanoseconds: None }
    }
}

fn occupied(path: &TreePath, what: &'static str) -> Error {
    Error::Occupied { path: path.clone(), what }
}
