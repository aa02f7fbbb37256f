//! What a publisher can do with a CernVM-FS repository.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use cvmfs_repository::entry::{Entry, EntryKind, Time};
use cvmfs_repository::snapshot::Snapshot;
use layer_layout::RepositoryPath;

use super::area::{Area, ItemContent, Small, seconds};
use super::editor::Editor;
use super::recipe::{Currency, Recipe};
use super::staged;
use super::view::ReadDirectory;
use super::writer::Writer;
use super::{published, read};
use crate::repository::byte_path::{components, split};
use crate::repository::ducc_lock::DuccGuard;
use crate::repository::ledger::{Ledger, Standing};
use crate::repository::{
    Error, Inherited, LayerWriter, Occupant, OpenEnds, Published, Result, Transaction, TreeEditor,
};

/// Mode of files that are published next to trees.
const FILE_MODE: u32 = 0o644;
/// Mode of symlinks.
const SYMLINK_MODE: u32 = 0o777;

/// A change of a repository that nobody sees yet.
pub(super) struct Change {
    area: Arc<Area>,
    /// Given up when the stock server's locks have been.
    _beside: Option<DuccGuard>,
}

/// An entry that the publisher itself adds, with the current time.
fn own(kind: EntryKind, mode: u32) -> Entry {
    let now = Time { seconds: seconds(SystemTime::now()), nanoseconds: None };
    Entry { kind, ..Entry::directory(mode, now) }
}

/// What will be at a path.
enum Found {
    Nothing,
    Directory,
    /// Something small that this change has prepared.
    Small(Small),
    /// Published, or in a tree.
    Entry(Entry),
}

impl Change {
    pub(super) fn new(area: Area, beside: Option<DuccGuard>) -> Self {
        Self { area: Arc::new(area), _beside: beside }
    }

    /// The newest revision, if what this change has stored is still there.
    fn newest(&self) -> Result<Snapshot> {
        let repository = &self.area.stratum0.repository;
        repository.confirm(&self.area.session)?;
        Ok(repository.snapshot_since(&self.area.base.get())?)
    }

    fn rebase_onto(&self, newest: Snapshot) -> Result<()> {
        let area = &self.area;
        let base = area.base.get();
        let mut currency = Currency::of(&newest, &area.home);
        let mut ledger = area.ledger();
        ledger.forget_intentions();
        area.exact.store(false, Ordering::Relaxed);
        let gone = ledger.prepared_where(|path, content| {
            let ItemContent::Tree(tree) = content else { return Ok(true) };
            let at = area.home.path(path);
            let done_by_others = match ledger.replaces(path) {
                true => !base.has_the_same_at(&at, &newest)?,
                false => newest.lookup(&at)?.is_some_and(|entry| entry.is_directory()),
            };
            Ok(done_by_others || currency.stale(&tree.recipe)?.is_some())
        })?;
        for path in &gone {
            ledger.withdraw(path);
        }
        drop(ledger);
        area.base.advance(newest.clone());
        area.newest.advance(newest);
        Ok(())
    }

    fn put(&self, path: &RepositoryPath, small: Small) {
        let mut ledger = self.area.ledger();
        let announced = ledger.announce(path);
        ledger.complete(&announced, ItemContent::Small(small));
    }

    fn find(&self, path: &RepositoryPath) -> Result<Found> {
        let tree = match self.area.ledger().standing(path) {
            Standing::Prepared(ItemContent::Small(small)) => {
                return Ok(Found::Small(small.clone()));
            }
            Standing::Prepared(ItemContent::Tree(_)) | Standing::Implied => {
                return Ok(Found::Directory);
            }
            Standing::Removed | Standing::Within(_, ItemContent::Small(_)) => {
                return Ok(Found::Nothing);
            }
            Standing::Within(root, ItemContent::Tree(tree)) => {
                Some((tree.recipe.clone(), root.as_str().len()))
            }
            Standing::Untouched => None,
        };
        let entry = match tree {
            Some((tree, root)) => self.find_in(&tree, &path.as_str().as_bytes()[root..])?,
            None => self.area.published(path)?,
        };
        Ok(entry.map_or(Found::Nothing, Found::Entry))
    }

    /// What a prepared tree has at a path.
    fn find_in(&self, tree: &Recipe, path: &[u8]) -> Result<Option<Entry>> {
        let (parent, name) = split(path);
        let mut directory = self.area.open(tree)?;
        for name in components(parent) {
            match directory.enter(name)? {
                Some(below) => directory = below,
                None => return Ok(None),
            }
        }
        Ok(directory.child(name)?.map(|child| child.entry))
    }
}

impl Transaction for Change {
    fn layer_writer(&self, path: &RepositoryPath) -> Result<Box<dyn LayerWriter>> {
        let announced = self.area.announce(path);
        Ok(Box::new(Writer::new(Arc::clone(&self.area), announced)?))
    }

