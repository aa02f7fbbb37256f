//! What a publisher can do with a CernVM-FS repository.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cvmfs_repository::Session;
use cvmfs_repository::catalog::{CatalogSink, NestedTree, Split};
use cvmfs_repository::entry::{Entry, Kind, Time};
use cvmfs_repository::objects::Objects;
use cvmfs_repository::publication::Edits;
use cvmfs_repository::scratch::Scratch;
use cvmfs_repository::server_conf::Locks;
use cvmfs_repository::snapshot::Snapshot;
use layer_layout::{RepositoryPath, path};

use super::editor::Editor;
use super::remarks::Tally;
use super::staged::{self, Attributes, Staged};
use super::tree_path;
use super::view::{self, Destination, Dir, Lower, Merged};
use super::writer::Writer;
use crate::repository::below::plan::{Plan, plan};
use crate::repository::{
    Completion, Error, LayerWriter, OpenEnds, Place, Result, Transaction, TreeEditor,
};

/// Mode of files that are published beside trees.
const FILE_MODE: u32 = 0o644;
/// Mode of symlinks.
const SYMLINK_MODE: u32 = 0o777;
/// How many trees are written at a time at most. Each holds some 20 MiB of a large directory's entries.
const MAX_WRITERS: usize = 4;

/// A change of a repository that nobody sees yet.
pub(super) struct Change {
    core: Arc<Core>,
}

/// What all parts of a change share.
pub(super) struct Core {
    pub(super) name: String,
    place: Arc<Place>,
    /// Keep a stock server's tools away.
    _locks: Option<Locks>,
    session: Session,
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
    /// `None` as long as it is not complete. What is not when the change ends is not published.
    what: Option<What>,
}

#[derive(Clone)]
enum What {
    /// A tree named by a digest. One that is there already is as good.
    Tree(Recipe),
    /// A file or a symlink, which replaces what is there.
    Small(Entry),
}

/// How to get at a tree, from any thread.
#[derive(Clone)]
pub(super) enum Recipe {
    /// It is in a scratch database.
    Staged(Arc<Staged>),
    /// It is published.
    Published(RepositoryPath),
    /// It is what is seen of others, topmost first.
    Merged(Arc<[Recipe]>),
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(super) fn new(
        name: &str,
        place: Arc<Place>,
        locks: Option<Locks>,
        session: Session,
        base: Snapshot,
        split: Split,
    ) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            objects: place.objects.clone(),
            place,
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

    /// A place for one more scratch database.
    pub(super) fn database(&self) -> PathBuf {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        self.scratch.path().join(format!("tree-{number}"))
    }

    /// Takes a place for what will stand at a path. What was to be there is forgotten.
    fn announce(&self, path: &RepositoryPath, what: Option<What>) {
        let mut items = held(&self.items);
        match items.iter_mut().find(|item| item.path == *path) {
            Some(item) => item.what = what,
            None => items.push(Item { path: path.clone(), what }),
        }
    }

    /// Says that a tree that was announced is complete.
    pub(super) fn complete(&self, path: &RepositoryPath, tree: Recipe) {
        self.announce(path, Some(What::Tree(tree)));
    }

    /// What is published at a path.
    fn published(&self, path: &RepositoryPath) -> Result<Option<Entry>> {
        Ok(self.base.lookup(&tree_path(path))?)
    }

    /// A tree that this change has prepared.
    fn prepared(&self, path: &RepositoryPath) -> Result<Recipe> {
        let items = held(&self.items);
        match items.iter().find(|item| item.path == *path).and_then(|item| item.what.as_ref()) {
            Some(What::Tree(recipe)) => Ok(recipe.clone()),
            _ => Err(Error::NoTree(path.clone())),
        }
    }

    /// A tree that is published or prepared.
    fn tree(&self, path: &RepositoryPath) -> Result<Recipe> {
        match self.published(path)? {
            Some(entry) if entry.is_directory() => Ok(Recipe::Published(path.clone())),
            Some(_) => Err(self.indirect(path)),
            None => self.prepared(path),
        }
    }

