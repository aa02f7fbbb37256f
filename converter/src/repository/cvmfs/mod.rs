//! A CernVM-FS repository, written natively: no mount, no union file system, no root.
//!
//! Content becomes objects while a layer streams in; names wait in scratch databases and become catalogs, in
//! one revision, when the change is committed. Owners, devices, whiteouts and extended attributes are columns
//! of a catalog, so an ordinary user gets the same result as root.
//!
//! Trees are those of the [directory target](super::directory), entry by entry, except that:
//! - hard links exist only within one directory, because the format has no others. Names in different
//!   directories become separate files with the same object.
//! - some names and attributes cannot be stored, or cannot be read by clients: see `shortfall`.
//!
//! | file | what it is for |
//! |---|---|
//! | `change` | what a publisher can do |
//! | `area` | what a change has prepared, and how its trees are reached |
//! | `recipe` | where a tree is |
//! | `deferred` | small files that are being stored |
//! | `publishing` | how prepared things become a revision |
//! | `home` | where in the repository the layout is |
//! | `latest` | the latest revision that was read |
//! | `writer` | unpacking an untrusted layer, as [`layer_rules`](super::layer_rules) say |
//! | `editor` | adding files to a tree |
//! | `staged` | trees in scratch databases |
//! | `view` | reading trees, wherever they are, and writing them into catalogs |
//! | `tree`, `content` | reading published trees with all attributes, and their files |
//! | `attributes`, `shortfall` | owners, modes and extended attributes, and which of them are lost |

mod area;
mod attributes;
mod change;
mod content;
mod deferred;
mod editor;
mod home;
mod latest;
mod publishing;
mod recipe;
mod shortfall;
mod staged;
#[cfg(test)]
mod tests;
mod tree;
mod view;
mod writer;

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use cvmfs_repository::catalog::Split;
use cvmfs_repository::entry::{Content, Entry, EntryKind};
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::Snapshot;
use layer_layout::{LayerPath, RepositoryPath};

use self::area::Area;
use self::change::Change;
use self::home::Home;
use self::latest::Latest;
use super::ducc_lock::DuccLock;
use super::{
    Error, Occupant, Published, Repository, Result, Stored, Stratum0, Transaction, TreeDirectory,
    TreeNode, Turn, outermost,
};
use crate::layer::Metadata;

/// The number of entries above which a tree is split into nested catalogs, unless the user chooses another.
const CATALOG_ENTRIES: u32 = 5_000;
/// A directory gets a nested catalog only if at least the maximum divided by this lies below it.
const MINIMUM_PART: u64 = 50;

/// A CernVM-FS repository to publish into.
pub struct Cvmfs {
    name: String,
    stratum0: Arc<Stratum0>,
    home: Home,
    /// Shared with its changes, which tell what they have published.
    newest: Arc<Latest>,
    /// Held by each change, if DUCC runs on this machine, too.
    ducc: Option<DuccLock>,
}

impl Cvmfs {
    /// Makes a target of a repository. Without a `name` it is called by its own.
    ///
    /// # Errors
    /// If its newest revision cannot be read or trusted.
    pub fn open(stratum0: Stratum0, name: Option<&str>) -> Result<Self> {
        let newest = Arc::new(Latest::new(stratum0.repository.snapshot()?));
        let name = name.unwrap_or(stratum0.repository.fqrn().as_str()).to_owned();
        Ok(Self { name, stratum0: Arc::new(stratum0), newest, home: Home::new(None), ducc: None })
    }

    /// The same in a directory of the repository, which is made when something is published, and is part of the name.
    ///
    /// # Errors
    /// If something else stands there.
    pub fn below(self, directory: &RepositoryPath) -> Result<Self> {
        let home = Home::new(Some(directory));
        if let Some(entry) = self.newest.get().lookup(&home.root())?
            && !entry.is_directory()
        {
            return Err(Error::occupied(directory, Occupant::NotADirectory));
        }
        Ok(Self { name: format!("{}/{directory}", self.name), home, ..self })
    }

    /// The same beside DUCC: nothing is published while DUCC does.
    ///
    /// # Errors
    /// If the owner of a storage on this machine, as whom DUCC runs, cannot be found out.
    pub fn beside_ducc(self) -> Result<Self> {
        let owner = match self.stratum0.repository.storage().local_directory() {
            Some(path) => {
                let looked = std::fs::metadata(path);
                Some(looked.map_err(|cause| Error::system("look at", path, cause))?.uid())
            }
            None => None,
        };
        Ok(Self { ducc: Some(DuccLock::of_this_machine(owner)), ..self })
    }

    /// A path in a tree.
    fn in_tree(&self, tree: &RepositoryPath, path: &LayerPath) -> TreePath {
        path.components().fold(self.home.path(tree), |path, name| path.join(name))
    }