    fn complete_layer(
        &self,
        path: &RepositoryPath,
        open_ends: &OpenEnds,
        parents: &[RepositoryPath],
    ) -> Result<Inherited> {
        let (inheritance, lower) = self.area.inherit(open_ends, parents)?;
        let Recipe::Staged(layer) = self.area.prepared(path)? else {
            return Err(Error::NoTree(path.clone()));
        };
        // If completing it fails, a partly completed layer must not be published.
        let announced = self.area.announce(path);
        self.area.tally.add(staged::complete(&layer, &inheritance, &lower)?);
        self.area.complete(&announced, Recipe::Staged(layer));
        Ok(inheritance.told())
    }

    fn completion(&self, open_ends: &OpenEnds, parents: &[RepositoryPath]) -> Result<Inherited> {
        Ok(self.area.inherit(open_ends, parents)?.0.told())
    }

    fn merge(&self, path: &RepositoryPath, layers: &[RepositoryPath]) -> Result<()> {
        let merged = Recipe::Merged(self.area.trees(layers)?);
        self.area.complete(&self.area.announce(path), merged);
        Ok(())
    }

    fn share(
        &self,
        path: &RepositoryPath,
        source: Option<&RepositoryPath>,
    ) -> Result<Box<dyn TreeEditor>> {
        let sources: Vec<RepositoryPath> = source.into_iter().cloned().collect();
        let source = Recipe::Merged(self.area.trees(&sources)?);
        let area = Arc::clone(&self.area);
        let editor = Editor::new(area, path.clone(), self.area.open(&source)?)?;
        let added = Recipe::Staged(Arc::clone(editor.added()));
        let shared = Recipe::Merged(Arc::new([added, source]));
        self.area.complete(&self.area.announce(path), shared);
        Ok(Box::new(editor))
    }

    fn write_file(&self, path: &RepositoryPath, content: &[u8]) -> Result<()> {
        let packed = self.area.objects.pack_file(content);
        let entry = own(EntryKind::File(packed.file().clone()), FILE_MODE);
        self.put(path, Small { entry, content: content.into(), packed: Some(packed) });
        Ok(())
    }

    fn symlink(&self, path: &RepositoryPath, target: &str) -> Result<()> {
        let hidden = self.area.ledger().hides(path);
        if !hidden && self.area.published(path)?.is_some_and(|entry| entry.is_directory()) {
            return Err(Error::occupied(path, Occupant::Directory));
        }
        let entry = own(EntryKind::Symlink(target.into()), SYMLINK_MODE);
        self.put(path, Small { entry, content: Arc::new([]), packed: None });
        Ok(())
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        match self.find(path)? {
            Found::Nothing => Ok(None),
            Found::Small(Small {
                entry: Entry { kind: EntryKind::File(_), .. }, content, ..
            }) => Ok(Some(content.to_vec())),
            Found::Entry(entry) => read(&self.area.base.get(), path, entry),
            Found::Directory | Found::Small(_) => Err(Error::occupied(path, Occupant::NotAFile)),
        }
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        Ok(match self.find(path)? {
            Found::Nothing => None,
            Found::Directory => Some(Published::Directory),
            Found::Small(Small { entry, .. }) | Found::Entry(entry) => Some(published(entry.kind)),
        })
    }

    fn is_prepared(&self, path: &RepositoryPath) -> bool {
        self.area.ledger().prepared(path).is_some()
    }

    fn remove(&self, path: &RepositoryPath) -> Result<()> {
        let mut ledger = self.area.ledger();
        ledger.withdraw(path);
        ledger.remove(path);
        Ok(())
    }

    fn replace(&self, path: &RepositoryPath) -> Result<()> {
        self.area.ledger().replace(path);
        Ok(())
    }

    fn withdraw(&self, path: &RepositoryPath) -> Result<()> {
        self.area.ledger().withdraw(path);
        Ok(())
    }

    fn rely_on(&self, path: &RepositoryPath) -> Result<()> {
        if matches!(self.find(path)?, Found::Nothing) {
            return Err(Error::Stale(path.clone()));
        }
        self.area.ledger().rely_on(path);
        Ok(())
    }

    fn require_unchanged(&self) -> Result<()> {
        self.area.exact.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn shortfalls(&self) -> Vec<String> {
        self.area.tally.lines()
    }

    fn store(&self, paths: &[RepositoryPath]) -> Result<()> {
        self.area.store(paths)
    }

    fn publish(&self, paths: &[RepositoryPath]) -> Result<()> {
        let published = |path: &RepositoryPath| Ok(self.area.published(path)?.is_some());
        self.area.publish(|ledger| ledger.select(paths, published))
    }

    fn rebase(&self) -> Result<()> {
        let _publishing = self.area.publishing();
        let newest = self.newest()?;
        self.rebase_onto(newest)
    }

    fn catch_up(&self) -> Result<bool> {
        let _publishing = self.area.publishing();
        let newest = self.newest()?;
        if newest.manifest().root == self.area.base.get().manifest().root {
            return Ok(false);
        }
        self.rebase_onto(newest)?;
        Ok(true)
    }

    fn commit(self: Box<Self>) -> Result<()> {
        self.area.publish(Ledger::select_all)
    }
}
