//! A catalog that is changed in place, for a new revision.
//!
//! The database is copied, rows are put and removed in the copy, and the counters are kept right. So
//! publishing into a large repository costs no more than the catalogs that change. They may have been written by other
//! tools: rows and columns that this crate does not know stay as they are. A catalog of an older schema revision gets
//! the column that it lacks, as stock tools of release 2.12 do it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::entry::{Content, Entry, EntryKind, File, Links};
use crate::hash::ContentHash;
use crate::path::{PathHash, TreePath};
use crate::scratch::Scratch;
use crate::{Error, Result};

use super::build::{Head, build};
use super::change;
use super::counters::{Counters, Counts};
use super::database::{IN_MEMORY, failed};
use super::query::{ScanError, Statements, references, scan};
use super::reader::{Catalog, Names};
use super::reference::{CatalogRef, NestedRef};
use super::row::{Columns, Location, Mount, Row, is_name, pack_links};
use super::schema::{
    DIRECTORY_SIZE, KEY_LAST_MODIFIED, KEY_PREVIOUS, KEY_REVISION, MARKER, REVISION,
    REVISION_CHANGEABLE,
};
use super::store::CatalogStore;
use super::tree::{NAME_RULE, NestedTree, marker};
use super::working_copy::WorkingCopy;

/// Finds the counters of a nested catalog. Its parent does not know them, so they are needed when it is removed or
/// replaced.
pub type CountersOf<'a> = &'a dyn Fn(&NestedRef) -> Result<Counters>;

/// A catalog in the making.
pub struct CatalogUpdate {
    copy: WorkingCopy,
    scratch: Scratch,
    shown: String,
    mount: TreePath,
    counters: Counters,
    statements: Statements,
    revision: u64,
    properties: BTreeMap<String, Option<Vec<u8>>>,
}

impl CatalogUpdate {
    /// Begins with a copy of a catalog.
    ///
    /// # Errors
    /// If its schema is older than that of release 2.5, or the system refuses a file.
    pub fn open(catalog: &Catalog, scratch: &Scratch) -> Result<Self> {
        Self::open_within(catalog, scratch, IN_MEMORY)
    }

    /// The same with another limit of what is changed in memory, in bytes.
    pub(super) fn open_within(
        catalog: &Catalog,
        scratch: &Scratch,
        in_memory: u64,
    ) -> Result<Self> {
        let shown = format!("catalog {} at {}", catalog.hash(), catalog.mount());
        let schema_revision = catalog.schema_revision();
        if schema_revision < REVISION_CHANGEABLE {
            return Err(Error::OldSchema { what: shown, revision: schema_revision });
        }
        let database = catalog.database()?;
        let (mount, counters) = (catalog.mount().clone(), *catalog.counters());
        let copy = WorkingCopy::of(&database, in_memory, &shown, scratch)?;
        let mut update = Self::begin(copy, shown, mount, counters, scratch);
        update.revision = catalog.revision();
        update.upgrade(schema_revision)?;
        Ok(update)
    }

    /// Begins an empty root catalog; `root` is the root directory.
    ///
    /// # Errors
    /// If `root` is no directory, or the system refuses a file.
    pub fn root(root: &Entry, scratch: &Scratch) -> Result<Self> {
        Self::empty(&TreePath::ROOT, root, None, scratch)
    }

    /// Begins an empty nested catalog at `mount`. Its marker is the `empty` file.
    ///
    /// # Errors
    /// If `root` is no directory, or the system refuses a file.
    pub fn nested(mount: &TreePath, root: &Entry, empty: &File, scratch: &Scratch) -> Result<Self> {
        Self::empty(mount, root, Some(empty), scratch)
    }

    fn empty(
        mount: &TreePath,
        root: &Entry,
        empty: Option<&File>,
        scratch: &Scratch,
    ) -> Result<Self> {
        if !root.is_directory() {
            return Err(unpublishable(mount, "it is no directory"));
        }
        let head = Head { mount, revision: 1, modified: 0 };
        let (parent, name) = match mount.split() {
            Some((parent, name)) => (parent.hash(), name),
            None => (PathHash::NONE, &b""[..]),
        };
        let (database, counters) = build(scratch, &head, false, |inserter| {
            let location = Location { path: mount.hash(), parent, name };
            let role = if empty.is_some() { Mount::Root } else { Mount::None };
            inserter.add(&Columns::encode(location, root, role, 2), &[])?;
            if let Some(empty) = empty {
                let marker = marker(empty.clone(), root);
                let path = Names::new(mount).hash(MARKER);
                let location = Location { path, parent: mount.hash(), name: MARKER };
                inserter.add(&Columns::encode(location, &marker, Mount::None, 1), &[])?;
            }
            Ok(())
        })?;
        let shown = format!("the new catalog at {mount}");
        let database = database.into_bytes(scratch)?;
        let copy = WorkingCopy::of(&database, IN_MEMORY, &shown, scratch)?;
        Ok(Self::begin(copy, shown, mount.clone(), counters, scratch))
    }

