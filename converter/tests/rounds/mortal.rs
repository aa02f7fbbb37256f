//! A repository whose publisher dies at some step.
//!
//! A process cannot be killed and go on testing. So at that step everything stands still, the repository is copied, and
//! from then on nothing that the publisher does succeeds. The copy is what a kill would have left.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use ducc::layer::{Content, Entry, Metadata};
use ducc::repository::{
    Error, Inherited, LayerWriter, OpenEnds, Published, Repository, Result, Stored, Transaction,
    TreeDirectory, TreeEditor, TreeNode, Turn,
};
use layer_layout::{LayerPath, RepositoryPath};

use crate::place::Place;

/// When a publisher dies.
pub(crate) struct Fate {
    place: Arc<Place>,
    /// Steps until then; negative if it does not die.
    left: AtomicI64,
    dead: AtomicBool,
    /// Held for reading during each step.
    still: RwLock<()>,
    copy: Mutex<Option<Place>>,
    /// A tree that cannot be stored.
    unstorable: Option<RepositoryPath>,
}

impl Fate {
    pub(crate) fn new(place: &Arc<Place>, killed: Option<usize>) -> Arc<Self> {
        Arc::new(Self::of(place, killed))
    }

    /// Of a publisher that lives and cannot store this tree.
    pub(crate) fn without(place: &Arc<Place>, unstorable: RepositoryPath) -> Arc<Self> {
        Arc::new(Self { unstorable: Some(unstorable), ..Self::of(place, None) })
    }

    fn of(place: &Arc<Place>, killed: Option<usize>) -> Self {
        let left = killed.map_or(-1, |steps| steps.try_into().unwrap());
        Self {
            place: Arc::clone(place),
            left: AtomicI64::new(left),
            dead: AtomicBool::new(false),
            still: RwLock::default(),
            copy: Mutex::default(),
            unstorable: None,
        }
    }

    /// What the publisher has left, if it has died.
    pub(crate) fn left_behind(&self) -> Option<Place> {
        self.copy.lock().unwrap().take()
    }

    fn step(&self) -> Result<RwLockReadGuard<'_, ()>> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            let _still = self.still.write().unwrap();
            *self.copy.lock().unwrap() = Some(self.place.copy());
            self.dead.store(true, Ordering::SeqCst);
        }
        let step = self.still.read().unwrap();
        if self.dead.load(Ordering::SeqCst) {
            return Err(Error::Busy("this publisher is dead".to_owned()));
        }
        Ok(step)
    }
}

/// Something of a repository whose publisher can die.
pub(crate) struct Mortal<T> {
    inner: T,
    fate: Arc<Fate>,
}

impl<T> Mortal<T> {
    pub(crate) fn new(inner: T, fate: &Arc<Fate>) -> Self {
        Self { inner, fate: Arc::clone(fate) }
    }
}

impl Repository for Mortal<Arc<dyn Repository>> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn begin(&self, wait: &mut dyn FnMut(&str) -> bool) -> Result<Box<dyn Transaction>> {
        let _step = self.fate.step()?;
        Ok(Box::new(Mortal::new(self.inner.begin(wait)?, &self.fate)))
    }

    fn turn(&self, wants: &mut dyn FnMut() -> bool) -> Turn {
        self.inner.turn(wants)
    }

    fn finish_abandoned(&self) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.finish_abandoned()
    }

    fn quiet_since(&self) -> Result<Option<String>> {
        self.inner.quiet_since()
    }

    fn refresh(&self) -> Result<()> {
        self.inner.refresh()
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        self.inner.read(path)
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        self.inner.lookup(path)
    }

    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>> {
        self.inner.list(directory)
    }

    fn fingerprint(&self, path: &RepositoryPath) -> Result<Option<String>> {
        self.inner.fingerprint(path)
    }

    fn expands_variables(&self) -> bool {
        self.inner.expands_variables()
    }

    fn content_bytes(&self, paths: &[RepositoryPath]) -> Result<u64> {
        self.inner.content_bytes(paths)
    }

    fn read_directory(
        &self,
        tree: &RepositoryPath,
        below: &LayerPath,
    ) -> Result<Option<TreeDirectory>> {
        self.inner.read_directory(tree, below)
    }

    fn read_content(
        &self,
        tree: &RepositoryPath,
        file: &LayerPath,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<Stored> {
        self.inner.read_content(tree, file, each)
    }

    fn discard_damaged(&self, tree: &RepositoryPath, file: &LayerPath) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.discard_damaged(tree, file)
    }

    fn kept(&self, name: &[u8], node: &TreeNode, metadata: &Metadata) -> Option<Metadata> {
        self.inner.kept(name, node, metadata)
    }
}