    fn trees(&self, paths: &[RepositoryPath]) -> Result<Arc<[Recipe]>> {
        paths.iter().map(|path| self.tree(path)).collect()
    }

    /// Opens a tree for the calling thread.
    fn open(&self, recipe: &Recipe) -> Result<Dir> {
        Ok(match recipe {
            Recipe::Staged(tree) => Dir::Staged(tree.view()?),
            Recipe::Published(path) => {
                let directory = self.base.directory(&tree_path(path))?;
                Dir::Published(directory.ok_or_else(|| Error::NoTree(path.clone()))?)
            }
            Recipe::Merged(trees) => {
                let trees = trees.iter().map(|tree| self.open(tree)).collect::<Result<_>>()?;
                Dir::Merged(Merged::of(trees, Attributes::implied().entry(Kind::Directory))?)
            }
        })
    }

    fn indirect(&self, path: &RepositoryPath) -> Error {
        Error::Indirect { repository: PathBuf::from(&self.name), path: path.clone() }
    }

    /// What a layer above these parents takes from them.
    fn plan(&self, open_ends: &OpenEnds, parents: &[RepositoryPath]) -> Result<(Plan, Lower)> {
        let trees = self.trees(parents)?;
        let layers = trees.iter().map(|tree| self.open(tree)).collect::<Result<_>>()?;
        let lower = Lower::new(layers);
        Ok((plan(open_ends, parents, &lower)?, lower))
    }

    /// What is to be published of what is prepared, after a look that nothing is in the way.
    fn due(&self) -> Result<Vec<(RepositoryPath, What)>> {
        let mut due = Vec::new();
        for Item { path, what } in &*held(&self.items) {
            let Some(what) = what else { continue };
            let mut above = path.parent();
            while let Some(directory) = above {
                match self.published(&directory)? {
                    Some(entry) if entry.is_directory() => break,
                    Some(_) if directory == path.unit() => {
                        return Err(occupied(&directory, "something else than a directory"));
                    }
                    Some(_) => return Err(self.indirect(path)),
                    None => above = directory.parent(),
                }
            }
            match (what, self.published(path)?) {
                (What::Tree(_), Some(entry)) if entry.is_directory() => continue,
                (What::Tree(_), Some(_)) => {
                    return Err(occupied(path, "something else than a directory"));
                }
                (What::Small(_), Some(entry)) if entry.is_directory() => {
                    return Err(occupied(path, "a directory"));
                }
                _ => due.push((path.clone(), what.clone())),
            }
        }
        Ok(due)
    }