    fn begin(
        copy: WorkingCopy,
        shown: String,
        mount: TreePath,
        counters: Counters,
        scratch: &Scratch,
    ) -> Self {
        Self {
            copy,
            scratch: scratch.clone(),
            shown,
            mount,
            counters,
            statements: Statements::new(REVISION),
            revision: 1,
            properties: BTreeMap::new(),
        }
    }

    /// Brings the schema to the revision that is written here.
    fn upgrade(&self, schema_revision: i64) -> Result<()> {
        let upgrade = || {
            change::upgrade(&self.copy.connection, schema_revision)?;
            match self.mount.is_root() {
                true => Ok(()),
                // The entry in the parent must have the same size, and grafting writes this one.
                false => change::set_size(&self.copy.connection, self.mount.hash(), DIRECTORY_SIZE),
            }
        };
        upgrade().map_err(failed("change", &self.shown))
    }

    /// The directory that it begins at.
    pub fn mount(&self) -> &TreePath {
        &self.mount
    }

    /// What it holds now.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The entry of a path, in this catalog alone.
    ///
    /// # Errors
    /// If its row is damaged.
    pub fn lookup(&self, path: &TreePath) -> Result<Option<Row>> {
        Ok(self.find(path.hash())?.map(|(row, _)| row))
    }

    /// Whether nothing is in a directory of this catalog.
    ///
    /// # Errors
    /// If a row is damaged.
    pub fn is_empty(&self, directory: &TreePath) -> Result<bool> {
        let (first, second) = directory.hash().columns();
        Ok(self.rows(&self.statements.children, [first, second, i64::MIN])?.is_empty())
    }

    /// The catalog that is mounted at a path.
    ///
    /// # Errors
    /// If the row is damaged.
    pub fn nested_at(&self, path: &TreePath) -> Result<Option<NestedRef>> {
        let mut found = references(&self.copy.connection, "nested_catalogs", REVISION, Some(path))
            .map_err(failed("read", &self.shown))?;
        match found.pop() {
            Some(None) => Err(Error::Corrupt {
                what: self.shown.clone(),
                reason: format!("its nested catalog at {path} has no hash and size"),
            }),
            found => Ok(found.flatten()),
        }
    }

    /// Puts an entry at a path. It gets this one name; its links are ignored. The directory must be in this
    /// catalog. A directory that is there gets the attributes and keeps its content; anything else is
    /// replaced.
    ///
    /// # Errors
    /// If the directory is not there, the name cannot be one, or a directory is to become something else
    /// (remove it before).
    pub fn put(&mut self, path: &TreePath, entry: &Entry) -> Result<()> {
        match self.find(path.hash())? {
            Some((row, counts)) if row.entry.is_directory() => {
                return self.set_attributes(&row, counts, path, entry);
            }
            Some((row, counts)) => self.take(&row, &counts)?,
            None => {}
        }
        self.insert(path, entry, Mount::None, 2)
    }

    /// Removes what is at a path, and all below it. Returns whether there was anything.
    ///
    /// # Errors
    /// If the path is the catalog's own directory, and those of `counters_of`.
    pub fn remove(&mut self, path: &TreePath, counters_of: CountersOf<'_>) -> Result<bool> {
        let Some(found) = self.find(path.hash())? else { return Ok(false) };
        if path == &self.mount {
            return Err(unpublishable(path, "the catalog begins there"));
        }
        let mut waiting = vec![(path.clone(), found)];
        while let Some((path, (row, counts))) = waiting.pop() {
            match row.mount {
                Mount::None | Mount::Root if row.entry.is_directory() => {
                    let names = Names::new(&path);
                    for child in self.children(row.path)? {
                        if names.hash(&child.0.name) != child.0.path {
                            return Err(self.damaged(&child.0));
                        }
                        waiting.push((path.join(&child.0.name), child));
                    }
                }
                Mount::Nested => self.unmount(&path, counters_of)?,
                Mount::Bind => self.forget("bind_mountpoints", &path)?,
                Mount::None | Mount::Root => {}
            }
            self.take(&row, &counts)?;
        }
        Ok(true)
    }

