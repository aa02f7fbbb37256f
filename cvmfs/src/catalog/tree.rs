//! A whole tree, written as nested catalogs while its entries come.
//!
//! Rows wait until their directory is left. If too many are waiting then, the child directories with the most rows
//! become nested catalogs, until few enough are left. So a catalog is cut off as soon as its size is known, and goes to
//! other threads while more of the tree comes. What is waiting at the end is the tree's own catalog.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::mpsc::sync_channel;

use crate::entry::{Content, Entry, EntryKind, Links};
use crate::path::{PathHash, TreePath};
use crate::{Error, Result};

use super::reader::Names;
use super::reference::CatalogRef;
use super::row::{Columns, Location, Mount, is_name};
use super::schema::MARKER;
use super::sink::{CatalogJob, CatalogSink, Pending};
use super::spool::{Rope, Spill};

/// Mode of the marker in the root of a nested catalog.
const MARKER_MODE: u32 = 0o644;
/// Bytes of rows that wait in memory; when there are more, they go into a file.
const IN_MEMORY: usize = 16 << 20;
/// About as many bytes as a row takes, without its name.
const ROW: usize = 128;
/// Bytes of rows that are collected before catalogs are handed over, because that may have to wake a thread.
const AT_ONCE: u64 = 64 << 10;
/// How many bytes arrive before those in memory are counted again.
const COUNT_AFTER: usize = 1 << 20;

/// What a name must be.
pub(super) const NAME_RULE: &str = "names have 1 to 255 bytes, without / and NUL";

/// Where a tree is cut into catalogs. Both are numbers of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// A catalog with more is cut if it has directories that are large enough to be cut off.
    pub maximum: u64,
    /// A directory with less below it is never cut off.
    pub minimum: u64,
}

/// A tree that has been written, but that no directory refers to yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestedTree {
    /// Its root directory.
    pub root: Entry,
    /// The root directory's link count.
    pub links: u32,
    /// Its catalog.
    pub catalog: CatalogRef,
}

/// Writes a tree whose entries come depth-first. Those of a directory may come in any order: the same tree gives the
/// same catalogs.
pub struct TreeWriter {
    sink: CatalogSink,
    spill: Spill,
    split: Split,
    /// Seconds since 1970.
    modified: i64,
    stack: Vec<Open>,
    root: Open,
    left_out: Vec<TreePath>,
    /// Depth below a directory that is left out, that directory included.
    skipping: usize,
    /// Bytes that have come since the last count.
    uncounted: usize,
    /// Catalogs that will be handed over together with more.
    jobs: Vec<CatalogJob>,
}

/// A directory whose entries are coming.
struct Open {
    path: TreePath,
    hash: PathHash,
    names: Names,
    name: Vec<u8>,
    entry: Entry,
    subdirectories: u32,
    groups: HashMap<u32, Group>,
    waiting: Waiting,
    /// Directories in it that can become nested catalogs.
    large: Vec<Closed>,
}

/// What is waiting below a directory.
#[derive(Default)]
struct Waiting {
    rows: Rope,
    nested: Vec<Pending>,
}

/// A directory all of whose entries have come.
struct Closed {
    path: TreePath,
    hash: PathHash,
    name: Vec<u8>,
    entry: Entry,
    links: u32,
    waiting: Waiting,
}

struct Group {
    members: u32,
    /// A hash of what all members have in common.
    fingerprint: u64,
}

impl TreeWriter {
    /// Begins a tree whose root directory is `root` and will be at `mount`. Its catalogs are of the time
    /// `modified` (seconds since 1970) and of revision 1.
    ///
    /// # Errors
    /// If `root` is no directory.
    pub fn new(
        sink: CatalogSink,
        mount: TreePath,
        root: Entry,
        split: Split,
        modified: i64,
    ) -> Result<Self> {
        let name = mount.split().map(|(_, name)| name.to_vec()).unwrap_or_default();
        if !root.is_directory() {
            return Err(unpublishable(mount, "it is no directory"));
        }
        Ok(Self {
            spill: Spill::new(sink.scratch()),
            sink,
            split,
            modified,
            stack: Vec::new(),
            root: Open::new(mount, name, root),
            left_out: Vec::new(),
            skipping: 0,
            uncounted: 0,
            jobs: Vec::new(),
        })
    }

    /// Adds a directory and enters it.
    ///
    /// # Errors
    /// If it is no directory, or `name` cannot be a name.
    pub fn enter(&mut self, name: &[u8], directory: Entry) -> Result<()> {
        if self.skipping > 0 {
            self.skipping += 1;
            return Ok(());
        }
        if !directory.is_directory() {
            return Err(unpublishable(self.open().path.join(name), "it is no directory"));
        }
        if self.leave_out(name)? {
            self.skipping = 1;
            return Ok(());
        }
        let path = self.open().path.join(name);
        self.stack.push(Open::new(path, name.to_vec(), directory));
        Ok(())
    }

