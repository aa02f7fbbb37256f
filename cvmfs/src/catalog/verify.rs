//! Whether a catalog keeps the rules: everything that one catalog, with its mountpoint in the parent, can tell.
//! The content of objects and the sums over all catalogs below are checked by `check`, which has them.
//!
//! The rules are those that the stock `check` enforces and that clients rely on. There are no others, so that
//! whatever stock tools write passes.

use std::collections::HashMap;
use std::fmt;

use crate::entry::{Entry, EntryKind};
use crate::path::{PathHash, TreePath};
use crate::{Error, Result};

use super::counters::Counts;
use super::reader::{Catalog, Names};
use super::reference::NestedRef;
use super::row::{Columns, Mount, Row, Unfit};
use super::schema::{
    DIRECT_IO, DIRECTORY, FILE, MARKER, MODE_DIRECTORY, MODE_REGULAR, MODE_SYMLINK, MODE_TYPE,
    SPECIAL, SYMLINK,
};

/// The most faults that are reported for one catalog; a damaged one can have millions.
const MOST: usize = 1000;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What breaks it.
    pub subject: Subject,
    /// Which it is.
    pub problem: Problem,
}

/// What breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The catalog as a whole.
    Catalog,
    /// A row that has no place in the tree, by its number and name.
    Row(i64, Vec<u8>),
    /// An entry.
    Path(TreePath),
}

/// Rules that can be broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Columns that make no sense.
    #[error("{0}")]
    Unfit(#[from] Unfit),
    /// The counters are not those of the rows.
    #[error("it counts {stored}, but has {counted}")]
    Counters {
        /// What it says.
        stored: Box<Counts>,
        /// What it holds.
        counted: Box<Counts>,
    },
    /// A directory with another link count than it should have.
    #[error("its link count is {stored}, with its subdirectories it should be {expected}")]
    LinkCount {
        /// In the row.
        stored: u32,
        /// 2 and the number of subdirectories.
        expected: u32,
    },
    /// A link count of 0.
    #[error("its link count is 0")]
    NoLinks,
    /// A hard link without group, or a directory in one.
    #[error("it has {0} hard links, but belongs to no group, or is a directory")]
    NoGroup(u32),
    /// A group of hard links that is not as large as its members say.
    #[error("it has {stored} hard links, but {found} are in its directory")]
    GroupSize {
        /// In the row.
        stored: u32,
        /// In the directory.
        found: u32,
    },
    /// Members of a group that differ.
    #[error("it differs from other names of its inode")]
    GroupDiffers,
    /// Something that is no file has a content hash.
    #[error("it is no file, but has a content hash")]
    Hash,
    /// Flags that say something else than the mode.
    #[error("its flags do not fit its type")]
    Flags,
    /// An entry whose directory is not there.
    #[error("its directory is not in this catalog")]
    Dangling,
    /// An entry below a mountpoint.
    #[error("it is below a mountpoint, in the catalog above it")]
    BelowMountpoint,
    /// An entry that is not where its name says.
    #[error("its path hash is not that of its name")]
    PathHash,
    /// A name that is empty.
    #[error("it has no name")]
    NoName,
    /// The entry of the catalog's own directory is missing or wrong.
    #[error("there is no proper entry for its own directory")]
    NoRoot,
    /// A directory that claims to be the root of a nested catalog, but not of this one.
    #[error("it is marked as the root of another catalog")]
    StrayRoot,
    /// A marker where no nested catalog begins.
    #[error("the name .cvmfscatalog is used outside the root of a nested catalog")]
    StrayMarker,
    /// A nested catalog without marker.
    #[error("there is no file .cvmfscatalog in its root")]
    NoMarker,
    /// Rows in `chunks` of no file.
    #[error("{0} rows of chunks belong to no file")]
    StrayChunks(u64),
    /// A mountpoint without catalog.
    #[error("it is a mountpoint, but no catalog is named for it")]
    NoNested,
    /// A nested catalog without mountpoint.
    #[error("a catalog is named for it, but it is no mountpoint")]
    NoMountpoint,
    /// A nested catalog that belongs elsewhere.
    #[error("it is mounted at {0}")]
    Mount(TreePath),
    /// A nested catalog of another size than its parent says.
    #[error("its database has {found} bytes, its parent says {stored}")]
    Size {
        /// In the parent.
        stored: u64,
        /// Of the database.
        found: u64,
    },
    /// The two entries of a mountpoint differ.
    #[error("its entry in the parent differs in: {0}")]
    Mirror(&'static str),
    /// There are more faults.
    #[error("there are more faults")]
    More,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Catalog => write!(f, "{}", self.problem),
            Subject::Row(id, name) => {
                write!(f, "row {id} ({:?}): {}", String::from_utf8_lossy(name), self.problem)
            }
            Subject::Path(path) => write!(f, "{path}: {}", self.problem),
        }
    }
}