    /// Mounts a tree that was written for this path, in place of what is there.
    ///
    /// # Errors
    /// If the directory is not there, and those of `counters_of`.
    pub fn graft(
        &mut self,
        path: &TreePath,
        tree: &NestedTree,
        counters_of: CountersOf<'_>,
    ) -> Result<()> {
        self.remove(path, counters_of)?;
        self.insert(path, &tree.root, Mount::Nested, tree.links)?;
        let CatalogRef { hash, size, counters } = tree.catalog;
        let reference = NestedRef { path: path.clone(), hash, size };
        change::insert_nested(&self.copy.connection, &reference)
            .map_err(failed("change", &self.shown))?;
        self.counters.subtree += counters.total();
        Ok(())
    }

    /// Sets the revision: the repository's if this is the root catalog, else a count of its own.
    pub fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// Counts the revision up by one.
    pub fn raise_revision(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }

    /// Sets when it was written, in seconds since 1970.
    pub fn set_last_modified(&mut self, seconds: i64) {
        self.set_property(KEY_LAST_MODIFIED, &seconds.to_string());
    }

    /// Sets the catalog that it follows. Nested catalogs forget theirs: only replication reads it, and replication
    /// fails if a garbage collection has removed that catalog, because collections keep only those of root catalogs.
    pub fn set_previous(&mut self, previous: Option<ContentHash>) {
        let value =
            previous.filter(|_| self.mount.is_root()).map(|hash| hash.to_string().into_bytes());
        self.properties.insert(KEY_PREVIOUS.to_owned(), value);
    }

    /// Sets a property.
    pub fn set_property(&mut self, key: &str, value: &str) {
        self.properties.insert(key.to_owned(), Some(value.as_bytes().to_vec()));
    }

