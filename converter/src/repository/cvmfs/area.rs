//! What a change has prepared, and how its trees are reached: trees in scratch databases, and entries for
//! small files and links.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cvmfs_repository::Session;
use cvmfs_repository::catalog::{CatalogSink, NestedTree, Split};
use cvmfs_repository::entry::{Entry, EntryKind};
use cvmfs_repository::objects::Objects;
use cvmfs_repository::scratch::Scratch;
use cvmfs_repository::server_conf::Locks;
use cvmfs_repository::snapshot::Snapshot;
use layer_layout::RepositoryPath;

use super::shortfall::Tally;
use super::staged::{Attributes, Staged};
use super::tree_path::tree_path;
use super::view::{self, Destination, Dir, Lower, Merged};
use crate::repository::parents::inheritance::{Inheritance, inherit};
use crate::repository::{Error, Occupant, OpenEnds, Result, Stratum0};

/// The most trees that are written at a time. Each needs some 20 MiB for the entries of a large directory.
const MAX_WRITERS: usize = 4;

/// What all parts of a change share.
pub(super) struct Area {
    pub(super) name: String,
    pub(super) stratum0: Arc<Stratum0>,
    /// Keeps a stock server's tools away.
    _locks: Option<Locks>,
    pub(super) session: Session,
    /// What was published when the change began.
    base: Snapshot,
    pub(super) objects: Objects,
    scratch: Scratch,
    split: Split,
    items: Mutex<Vec<Item>>,
    pub(super) tally: Tally,
    databases: AtomicU64,
}

/// Something that is to be published.
struct Item {
    path: RepositoryPath,
    /// `None` until it is complete. What is incomplete when the change ends is not published.
    content: Option<ItemContent>,
}

#[derive(Clone)]
pub(super) enum ItemContent {
    /// A tree, whose path contains a digest. One that is already published there is equivalent.
    Tree(Recipe),
    /// A file or a symlink, which replaces any that is published there.
    Small(Entry),
}