    fn split(&self) -> Split {
        let maximum = u64::from(self.stratum0.catalog_entries.unwrap_or(CATALOG_ENTRIES));
        Split { maximum, minimum: maximum / MINIMUM_PART }
    }
}

impl Repository for Cvmfs {
    fn name(&self) -> &str {
        &self.name
    }

    /// Publishers do not wait for each other: a change is applied to whatever is the newest revision when it
    /// is committed.
    fn begin(&self, wait: &mut dyn FnMut(&str) -> bool) -> Result<Box<dyn Transaction>> {
        let beside = self.ducc.as_ref().map(|ducc| ducc.acquire(wait)).transpose()?;
        let locks = self.stratum0.lock()?;
        let session = self.stratum0.repository.begin()?;
        self.refresh()?;
        self.stratum0.repository.check_progress(self.newest.get().manifest())?;
        let newest = Arc::clone(&self.newest);
        let stratum0 = Arc::clone(&self.stratum0);
        let area = Area::new(
            &self.name,
            stratum0,
            self.home.clone(),
            locks,
            session,
            newest,
            self.split(),
        )?;
        Ok(Box::new(Change::new(area, beside)))
    }

    fn turn(&self, wants: &mut dyn FnMut() -> bool) -> Turn {
        self.stratum0.repository.turn(wants)
    }

    fn refresh(&self) -> Result<()> {
        let newest = self.stratum0.repository.snapshot_since(&self.newest.get())?;
        self.newest.advance(newest);
        Ok(())
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        let newest = self.newest.get();
        match newest.lookup(&self.home.path(path))? {
            Some(entry) => read(&newest, path, entry),
            None => Ok(None),
        }
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        let entry = self.newest.get().lookup(&self.home.path(path))?;
        Ok(entry.map(|entry| published(entry.kind)))
    }

    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>> {
        let path = directory.map_or_else(|| self.home.root(), |path| self.home.path(path));
        let mut names = Vec::new();
        if let Some(directory) = self.newest.get().directory(&path)? {
            directory.for_each(&mut |child| {
                if let (false, Ok(name)) = (child.marker, String::from_utf8(child.name)) {
                    names.push((name, published(child.entry.kind)));
                }
                Ok(())
            })?;
        }
        Ok(names)
    }

    /// The names of objects, which are hashes of their content; nothing is read but catalogs.
    fn fingerprint(&self, path: &RepositoryPath) -> Result<Option<String>> {
        let entry = self.newest.get().lookup(&self.home.path(path))?;
        Ok(entry.and_then(|entry| match entry.kind {
            EntryKind::File(file) => match file.content {
                Content::Whole(hash) => Some(hash.to_string()),
                Content::Chunks(_, chunks) => {
                    let hashes = chunks.iter().map(|chunk| chunk.hash.to_string());
                    Some(hashes.collect::<Vec<_>>().join("+"))
                }
                Content::External(_) => None,
            },
            EntryKind::Symlink(target) => Some(format!("-> {}", target.escape_ascii())),
            _ => None,
        }))
    }

    fn expands_variables(&self) -> bool {
        true
    }

    fn content_bytes(&self, paths: &[RepositoryPath]) -> Result<u64> {
        let newest = self.newest.get();
        let bytes =
            outermost(paths).into_iter().map(|path| newest.bytes_below(&self.home.path(path)));
        Ok(bytes.sum::<cvmfs_repository::Result<u64>>()?)
    }

    fn read_directory(
        &self,
        tree: &RepositoryPath,
        below: &LayerPath,
    ) -> Result<Option<TreeDirectory>> {
        tree::read(&self.newest.get(), &self.in_tree(tree, below))
    }

    fn read_content(
        &self,
        tree: &RepositoryPath,
        file: &LayerPath,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<Stored> {
        content::read(&self.newest.get(), &self.in_tree(tree, file), each)
    }

    fn discard_damaged(&self, tree: &RepositoryPath, file: &LayerPath) -> Result<()> {
        content::discard_damaged(&self.newest.get(), &self.in_tree(tree, file))
    }

    fn kept(&self, name: &[u8], node: &TreeNode, metadata: &Metadata) -> Option<Metadata> {
        attributes::kept(name, node, metadata)
    }
}

/// What the file at a path holds, of which this is the entry.
fn read(from: &Snapshot, path: &RepositoryPath, entry: Entry) -> Result<Option<Vec<u8>>> {
    match entry.kind {
        EntryKind::File(file) => Ok(Some(from.read(&file)?)),
        _ => Err(Error::occupied(path, Occupant::NotAFile)),
    }
}

/// What a client sees of this kind of entry.
fn published(kind: EntryKind) -> Published {
    match kind {
        EntryKind::Directory => Published::Directory,
        EntryKind::Symlink(target) => {
            Published::Symlink(String::from_utf8_lossy(&target).into_owned())
        }
        _ => Published::Other,
    }
}
