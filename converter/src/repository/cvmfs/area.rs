//! What a change has prepared, and how its trees are reached: trees in scratch databases, and entries for
//! small files and links.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cvmfs_repository::Session;
use cvmfs_repository::catalog::{NestedTree, Split};
use cvmfs_repository::entry::{Entry, EntryKind};
use cvmfs_repository::objects::{Objects, PackedFile};
use cvmfs_repository::scratch::Scratch;
use cvmfs_repository::server_conf::Locks;
use layer_layout::RepositoryPath;

use super::home::Home;
use super::latest::Latest;
use super::recipe::Recipe;
use super::shortfall::Tally;
use super::staged::Attributes;
use super::view::{Dir, Lower, Merged};
use crate::repository::ledger::{Announcement, Ledger};
use crate::repository::parents::inheritance::{Inheritance, inherit};
use crate::repository::{Error, OpenEnds, Result, Stratum0};

/// What all parts of a change share.
pub(super) struct Area {
    pub(super) name: String,
    pub(super) stratum0: Arc<Stratum0>,
    pub(super) home: Home,
    /// Keeps a stock server's tools away.
    _locks: Option<Locks>,
    pub(super) session: Session,
    /// What was published when the change began, was rebased or published something.
    pub(super) base: Latest,
    /// What the repository shows to others.
    pub(super) newest: Arc<Latest>,
    pub(super) objects: Objects,
    pub(super) scratch: Scratch,
    pub(super) split: Split,
    ledger: Mutex<Ledger<ItemContent>>,
    /// Whether what is published has to fit the base exactly.
    pub(super) exact: AtomicBool,
    /// Held while something is published.
    publishing: Mutex<()>,
    pub(super) tally: Tally,
    databases: AtomicU64,
}

/// Something that is to be published.
#[derive(Clone)]
pub(super) enum ItemContent {
    /// A tree, whose path contains a digest. One that is already published there is equivalent.
    Tree(Tree),
    /// A file or a symlink, which replaces any that is published there.
    Small(Small),
}

/// A prepared tree.
#[derive(Clone)]
pub(super) struct Tree {
    pub(super) recipe: Recipe,
    /// Its catalogs, when they have been stored.
    pub(super) written: Option<Arc<NestedTree>>,
}

/// A prepared file or symlink.
#[derive(Clone)]
pub(super) struct Small {
    pub(super) entry: Entry,
    /// What a file holds.
    pub(super) content: Arc<[u8]>,
    /// A file as it will be stored.
    pub(super) packed: Option<PackedFile>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Area {
    pub(super) fn new(
        name: &str,
        stratum0: Arc<Stratum0>,
        home: Home,
        locks: Option<Locks>,
        session: Session,
        newest: Arc<Latest>,
        split: Split,
    ) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            objects: stratum0.objects.clone(),
            stratum0,
            home,
            _locks: locks,
            session,
            base: Latest::new(newest.get()),
            newest,
            scratch: Scratch::new()?,
            split,
            ledger: Mutex::default(),
            exact: AtomicBool::new(false),
            publishing: Mutex::default(),
            tally: Tally::default(),
            databases: AtomicU64::new(0),
        })
    }

    /// What is prepared, removed and relied on.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger<ItemContent>> {
        held(&self.ledger)
    }

    /// Keeps other threads from publishing.
    pub(super) fn publishing(&self) -> MutexGuard<'_, ()> {
        held(&self.publishing)
    }

    /// A path for one more scratch database.
    pub(super) fn database(&self) -> PathBuf {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        self.scratch.path().join(format!("tree-{number}"))
    }

    /// Announces what will stand at a path, in place of anything announced there before.
    pub(super) fn announce(&self, path: &RepositoryPath) -> Announcement {
        self.ledger().announce(path)
    }

    /// Reports that an announced tree is complete.
    pub(super) fn complete(&self, announced: &Announcement, recipe: Recipe) {
        let tree = Tree { recipe, written: None };
        self.ledger().complete(announced, ItemContent::Tree(tree));
    }

    /// What is published at a path.
    pub(super) fn published(&self, path: &RepositoryPath) -> Result<Option<Entry>> {
        Ok(self.base.get().lookup(&self.home.path(path))?)
    }

    /// A tree that this change has prepared.
    pub(super) fn prepared(&self, path: &RepositoryPath) -> Result<Recipe> {
        match self.ledger().prepared(path) {
            Some(ItemContent::Tree(tree)) => Ok(tree.recipe.clone()),
            _ => Err(Error::NoTree(path.clone())),
        }
    }

    /// A tree that is published or prepared. A published one that is going to be removed or replaced does not count.
    pub(super) fn tree(&self, path: &RepositoryPath) -> Result<Recipe> {
        if self.ledger().hides(path) {
            return self.prepared(path);
        }
        if let Some(published) = self.published_tree(path)? {
            return Ok(published);
        }
        match self.prepared(path) {
            // Perhaps it has just been published.
            Err(Error::NoTree(_)) => {
                self.published_tree(path)?.ok_or_else(|| Error::NoTree(path.clone()))
            }
            prepared => prepared,
        }
    }

    fn published_tree(&self, path: &RepositoryPath) -> Result<Option<Recipe>> {
        let base = self.base.get();
        match base.lookup(&self.home.path(path))? {
            Some(entry) if entry.is_directory() => Ok(Some(Recipe::Published(base, path.clone()))),
            Some(_) => Err(self.indirect(path)),
            None => Ok(None),
        }
    }

    pub(super) fn trees(&self, paths: &[RepositoryPath]) -> Result<Arc<[Recipe]>> {
        paths.iter().map(|path| self.tree(path)).collect()
    }

    /// Opens a tree for the calling thread.
    pub(super) fn open(&self, recipe: &Recipe) -> Result<Dir> {
        Ok(match recipe {
            Recipe::Staged(tree) => Dir::Staged(tree.view()?),
            Recipe::Published(seen, path) => {
                let directory = seen.directory(&self.home.path(path))?;
                Dir::Published(directory.ok_or_else(|| Error::NoTree(path.clone()))?)
            }
            Recipe::Merged(trees) => {
                let trees = trees.iter().map(|tree| self.open(tree)).collect::<Result<_>>()?;
                Dir::Merged(Merged::of(trees, Attributes::implied().entry(EntryKind::Directory))?)
            }
        })
    }

    pub(super) fn indirect(&self, path: &RepositoryPath) -> Error {
        Error::Indirect { repository: PathBuf::from(&self.name), path: path.clone() }
    }

    /// What a layer above these parents takes from them.
    pub(super) fn inherit(
        &self,
        open_ends: &OpenEnds,
        parents: &[RepositoryPath],
    ) -> Result<(Inheritance, Lower)> {
        let trees = self.trees(parents)?;
        let layers = trees.iter().map(|tree| self.open(tree)).collect::<Result<_>>()?;
        let lower = Lower::new(layers);
        Ok((inherit(open_ends, parents, &lower)?, lower))
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}