    /// Stores the catalog. Returns its reference, the entry of its own directory and that directory's link count:
    /// what its parent has to graft.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn finish(mut self, store: &dyn CatalogStore) -> Result<(CatalogRef, Entry, u32)> {
        let root = self.lookup(&self.mount.clone())?.ok_or_else(|| Error::Corrupt {
            what: self.shown.clone(),
            reason: "it has no entry for its own directory".to_owned(),
        })?;
        let revision = self.revision.to_string();
        self.set_property(KEY_REVISION, &revision);
        if !self.mount.is_root() {
            self.set_previous(None);
        }
        let write = || {
            for (key, value) in &self.properties {
                change::set_property(&self.copy.connection, key, value.as_deref())?;
            }
            change::set_counters(&self.copy.connection, &self.counters)
        };
        write().map_err(failed("change", &self.shown))?;
        let Self { copy, scratch, shown, counters, .. } = self;
        let database = copy.finish(&shown)?;
        let size = database.size;
        let hash = database.store(store, &scratch)?;
        Ok((CatalogRef { hash, size, counters }, root.entry, root.links))
    }

    /// Inserts what is not there.
    fn insert(&mut self, path: &TreePath, entry: &Entry, mount: Mount, links: u32) -> Result<()> {
        let Some((directory, name)) = path.split().filter(|_| path.is_within(&self.mount)) else {
            return Err(unpublishable(path, "it is not in this catalog"));
        };
        if !is_name(name) {
            return Err(unpublishable(path, NAME_RULE));
        }
        if name == MARKER {
            return Err(unpublishable(
                path,
                "the name is reserved for the roots of nested catalogs",
            ));
        }
        let parent = match self.lookup(&directory)? {
            Some(row)
                if row.entry.is_directory() && matches!(row.mount, Mount::None | Mount::Root) =>
            {
                row
            }
            _ => return Err(unpublishable(path, "its directory is not in this catalog")),
        };
        let location = Location { path: path.hash(), parent: parent.path, name };
        let mut columns = Columns::encode(location, entry, mount, links);
        if !entry.is_directory() {
            columns.hardlinks = pack_links(Links::ONE);
        }
        if columns.symlink.contains(&0) {
            return Err(unpublishable(path, "there is a NUL in its target"));
        }
        let chunks = match &entry.kind {
            EntryKind::File(File { content: Content::Chunks(_, chunks), .. }) => chunks.as_slice(),
            _ => &[],
        };
        change::insert_row(&self.copy.connection, &columns, chunks)
            .map_err(failed("change", &self.shown))?;
        self.counters.own += Counts::of(&columns, chunks.len() as u64);
        if entry.is_directory() {
            self.link(parent.path, 1)?;
        }
        Ok(())
    }

    /// Removes a row with everything that belongs to it.
    fn take(&mut self, row: &Row, counts: &Counts) -> Result<()> {
        let failed = failed("change", &self.shown);
        change::delete_row(&self.copy.connection, row.path).map_err(&failed)?;
        self.counters.own = self.less(&self.counters.own, counts)?;
        if row.entry.is_directory() {
            return self.link(row.parent, -1);
        }
        if row.entry.links.group != 0 {
            let group = i64::from(row.entry.links.group);
            change::shrink_group(&self.copy.connection, row.parent, group).map_err(&failed)?;
        }
        Ok(())
    }

    /// Sets the attributes of a directory that is there.
    fn set_attributes(
        &mut self,
        row: &Row,
        counts: Counts,
        path: &TreePath,
        entry: &Entry,
    ) -> Result<()> {
        if !entry.is_directory() || !matches!(row.mount, Mount::None | Mount::Root) {
            return Err(unpublishable(path, "a directory or mountpoint is there"));
        }
        let location = Location { path: row.path, parent: row.parent, name: &row.name };
        let new = Columns::encode(location, entry, row.mount, row.links);
        change::set_attributes(&self.copy.connection, &new)
            .map_err(failed("change", &self.shown))?;
        self.counters.own = self.less(&self.counters.own, &counts)?;
        self.counters.own += Counts::of(&new, 0);
        Ok(())
    }

    /// Forgets the catalog that is mounted at a path.
    fn unmount(&mut self, path: &TreePath, counters_of: CountersOf<'_>) -> Result<()> {
        let reference = self.nested_at(path)?.ok_or_else(|| Error::Corrupt {
            what: self.shown.clone(),
            reason: format!("{path} is a mountpoint without a nested catalog"),
        })?;
        let total = counters_of(&reference)?.total();
        self.counters.subtree = self.less(&self.counters.subtree, &total)?;
        self.forget("nested_catalogs", path)
    }

    fn forget(&self, table: &str, path: &TreePath) -> Result<()> {
        change::delete_reference(&self.copy.connection, table, path)
            .map_err(failed("change", &self.shown))
    }

    /// Changes a directory's link count when a subdirectory comes or goes.
    fn link(&self, directory: PathHash, by: i64) -> Result<()> {
        change::add_links(&self.copy.connection, directory, by)
            .map_err(failed("change", &self.shown))
    }

    fn less(&self, counts: &Counts, less: &Counts) -> Result<Counts> {
        counts.checked_sub(less).ok_or_else(|| Error::Corrupt {
            what: self.shown.clone(),
            reason: format!("it counts {counts}, but {less} are removed"),
        })
    }

    fn find(&self, path: PathHash) -> Result<Option<(Row, Counts)>> {
        let (first, second) = path.columns();
        Ok(self.rows(&self.statements.lookup, [first, second])?.pop())
    }

    fn children(&self, directory: PathHash) -> Result<Vec<(Row, Counts)>> {
        let (first, second) = directory.columns();
        let mut rows = Vec::new();
        let mut after = i64::MIN;
        loop {
            let page = self.rows(&self.statements.children, [first, second, after])?;
            let Some((last, _)) = page.last() else { return Ok(rows) };
            after = last.id;
            rows.extend(page);
        }
    }

    /// Rows with what each adds to the counters.
    fn rows(&self, statement: &str, values: impl rusqlite::Params) -> Result<Vec<(Row, Counts)>> {
        let mut rows = Vec::new();
        scan(&self.copy.connection, statement, values, &mut |id, row| {
            let decoded = row.and_then(|(columns, chunks)| {
                Ok((columns.decode(id, chunks)?, Counts::of(columns, chunks.len() as u64)))
            });
            rows.push(decoded.map_err(|unfit| Error::Corrupt {
                what: format!("row {id} of {}", self.shown),
                reason: unfit.to_string(),
            })?);
            Ok(ControlFlow::Continue(()))
        })
        .map_err(|error: ScanError| error.of("read", &self.shown))?;
        Ok(rows)
    }

    fn damaged(&self, row: &Row) -> Error {
        Error::Corrupt {
            what: format!("row {} of {}", row.id, self.shown),
            reason: "it is not where its name says".to_owned(),
        }
    }
}

fn unpublishable(path: &TreePath, reason: &str) -> Error {
    Error::Unpublishable { path: path.clone(), reason: reason.to_owned() }
}