/// Checks all rows of a catalog and, if it is nested, its entry (`Row`) and its reference in its parent.
///
/// # Errors
/// If it cannot be read to the end: if the database is damaged, or the system refuses.
pub fn verify(catalog: &Catalog, parent: Option<(&Row, &NestedRef)>) -> Result<Vec<Fault>> {
    let mut faults = Faults(Vec::new());
    let mut tree = Tree::default();
    let mut counted = Counts::default();
    catalog.for_each_columns(&mut |id, row| {
        match row {
            Ok((columns, chunks)) => {
                counted += Counts::of(columns, chunks.len() as u64);
                faults.row(id, columns.name, single(columns));
                match columns.decode(id, chunks) {
                    Ok(row) => tree.add(&row, columns),
                    Err(unfit) => faults.row(id, columns.name, [unfit.into()]),
                }
            }
            Err(unfit) => faults.row(id, b"", [unfit.into()]),
        }
        Ok(())
    })?;
    tree.resolve(catalog.mount());
    places(catalog, &tree, &mut faults)?;
    tree.directories(catalog.mount(), &mut faults);
    tree.links(&mut faults);
    mountpoints(catalog, &tree, &mut faults)?;

    let stored = catalog.counters().own;
    if stored != counted {
        let (stored, counted) = (Box::new(stored), Box::new(counted));
        faults.add(Subject::Catalog, Problem::Counters { stored, counted });
    }
    let stray = catalog.chunk_rows()?.saturating_sub(counted.chunks);
    if stray > 0 {
        faults.add(Subject::Catalog, Problem::StrayChunks(stray));
    }
    if let Some((row, reference)) = parent {
        mirrored(catalog, row, reference, &mut faults)?;
    }
    Ok(faults.0)
}

/// What is wrong with a row by itself.
fn single(columns: &Columns<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let kind = columns.mode & MODE_TYPE;
    if columns.hardlinks.cast_unsigned() & 0xffff_ffff == 0 {
        problems.push(Problem::NoLinks);
    }
    let links = columns.links();
    let is_directory = kind == MODE_DIRECTORY;
    if (is_directory && links.group != 0) || (!is_directory && links.count > 1 && links.group == 0)
    {
        problems.push(Problem::NoGroup(links.count));
    }
    if kind != MODE_REGULAR && columns.hash.is_some() {
        problems.push(Problem::Hash);
    }
    let expected = match kind {
        MODE_DIRECTORY => DIRECTORY,
        MODE_REGULAR => FILE,
        MODE_SYMLINK => FILE | SYMLINK,
        _ => FILE | SPECIAL,
    };
    let direct = columns.flags & DIRECT_IO != 0 && kind != MODE_REGULAR;
    if columns.flags & (DIRECTORY | FILE | SYMLINK | SPECIAL) != expected || direct {
        problems.push(Problem::Flags);
    }
    problems
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, subject: Subject, problem: Problem) {
        match self.0.len() {
            ..MOST => self.0.push(Fault { subject, problem }),
            MOST => self.0.push(Fault { subject: Subject::Catalog, problem: Problem::More }),
            _ => {}
        }
    }

    fn row(&mut self, id: i64, name: &[u8], problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            self.add(Subject::Row(id, name.to_vec()), problem);
        }
    }
}