/// Where a tree is, so that any thread can open it.
#[derive(Clone)]
pub(super) enum Recipe {
    /// In a scratch database.
    Staged(Arc<Staged>),
    /// Published at this path.
    Published(RepositoryPath),
    /// Not stored: it is what is seen of these, topmost first.
    Merged(Arc<[Recipe]>),
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Area {
    pub(super) fn new(
        name: &str,
        stratum0: Arc<Stratum0>,
        locks: Option<Locks>,
        session: Session,
        base: Snapshot,
        split: Split,
    ) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            objects: stratum0.objects.clone(),
            stratum0,
            _locks: locks,
            session,
            base,
            scratch: Scratch::new()?,
            split,
            items: Mutex::default(),
            tally: Tally::default(),
            databases: AtomicU64::new(0),
        })
    }

    /// A path for one more scratch database.
    pub(super) fn database(&self) -> PathBuf {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        self.scratch.path().join(format!("tree-{number}"))
    }

    /// Announces what will stand at a path, in place of anything announced there before.
    pub(super) fn announce(&self, path: &RepositoryPath, content: Option<ItemContent>) {
        let mut items = held(&self.items);
        match items.iter_mut().find(|item| item.path == *path) {
            Some(item) => item.content = content,
            None => items.push(Item { path: path.clone(), content }),
        }
    }

    /// Reports that an announced tree is complete.
    pub(super) fn complete(&self, path: &RepositoryPath, tree: Recipe) {
        self.announce(path, Some(ItemContent::Tree(tree)));
    }

    /// What is published at a path.
    pub(super) fn published(&self, path: &RepositoryPath) -> Result<Option<Entry>> {
        Ok(self.base.lookup(&tree_path(path))?)
    }

    /// A tree that this change has prepared.
    pub(super) fn prepared(&self, path: &RepositoryPath) -> Result<Recipe> {
        let items = held(&self.items);
        match items.iter().find(|item| item.path == *path).and_then(|item| item.content.as_ref()) {
            Some(ItemContent::Tree(recipe)) => Ok(recipe.clone()),
            _ => Err(Error::NoTree(path.clone())),
        }
    }

    /// A tree that is published or prepared.
    pub(super) fn tree(&self, path: &RepositoryPath) -> Result<Recipe> {
        match self.published(path)? {
            Some(entry) if entry.is_directory() => Ok(Recipe::Published(path.clone())),
            Some(_) => Err(self.indirect(path)),
            None => self.prepared(path),
        }
    }

    pub(super) fn trees(&self, paths: &[RepositoryPath]) -> Result<Arc<[Recipe]>> {
        paths.iter().map(|path| self.tree(path)).collect()
    }

    /// Opens a tree for the calling thread.
    pub(super) fn open(&self, recipe: &Recipe) -> Result<Dir> {
        Ok(match recipe {
            Recipe::Staged(tree) => Dir::Staged(tree.view()?),
            Recipe::Published(path) => {
                let directory = self.base.directory(&tree_path(path))?;
                Dir::Published(directory.ok_or_else(|| Error::NoTree(path.clone()))?)
            }
            Recipe::Merged(trees) => {
                let trees = trees.iter().map(|tree| self.open(tree)).collect::<Result<_>>()?;
                Dir::Merged(Merged::of(trees, Attributes::implied().entry(EntryKind::Directory))?)
            }
        })
    }

    fn indirect(&self, path: &RepositoryPath) -> Error {
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

    /// What is prepared and has to be published, after checking that nothing is in the way.
    pub(super) fn due(&self) -> Result<Vec<(RepositoryPath, ItemContent)>> {
        let mut due = Vec::new();
        for Item { path, content } in &*held(&self.items) {
            let Some(content) = content else { continue };
            let mut above = path.parent();
            while let Some(directory) = above {
                match self.published(&directory)? {
                    Some(entry) if entry.is_directory() => break,
                    Some(_) if directory == path.unit() => {
                        return Err(Error::occupied(&directory, Occupant::NotADirectory));
                    }
                    Some(_) => return Err(self.indirect(path)),
                    None => above = directory.parent(),
                }
            }
            match (content, self.published(path)?) {
                (ItemContent::Tree(_), Some(entry)) if entry.is_directory() => continue,
                (ItemContent::Tree(_), Some(_)) => {
                    return Err(Error::occupied(path, Occupant::NotADirectory));
                }
                (ItemContent::Small(_), Some(entry)) if entry.is_directory() => {
                    return Err(Error::occupied(path, Occupant::Directory));
                }
                _ => due.push((path.clone(), content.clone())),
            }
        }
        Ok(due)
    }

    /// Writes the trees of `due`, several at a time. The result is in no particular order.
    pub(super) fn write_trees(
        &self,
        due: &[(RepositoryPath, ItemContent)],
    ) -> Result<Vec<(RepositoryPath, NestedTree)>> {
        let trees: Vec<_> = due
            .iter()
            .filter_map(|(path, content)| match content {
                ItemContent::Tree(recipe) => Some((path, recipe)),
                ItemContent::Small(_) => None,
            })
            .collect();
        let threads = self.objects.settings().threads.max(1);
        // One more than threads, since a tree yields catalogs only at the ends of its larger directories.
        let writers = (threads + 1).min(MAX_WRITERS).min(trees.len());
        let sink = CatalogSink::new(Arc::new(self.objects.clone()), &self.scratch, threads)?;
        let modified = seconds(SystemTime::now());
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<_>> {
            let mut written = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((path, recipe)) = trees.get(at) else { return Ok(written) };
                let (mount, sink) = (tree_path(path), sink.clone());
                let destination = Destination { mount, sink, split: self.split, modified };
                let tree = self.open(recipe).and_then(|tree| view::write(tree, destination));
                if tree.is_err() {
                    // The others are of no use any more.
                    next.store(trees.len(), Ordering::Relaxed);
                }
                written.push(((*path).clone(), tree?));
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..writers).map(|_| scope.spawn(work)).collect();
            let mut written = Vec::new();
            for worker in workers {
                match worker.join() {
                    Ok(trees) => written.extend(trees?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(written)
        })
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}
