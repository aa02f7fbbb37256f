//! A repository of which one operation hangs or panics, which a real one cannot be made to do on demand, and that knows what
//! was written.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use ducc::layer::{Content, Entry};
use ducc::repository::{
    Inherited, LayerWriter, OpenEnds, Published, Repository, Result, Stored, Transaction,
    TreeDirectory, TreeEditor,
};
use layer_layout::{LayerPath, RepositoryPath};
use tokio::sync::oneshot;

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Lookup,
    Begin,
    LayerWriter,
    Merge,
    Commit,
}

/// What the operation does instead.
enum Fault {
    /// It says so and waits until the other end of the channel is gone.
    Hang(Option<oneshot::Sender<()>>, mpsc::Receiver<()>),
    Panic(&'static str),
    /// As it should.
    None,
}

/// An empty repository with a faulty operation.
#[derive(Clone)]
pub(crate) struct Stub {
    faulty: Operation,
    fault: Arc<Mutex<Fault>>,
    /// How its last transaction ended.
    pub(crate) outcome: Arc<Outcome>,
}

/// How a transaction ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) committed: AtomicBool,
    pub(crate) undone: AtomicBool,
    /// The files that were written, each as often as it was.
    pub(crate) written: Mutex<Vec<(RepositoryPath, Vec<u8>)>>,
}

impl Stub {
    /// Returns also what hears that the operation hangs, and what lets it go on when it is dropped.
    pub(crate) fn hanging(faulty: Operation) -> (Self, oneshot::Receiver<()>, mpsc::Sender<()>) {
        let (reached, hears) = oneshot::channel();
        let (release, released) = mpsc::channel();
        (Self::new(faulty, Fault::Hang(Some(reached), released)), hears, release)
    }

    pub(crate) fn panicking(faulty: Operation, text: &'static str) -> Self {
        Self::new(faulty, Fault::Panic(text))
    }

    /// One without a fault.
    pub(crate) fn sound() -> Self {
        Self::new(Operation::Read, Fault::None)
    }

    fn new(faulty: Operation, fault: Fault) -> Self {
        Self { faulty, fault: Arc::new(Mutex::new(fault)), outcome: Arc::default() }
    }

    fn call(&self, operation: Operation) {
        if operation == self.faulty {
            match &mut *self.fault.lock().unwrap() {
                Fault::Hang(reached, released) => {
                    if let Some(reached) = reached.take() {
                        let _ = reached.send(());
                    }
                    let _ = released.recv();
                }
                Fault::Panic(text) => panic!("{text}"),
                Fault::None => {}
            }
        }
    }
}

impl Repository for Stub {
    fn name(&self) -> &str {
        "stub.example.org"
    }

    fn begin(&self, _wait: &mut dyn FnMut(&str) -> bool) -> Result<Box<dyn Transaction>> {
        self.call(Operation::Begin);
        Ok(Box::new(Change(self.clone())))
    }

    fn read(&self, _path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        self.call(Operation::Read);
        Ok(None)
    }

    fn lookup(&self, _path: &RepositoryPath) -> Result<Option<Published>> {
        self.call(Operation::Lookup);
        Ok(None)
    }

    fn list(&self, _directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>> {
        Ok(Vec::new())
    }

    fn fingerprint(&self, _path: &RepositoryPath) -> Result<Option<String>> {
        Ok(None)
    }

    fn expands_variables(&self) -> bool {
        false
    }

    fn refresh(&self) -> Result<()> {
        Ok(())
    }

    fn content_bytes(&self, _paths: &[RepositoryPath]) -> Result<u64> {
        Ok(0)
    }

    fn read_directory(
        &self,
        _tree: &RepositoryPath,
        _below: &LayerPath,
    ) -> Result<Option<TreeDirectory>> {
        Ok(None)
    }

    fn read_content(
        &self,
        _tree: &RepositoryPath,
        _file: &LayerPath,
        _each: &mut dyn FnMut(&[u8]),
    ) -> Result<Stored> {
        Ok(Stored::Absent)
    }
}

struct Change(Stub);

impl Drop for Change {
    fn drop(&mut self) {
        if !self.0.outcome.committed.load(Ordering::SeqCst) {
            self.0.outcome.undone.store(true, Ordering::SeqCst);
        }
    }
}

impl Transaction for Change {
    fn layer_writer(&self, _path: &RepositoryPath) -> Result<Box<dyn LayerWriter>> {
        self.0.call(Operation::LayerWriter);
        Ok(Box::new(Nowhere))
    }

    fn complete_layer(
        &self,
        _path: &RepositoryPath,
        _open_ends: &OpenEnds,
        _parents: &[RepositoryPath],
    ) -> Result<Inherited> {
        unreachable!("no layer has open ends")
    }

    fn completion(&self, _open_ends: &OpenEnds, _parents: &[RepositoryPath]) -> Result<Inherited> {
        unreachable!("no layer has open ends")
    }

    fn merge(&self, _path: &RepositoryPath, _layers: &[RepositoryPath]) -> Result<()> {
        self.0.call(Operation::Merge);
        Ok(())
    }

    fn share(
        &self,
        _path: &RepositoryPath,
        _source: Option<&RepositoryPath>,
    ) -> Result<Box<dyn TreeEditor>> {
        Ok(Box::new(Nowhere))
    }

    fn write_file(&self, path: &RepositoryPath, content: &[u8]) -> Result<()> {
        self.0.outcome.written.lock().unwrap().push((path.clone(), content.to_vec()));
        Ok(())
    }

    fn symlink(&self, _path: &RepositoryPath, _target: &str) -> Result<()> {
        Ok(())
    }

    fn read(&self, _path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn lookup(&self, _path: &RepositoryPath) -> Result<Option<Published>> {
        self.0.call(Operation::Lookup);
        Ok(None)
    }

    fn is_prepared(&self, _path: &RepositoryPath) -> bool {
        true
    }

    fn remove(&self, _path: &RepositoryPath) -> Result<()> {
        Ok(())
    }

    fn replace(&self, _path: &RepositoryPath) -> Result<()> {
        Ok(())
    }

    fn withdraw(&self, _path: &RepositoryPath) -> Result<()> {
        Ok(())
    }

    fn rely_on(&self, _path: &RepositoryPath) -> Result<()> {
        Ok(())
    }

    fn require_unchanged(&self) -> Result<()> {
        Ok(())
    }

    fn shortfalls(&self) -> Vec<String> {
        Vec::new()
    }

    fn publish(&self, _paths: &[RepositoryPath]) -> Result<()> {
        self.0.call(Operation::Commit);
        self.0.outcome.committed.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn rebase(&self) -> Result<()> {
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<()> {
        self.0.call(Operation::Commit);
        self.0.outcome.committed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl LayerWriter for Nowhere {
    fn apply(&mut self, _: &Entry, content: &mut Content<'_>) -> Result<()> {
        std::io::copy(content, &mut std::io::sink()).unwrap();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<OpenEnds> {
        Ok(OpenEnds::default())
    }
}

impl TreeEditor for Nowhere {
    fn ensure_directory(&mut self, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn write_file(&mut self, _path: &Path, _mode: u32, _content: &[u8]) -> Result<()> {
        Ok(())
    }

    fn ensure_file(&mut self, _path: &Path, _mode: u32) -> Result<()> {
        Ok(())
    }

    fn ensure_symlink(&mut self, _path: &Path, _target: &str) -> Result<()> {
        Ok(())
    }

    fn open_root(&mut self) -> Result<()> {
        Ok(())
    }
}