    /// Adds an empty directory, or anything else than a directory. Entries of one directory with the same `links.group`
    /// other than 0 are the names of one inode; they are counted here.
    ///
    /// # Errors
    /// If `name` cannot be a name, or the entry differs from other names of its inode.
    pub fn leaf(&mut self, name: &[u8], entry: impl Borrow<Entry>) -> Result<()> {
        let entry = entry.borrow();
        if entry.is_directory() {
            self.enter(name, entry.clone())?;
            return self.leave();
        }
        if self.skipping > 0 || self.leave_out(name)? {
            return Ok(());
        }
        let open = self.stack.last_mut().unwrap_or(&mut self.root);
        self.uncounted += open.add(name, entry, Mount::None, 1)?;
        self.relieve()
    }

    /// Leaves the directory that was entered last.
    ///
    /// # Errors
    /// If none was entered, two names in it are the same, or a catalog cannot be written.
    pub fn leave(&mut self) -> Result<()> {
        if self.skipping > 0 {
            self.skipping -= 1;
            return Ok(());
        }
        let left = self.stack.pop().ok_or_else(|| {
            unpublishable(self.root.path.clone(), "more directories were left than entered")
        })?;
        self.uncounted += ROW;
        let closed = self.close(left)?;
        let open = self.stack.last_mut().unwrap_or(&mut self.root);
        open.subdirectories += 1;
        if closed.waiting.rows.rows >= self.split.minimum.max(1) {
            open.large.push(closed);
        } else {
            open.keep(closed)?;
        }
        Ok(())
    }

    /// Paths that were left out because the format reserves the name `.cvmfscatalog`, with whatever is below them.
    /// Returns each of them once.
    pub fn take_left_out(&mut self) -> Vec<TreePath> {
        std::mem::take(&mut self.left_out)
    }

    /// Writes what is still waiting. When this returns, all catalogs are in the storage.
    ///
    /// # Errors
    /// If not all directories were left, two names in a directory are the same, or a catalog cannot be written.
    pub fn finish(mut self) -> Result<NestedTree> {
        if let Some(open) = self.stack.last() {
            let reason = format!("the directory {} was not left", open.path);
            return Err(unpublishable(self.root.path.clone(), &reason));
        }
        let path = TreePath::ROOT;
        let root = std::mem::replace(
            &mut self.root,
            Open::new(path, Vec::new(), Entry::directory(0, crate::entry::Time::default())),
        );
        let mut closed = self.close(root)?;
        let (root, links) = (closed.entry.clone(), closed.links);
        let pending = self.submit(&mut closed)?;
        self.hand_over()?;
        let (_, catalog) = pending.wait()?;
        Ok(NestedTree { root, links, catalog })
    }

    fn open(&self) -> &Open {
        self.stack.last().unwrap_or(&self.root)
    }

    /// Whether a name is left out.
    fn leave_out(&mut self, name: &[u8]) -> Result<bool> {
        let open = self.stack.last().unwrap_or(&self.root);
        if !is_name(name) {
            return Err(unpublishable(open.path.join(name), NAME_RULE));
        }
        if name == MARKER {
            self.left_out.push(open.path.join(name));
        }
        Ok(name == MARKER)
    }

    /// Cuts off what is too much, and returns the rest.
    fn close(&mut self, mut left: Open) -> Result<Closed> {
        let mut large = std::mem::take(&mut left.large);
        let below = |closed: &Closed| closed.waiting.rows.rows + 1;
        let mut weight = left.waiting.rows.rows + large.iter().map(below).sum::<u64>();
        large.sort_by(|a, b| below(b).cmp(&below(a)).then_with(|| a.name.cmp(&b.name)));
        for mut closed in large {
            if weight <= self.split.maximum {
                left.keep(closed)?;
                continue;
            }
            weight -= closed.waiting.rows.rows;
            left.add(&closed.name, &closed.entry, Mount::Nested, closed.links)?;
            let pending = self.submit(&mut closed)?;
            left.waiting.nested.push(pending);
        }
        let groups =
            left.groups.iter().map(|(group, Group { members, .. })| (left.hash, *group, *members));
        left.waiting.rows.groups.extend(groups);
        self.relieve()?;
        Ok(Closed {
            path: left.path,
            hash: left.hash,
            name: left.name,
            entry: left.entry,
            links: 2 + left.subdirectories,
            waiting: left.waiting,
        })
    }