/// The directories of a catalog, and what must be counted in them.
#[derive(Default)]
struct Tree {
    directories: HashMap<PathHash, Directory>,
    /// Paths of the directories that can be reached from the root.
    paths: HashMap<PathHash, TreePath>,
    groups: HashMap<(PathHash, u32), Group>,
}

struct Directory {
    id: i64,
    name: Vec<u8>,
    parent: PathHash,
    links: u32,
    subdirectories: u32,
    mount: Mount,
}

struct Group {
    id: i64,
    name: Vec<u8>,
    stored: u32,
    found: u32,
    entry: Entry,
    same: bool,
}

impl Tree {
    fn add(&mut self, row: &Row, columns: &Columns<'_>) {
        if row.entry.is_directory() {
            let directory = Directory {
                id: row.id,
                name: row.name.clone(),
                parent: row.parent,
                links: row.links,
                subdirectories: 0,
                mount: row.mount,
            };
            self.directories.insert(row.path, directory);
        }
        let links = columns.links();
        if !row.entry.is_directory() && links.group != 0 && links.count > 1 {
            let group = self.groups.entry((row.parent, links.group)).or_insert_with(|| Group {
                id: row.id,
                name: row.name.clone(),
                stored: links.count,
                found: 0,
                entry: row.entry.clone(),
                same: true,
            });
            group.found += 1;
            group.same &= group.entry == row.entry;
        }
    }

    /// Finds the paths of directories, from the root down.
    fn resolve(&mut self, mount: &TreePath) {
        let mut below: HashMap<PathHash, Vec<PathHash>> = HashMap::new();
        let root = mount.hash();
        for (hash, directory) in &self.directories {
            if *hash != root {
                below.entry(directory.parent).or_default().push(*hash);
            }
        }
        let mut waiting = vec![(root, mount.clone())];
        while let Some((hash, path)) = waiting.pop() {
            let children = below.remove(&hash).unwrap_or_default();
            if let Some(directory) = self.directories.get_mut(&hash) {
                directory.subdirectories = u32::try_from(children.len()).unwrap_or(u32::MAX);
            }
            for child in children {
                let Some(directory) = self.directories.get(&child) else { continue };
                let path = path.join(&directory.name);
                // A child is followed only if its hash is that of its path, so there are no circles.
                if path.hash() == child {
                    waiting.push((child, path));
                }
            }
            self.paths.insert(hash, path);
        }
    }

    fn subject(&self, parent: PathHash, id: i64, name: &[u8]) -> Subject {
        match self.paths.get(&parent) {
            Some(path) => Subject::Path(path.join(name)),
            None => Subject::Row(id, name.to_vec()),
        }
    }

    fn directories(&self, mount: &TreePath, faults: &mut Faults) {
        let root = mount.hash();
        for (hash, directory) in &self.directories {
            let Some(path) = self.paths.get(hash) else { continue };
            let subject = || Subject::Path(path.clone());
            let expected = directory.subdirectories.saturating_add(2);
            let own = matches!(directory.mount, Mount::None | Mount::Root);
            if own && directory.links != expected {
                faults.add(subject(), Problem::LinkCount { stored: directory.links, expected });
            }
            if *hash != root && directory.mount == Mount::Root {
                faults.add(subject(), Problem::StrayRoot);
            }
        }
        let (parent, name) = match mount.split() {
            Some((parent, name)) => (parent.hash(), name),
            None => (PathHash::NONE, &b""[..]),
        };
        let wanted = if mount.is_root() { Mount::None } else { Mount::Root };
        match self.directories.get(&root) {
            Some(found) if (found.parent, &*found.name, found.mount) == (parent, name, wanted) => {}
            _ => faults.add(Subject::Catalog, Problem::NoRoot),
        }
    }

    fn links(&self, faults: &mut Faults) {
        for ((parent, _), group) in &self.groups {
            let subject = || self.subject(*parent, group.id, &group.name);
            if group.stored != group.found {
                let (stored, found) = (group.stored, group.found);
                faults.add(subject(), Problem::GroupSize { stored, found });
            } else if !group.same {
                faults.add(subject(), Problem::GroupDiffers);
            }
        }
    }
}