impl Transaction for Mortal<Box<dyn Transaction>> {
    fn layer_writer(&self, path: &RepositoryPath) -> Result<Box<dyn LayerWriter>> {
        let _step = self.fate.step()?;
        Ok(Box::new(Mortal::new(self.inner.layer_writer(path)?, &self.fate)))
    }

    fn complete_layer(
        &self,
        path: &RepositoryPath,
        open_ends: &OpenEnds,
        parents: &[RepositoryPath],
    ) -> Result<Inherited> {
        let _step = self.fate.step()?;
        self.inner.complete_layer(path, open_ends, parents)
    }

    fn completion(&self, open_ends: &OpenEnds, parents: &[RepositoryPath]) -> Result<Inherited> {
        self.inner.completion(open_ends, parents)
    }

    fn merge(&self, path: &RepositoryPath, layers: &[RepositoryPath]) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.merge(path, layers)
    }

    fn share(
        &self,
        path: &RepositoryPath,
        source: Option<&RepositoryPath>,
    ) -> Result<Box<dyn TreeEditor>> {
        let _step = self.fate.step()?;
        Ok(Box::new(Mortal::new(self.inner.share(path, source)?, &self.fate)))
    }

    fn write_file(&self, path: &RepositoryPath, content: &[u8]) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.write_file(path, content)
    }

    fn symlink(&self, path: &RepositoryPath, target: &str) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.symlink(path, target)
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        self.inner.read(path)
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        self.inner.lookup(path)
    }

    fn is_prepared(&self, path: &RepositoryPath) -> bool {
        self.inner.is_prepared(path)
    }

    fn remove(&self, path: &RepositoryPath) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.remove(path)
    }

    fn replace(&self, path: &RepositoryPath) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.replace(path)
    }

    fn withdraw(&self, path: &RepositoryPath) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.withdraw(path)
    }

    fn rely_on(&self, path: &RepositoryPath) -> Result<()> {
        self.inner.rely_on(path)
    }

    fn require_unchanged(&self) -> Result<()> {
        self.inner.require_unchanged()
    }

    fn shortfalls(&self) -> Vec<String> {
        self.inner.shortfalls()
    }

    fn store(&self, paths: &[RepositoryPath]) -> Result<()> {
        let _step = self.fate.step()?;
        if let Some(path) = self.fate.unstorable.as_ref().filter(|path| paths.contains(path)) {
            return Err(Error::NoTree(path.clone()));
        }
        self.inner.store(paths)
    }

    fn catch_up(&self) -> Result<bool> {
        let _step = self.fate.step()?;
        self.inner.catch_up()
    }

    fn publish(&self, paths: &[RepositoryPath]) -> Result<()> {
        let step = self.fate.step()?;
        self.inner.publish(paths)?;
        drop(step);
        // It may die before it hears of its success.
        self.fate.step().map(drop)
    }

    fn rebase(&self) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.rebase()
    }

    fn commit(self: Box<Self>) -> Result<()> {
        let Self { inner, fate } = *self;
        let step = fate.step()?;
        inner.commit()?;
        drop(step);
        fate.step().map(drop)
    }
}

impl LayerWriter for Mortal<Box<dyn LayerWriter>> {
    fn apply(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.apply(entry, content)
    }

    fn finish(self: Box<Self>) -> Result<OpenEnds> {
        let Self { inner, fate } = *self;
        let _step = fate.step()?;
        inner.finish()
    }
}

impl TreeEditor for Mortal<Box<dyn TreeEditor>> {
    fn ensure_directory(&mut self, path: &Path) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.ensure_directory(path)
    }

    fn write_file(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.write_file(path, mode, content)
    }

    fn ensure_file(&mut self, path: &Path, mode: u32) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.ensure_file(path, mode)
    }

    fn ensure_symlink(&mut self, path: &Path, target: &str) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.ensure_symlink(path, target)
    }

    fn open_root(&mut self) -> Result<()> {
        let _step = self.fate.step()?;
        self.inner.open_root()
    }
}