    /// Makes a catalog of a directory.
    fn submit(&mut self, closed: &mut Closed) -> Result<Pending> {
        let Waiting { mut rows, nested } = std::mem::take(&mut closed.waiting);
        let is_root = closed.path.is_root();
        let parent = closed.path.split().map_or(PathHash::NONE, |(parent, _)| parent.hash());
        let location = Location { path: closed.hash, parent, name: &closed.name };
        let mount = if is_root { Mount::None } else { Mount::Root };
        rows.push(&Columns::encode(location, &closed.entry, mount, closed.links), &[], || {
            closed.path.clone()
        })?;
        if !is_root {
            let marker = marker(self.sink.marker().clone(), &closed.entry);
            let path = Names::new(&closed.path).hash(MARKER);
            let location = Location { path, parent: closed.hash, name: MARKER };
            rows.push(&Columns::encode(location, &marker, Mount::None, 1), &[], || {
                closed.path.join(MARKER)
            })?;
        }
        let (sender, result) = sync_channel(1);
        let groups = std::mem::take(&mut rows.groups);
        let rows = self.spill.sort(rows)?;
        let mount = closed.path.clone();
        self.jobs.push(CatalogJob {
            mount,
            modified: self.modified,
            groups,
            rows,
            nested,
            result: sender,
        });
        if self.jobs.iter().map(|job| job.rows.size()).sum::<u64>() >= AT_ONCE {
            self.hand_over()?;
        }
        Ok(Pending { mount: closed.path.clone(), result })
    }

    /// Hands over the catalogs that were collected.
    fn hand_over(&mut self) -> Result<()> {
        self.sink.submit(std::mem::take(&mut self.jobs))
    }

    /// Moves rows into the file if too many are in memory.
    fn relieve(&mut self) -> Result<()> {
        if self.uncounted < COUNT_AFTER {
            return Ok(());
        }
        self.uncounted = 0;
        let open = || self.stack.iter().chain([&self.root]);
        let ropes = open().flat_map(|open| {
            open.large.iter().map(|closed| &closed.waiting.rows).chain([&open.waiting.rows])
        });
        if ropes.map(Rope::in_memory).sum::<usize>() <= IN_MEMORY {
            return Ok(());
        }
        for open in self.stack.iter_mut().chain([&mut self.root]) {
            for closed in &mut open.large {
                self.spill.spill(&mut closed.waiting.rows)?;
            }
            self.spill.spill(&mut open.waiting.rows)?;
        }
        Ok(())
    }
}

fn unpublishable(path: TreePath, reason: &str) -> Error {
    Error::Unpublishable { path, reason: reason.to_owned() }
}

/// The file that marks a directory in which a nested catalog begins.
pub(super) fn marker(empty: crate::entry::File, directory: &Entry) -> Entry {
    Entry {
        kind: EntryKind::File(empty),
        mode: MARKER_MODE,
        uid: directory.uid,
        gid: directory.gid,
        mtime: directory.mtime,
        xattrs: crate::xattr::Xattrs::default(),
        links: Links::ONE,
        hidden: false,
    }
}

impl Open {
    fn new(path: TreePath, name: Vec<u8>, entry: Entry) -> Self {
        Self {
            hash: path.hash(),
            names: Names::new(&path),
            path,
            name,
            entry,
            subdirectories: 0,
            groups: HashMap::new(),
            waiting: Waiting::default(),
            large: Vec::new(),
        }
    }

    /// Adds a row; returns about how many bytes it takes.
    fn add(&mut self, name: &[u8], entry: &Entry, mount: Mount, links: u32) -> Result<usize> {
        let location = Location { path: self.names.hash(name), parent: self.hash, name };
        let columns = Columns::encode(location, entry, mount, links);
        let chunks = match &entry.kind {
            EntryKind::File(file) => match &file.content {
                Content::Chunks(_, chunks) => chunks.as_slice(),
                Content::Whole(_) | Content::External(_) => &[],
            },
            _ => &[],
        };
        if columns.symlink.contains(&0) {
            return Err(unpublishable(self.path.join(name), "there is a NUL in its target"));
        }
        if entry.links.group != 0 && !entry.is_directory() {
            self.link(name, &columns, entry)?;
        }
        self.waiting.rows.push(&columns, chunks, || self.path.join(name))?;
        Ok(ROW + name.len() + size_of_val(chunks))
    }

    /// Counts a name of an inode that has several.
    fn link(&mut self, name: &[u8], columns: &Columns<'_>, entry: &Entry) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        (columns.mode, columns.size, columns.mtime, columns.mtimens, columns.flags)
            .hash(&mut hasher);
        (columns.hash, columns.symlink, columns.uid, columns.gid, columns.xattr).hash(&mut hasher);
        let fingerprint = hasher.finish();
        let group =
            self.groups.entry(entry.links.group).or_insert(Group { members: 0, fingerprint });
        if group.fingerprint != fingerprint {
            let reason = "it differs from other names of its inode";
            return Err(unpublishable(self.path.join(name), reason));
        }
        group.members += 1;
        Ok(())
    }

    /// Takes in a directory that stays in the same catalog.
    fn keep(&mut self, closed: Closed) -> Result<()> {
        self.add(&closed.name, &closed.entry, Mount::None, closed.links)?;
        self.waiting.rows.append(closed.waiting.rows);
        self.waiting.nested.extend(closed.waiting.nested);
        Ok(())
    }
}