/// Goes through the rows a second time and checks that each is where its name says.
fn places(catalog: &Catalog, tree: &Tree, faults: &mut Faults) -> Result<()> {
    let root = catalog.mount().hash();
    let mut current: Option<(PathHash, Names)> = None;
    let mut marked = false;
    catalog.for_each_columns(&mut |id, row| {
        let Ok((columns, _)) = row else { return Ok(()) };
        if columns.path == root {
            return Ok(());
        }
        if columns.name.is_empty() {
            faults.row(id, b"", [Problem::NoName]);
            return Ok(());
        }
        let Some(directory) = tree.paths.get(&columns.parent) else {
            faults.row(id, columns.name, [Problem::Dangling]);
            return Ok(());
        };
        if current.as_ref().is_none_or(|(parent, _)| *parent != columns.parent) {
            current = Some((columns.parent, Names::new(directory)));
        }
        let subject = || Subject::Path(directory.join(columns.name));
        if current.as_ref().is_some_and(|(_, names)| names.hash(columns.name) != columns.path) {
            faults.row(id, columns.name, [Problem::PathHash]);
        }
        let mount = tree.directories.get(&columns.parent).map(|parent| parent.mount);
        if matches!(mount, Some(Mount::Nested | Mount::Bind)) {
            faults.add(subject(), Problem::BelowMountpoint);
        }
        if columns.name == MARKER {
            let proper = columns.parent == root
                && !catalog.mount().is_root()
                && columns.mode & MODE_TYPE == MODE_REGULAR;
            if !proper {
                faults.add(subject(), Problem::StrayMarker);
            }
            marked |= proper;
        }
        Ok(())
    })?;
    if !catalog.mount().is_root() && !marked {
        faults.add(Subject::Catalog, Problem::NoMarker);
    }
    Ok(())
}

/// Mountpoints and the catalogs that are named for them.
fn mountpoints(catalog: &Catalog, tree: &Tree, faults: &mut Faults) -> Result<()> {
    for (references, mount) in
        [(catalog.nested()?, Mount::Nested), (catalog.bind_mountpoints()?, Mount::Bind)]
    {
        let mut named: HashMap<PathHash, TreePath> = references
            .into_iter()
            .map(|reference| (reference.path.hash(), reference.path))
            .collect();
        for (hash, directory) in &tree.directories {
            if directory.mount == mount && named.remove(hash).is_none() {
                let subject = tree.subject(directory.parent, directory.id, &directory.name);
                faults.add(subject, Problem::NoNested);
            }
        }
        for path in named.into_values() {
            faults.add(Subject::Path(path), Problem::NoMountpoint);
        }
    }
    Ok(())
}

/// A nested catalog against its parent. Owner and group are not compared: stock tools let them differ.
fn mirrored(
    catalog: &Catalog,
    row: &Row,
    reference: &NestedRef,
    faults: &mut Faults,
) -> Result<()> {
    let mut add = |problem| faults.add(Subject::Catalog, problem);
    if catalog.mount() != &reference.path {
        add(Problem::Mount(reference.path.clone()));
    }
    if reference.size != 0 && reference.size != catalog.size() {
        add(Problem::Size { stored: reference.size, found: catalog.size() });
    }
    let root = match catalog.lookup(catalog.mount()) {
        Ok(Some(root)) => root,
        // Reported already.
        Ok(None) | Err(Error::Corrupt { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    if row.mount != Mount::Nested {
        add(Problem::NoMountpoint);
    }
    let kind = |row: &Row| matches!(row.entry.kind, EntryKind::Directory);
    for (differs, column) in [
        (row.name != root.name, "name"),
        (row.links != root.links, "link count"),
        (row.size != root.size, "size"),
        (row.entry.mode != root.entry.mode || kind(row) != kind(&root), "mode"),
        (row.entry.mtime != root.entry.mtime, "time"),
        (row.entry.xattrs.is_empty() != root.entry.xattrs.is_empty(), "extended attributes"),
    ] {
        if differs {
            add(Problem::Mirror(column));
        }
    }
    Ok(())
}