    /// Writes trees, several at a time. Gives those of `due` that are trees, in any order.
    fn write_trees(
        &self,
        due: &[(RepositoryPath, What)],
    ) -> Result<Vec<(RepositoryPath, NestedTree)>> {
        let trees: Vec<_> = due
            .iter()
            .filter_map(|(path, what)| match what {
                What::Tree(recipe) => Some((path, recipe)),
                What::Small(_) => None,
            })
            .collect();
        let threads = self.objects.settings().threads.max(1);
        // One more, since a tree gives catalogs only at its larger directories' ends.
        let writers = (threads + 1).min(MAX_WRITERS).min(trees.len());
        let sink = CatalogSink::new(Arc::new(self.objects.clone()), &self.scratch, threads)?;
        let modified = seconds(SystemTime::now());
        let next = AtomicU64::new(0);
        let work = || -> Result<Vec<_>> {
            let mut written = Vec::new();
            loop {
                let at =
                    usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                let Some((path, recipe)) = trees.get(at) else { return Ok(written) };
                let (mount, sink) = (tree_path(path), sink.clone());
                let destination = Destination { mount, sink, split: self.split, modified };
                let tree = self.open(recipe).and_then(|tree| view::write(tree, destination));
                if tree.is_err() {
                    // The others have no use any more.
                    next.store(trees.len() as u64, Ordering::Relaxed);
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

fn occupied(path: &RepositoryPath, what: &'static str) -> Error {
    Error::Occupied { path: path.clone(), what }
}

/// An entry of the publisher's own, with the time of now.
fn own(kind: Kind, mode: u32) -> Entry {
    let now = Time { seconds: seconds(SystemTime::now()), nanoseconds: None };
    Entry { kind, ..Entry::directory(mode, now) }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

impl Change {
    pub(super) fn new(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }
}

impl Transaction for Change {
    fn layer_writer(&self, path: &RepositoryPath) -> Result<Box<dyn LayerWriter>> {
        self.core.announce(path, None);
        Ok(Box::new(Writer::new(Arc::clone(&self.core), path.clone())?))
    }

    fn complete_layer(
        &self,
        path: &RepositoryPath,
        open_ends: &OpenEnds,
        parents: &[RepositoryPath],
    ) -> Result<Completion> {
        let (plan, lower) = self.core.plan(open_ends, parents)?;
        let Recipe::Staged(layer) = self.core.prepared(path)? else {
            return Err(Error::NoTree(path.clone()));
        };
        // A layer that was completed by half is of no use.
        self.core.announce(path, None);
        self.core.tally.add(staged::complete(&layer, &plan, &lower)?);
        self.core.complete(path, Recipe::Staged(layer));
        Ok(plan.completion())
    }

    fn completion(&self, open_ends: &OpenEnds, parents: &[RepositoryPath]) -> Result<Completion> {
        Ok(self.core.plan(open_ends, parents)?.0.completion())
    }

    fn merge(&self, path: &RepositoryPath, layers: &[RepositoryPath]) -> Result<()> {
        let merged = Recipe::Merged(self.core.trees(layers)?);
        self.core.complete(path, merged);
        Ok(())
    }

    fn share(&self, path: &RepositoryPath, source: &RepositoryPath) -> Result<Box<dyn TreeEditor>> {
        let source = Recipe::Merged(Arc::new([self.core.tree(source)?]));
        let core = Arc::clone(&self.core);
        let editor = Editor::new(core, path.clone(), self.core.open(&source)?)?;
        let added = Recipe::Staged(Arc::clone(editor.added()));
        self.core.complete(path, Recipe::Merged(Arc::new([added, source])));
        Ok(Box::new(editor))
    }

    fn write_file(&self, path: &RepositoryPath, content: &[u8]) -> Result<()> {
        let file = Kind::File(self.core.objects.store_file(content)?);
        self.core.announce(path, Some(What::Small(own(file, FILE_MODE))));
        Ok(())
    }

    fn symlink(&self, path: &RepositoryPath, target: &str) -> Result<()> {
        if self.core.published(path)?.is_some_and(|entry| entry.is_directory()) {
            return Err(occupied(path, "a directory"));
        }
        let link = Kind::Symlink(target.into());
        self.core.announce(path, Some(What::Small(own(link, SYMLINK_MODE))));
        Ok(())
    }

    fn shortfalls(&self) -> Vec<String> {
        self.core.tally.lines()
    }

    fn commit(self: Box<Self>) -> Result<()> {
        let core = &self.core;
        let due = core.due()?;
        if due.is_empty() {
            return Ok(());
        }
        let mut edits = Edits::default();
        for (path, tree) in core.write_trees(&due)? {
            edits.graft(&tree_path(&path), tree);
        }
        for (path, what) in due {
            for root in path::catalog_roots(&path) {
                edits.nest(&tree_path(&root));
            }
            if let What::Small(entry) = what {
                edits.put(&tree_path(&path), entry, core.published(&path)?.as_ref());
            }
        }
        let manifest = core.place.repository.publish(&edits, &core.objects, &core.session)?;
        Ok(core.place.tell_server(&manifest)?)
    }
}
