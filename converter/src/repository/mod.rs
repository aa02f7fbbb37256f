//! Where content and trees go.
//!
//! A [`Transaction`] is the only way to change a repository: it prepares layers, merged trees, small files
//! and links out of everybody's sight, and [`Transaction::commit`] makes all of it visible, or nothing.
//! Paths are [`RepositoryPath`]s; content of untrusted layers is resolved strictly beneath its own layer.

mod byte_path;
pub mod cvmfs;
pub mod directory;
mod error;
mod layer_rules;
mod locator;
mod parents;
mod shortfalls;
mod stratum0;
#[cfg(test)]
mod tests;

use std::path::Path;

use layer_layout::RepositoryPath;

pub use cvmfs::Cvmfs;
pub use directory::Directory;
pub use error::{EntryError, Error, JournalError, Occupant, Result, ScratchError};
pub use layer_layout::record::{Completion, OpenEnds};
pub use locator::{Locator, LocatorError};
pub use stratum0::{Access, Stratum0};

use crate::layer::{Content, Entry};

/// A repository that can be published into.
pub trait Repository: Send + Sync {
    /// What the repository is called in URLs and labels: a fully qualified repository name.
    fn name(&self) -> &str;

    /// Begins a change, when no other publisher is at work. If there is one, `wait` is asked once whether to
    /// wait for it, with a text for people. What a killed publisher has left is finished or removed.
    ///
    /// # Errors
    /// [`Error::Busy`] if `wait` said no; others if the repository cannot be written.
    fn begin(&self, wait: &mut dyn FnMut(&str) -> bool) -> Result<Box<dyn Transaction>>;

    /// Reads a published small file; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>>;

    /// What is published at `path`, without following a symlink there.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>>;

    /// What is published in a directory, or in the root: each name with what it is, in no particular order. Nothing
    /// if there is no directory. Names that are not UTF-8 are left out: they are not the publisher's.
    ///
    /// # Errors
    /// If the directory is there and cannot be read.
    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>>;
}

/// What a repository has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(String),
    /// A regular file or anything else.
    Other,
}

/// A change of a repository that nobody sees yet. Dropping it undoes everything.
///
/// A path that is read (`parents`, `layers`) may be published already or prepared by this transaction.
pub trait Transaction: Send + Sync {
    /// Begins to unpack a layer; it will stand at `path` (a `layerfs`). Several may be open at once, each
    /// in its own thread.
    ///
    /// # Errors
    /// If the place cannot be prepared.
    fn layer_writer(&self, path: &RepositoryPath) -> Result<Box<dyn LayerWriter>>;

    /// Completes a layer at `path`, prepared by this transaction, that says nothing of some directories or
    /// links to files of lower layers, from the stack of layers it lies on (`parents`, topmost first).
    ///
    /// # Errors
    /// If a link's target is in no layer, or a directory that the layer only implies is a file below.
    fn complete_layer(
        &self,
        path: &RepositoryPath,
        open_ends: &OpenEnds,
        parents: &[RepositoryPath],
    ) -> Result<Completion>;

    /// What [`Self::complete_layer`] would give above these parents, without a layer. A published layer can
    /// be used above them if that is what it was completed with; otherwise its tar has to be unpacked again.
    ///
    /// # Errors
    /// As for [`Self::complete_layer`].
    fn completion(&self, open_ends: &OpenEnds, parents: &[RepositoryPath]) -> Result<Completion>;

    /// Puts what is seen of `layers` (topmost first) at `path`, without copying content.
    ///
    /// # Errors
    /// If a layer cannot be read or the tree not be written.
    fn merge(&self, path: &RepositoryPath, layers: &[RepositoryPath]) -> Result<()>;

    /// Puts the tree at `source` (prepared or published) at `path`, too, without copying content, and gives
    /// a handle to add files to it (the Singularity files of a flat image).
    ///
    /// # Errors
    /// If the tree cannot be read or written.
    fn share(&self, path: &RepositoryPath, source: &RepositoryPath) -> Result<Box<dyn TreeEditor>>;

    /// Puts a small file at `path`, in place of what is there.
    ///
    /// # Errors
    /// If it cannot be written.
    fn write_file(&self, path: &RepositoryPath, content: &[u8]) -> Result<()>;

    /// Puts a symlink at `path`, in place of a file or symlink that is there.
    ///
    /// # Errors
    /// If it cannot be written, or a directory is there.
    fn symlink(&self, path: &RepositoryPath, target: &str) -> Result<()>;

    /// What could not be kept because this process may not do so (owners, device nodes, …), a line each,
    /// with counts. Empty for root.
    fn shortfalls(&self) -> Vec<String>;

    /// Makes everything visible: content first, names last, in the order in which paths were first named.
    /// What is prepared below a directory that the repository does not have yet (a new layer, a new chain)
    /// appears together with that directory, at once.
    ///
    /// # Errors
    /// If something cannot be moved into place; the next [`Repository::begin`] then finishes it.
    fn commit(self: Box<Self>) -> Result<()>;
}

/// A transaction that several threads prepare layers in. The last owner takes it out and commits.
pub type SharedTransaction = std::sync::Arc<Box<dyn Transaction>>;

/// Takes the entries of one layer in the order of its tar.
pub trait LayerWriter: Send {
    /// Applies one entry, which has this content if it is a file.
    ///
    /// # Errors
    /// If the entry contradicts earlier ones, would leave the layer, or cannot be written.
    fn apply(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<()>;

    /// Ends the layer: sets what had to wait (directory times, whiteouts, opaque marks).
    ///
    /// # Errors
    /// If something cannot be written.
    fn finish(self: Box<Self>) -> Result<OpenEnds>;
}

/// Adds to a tree that a transaction prepares. Paths are resolved beneath the tree's root; a symlink in
/// the tree is followed as if the root were `/`, as it will be in a container.
pub trait TreeEditor {
    /// Makes a directory (0755, owner 0:0) unless something resolvable is there.
    ///
    /// # Errors
    /// If it cannot be made.
    fn ensure_directory(&mut self, path: &Path) -> Result<()>;

    /// Puts a file (owner 0:0) in place of what is there. A file shared with other trees is left alone.
    ///
    /// # Errors
    /// If it cannot be written.
    fn write_file(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()>;

    /// Puts an empty file (owner 0:0) unless something resolvable is there.
    ///
    /// # Errors
    /// If it cannot be made.
    fn ensure_file(&mut self, path: &Path, mode: u32) -> Result<()>;

    /// Puts a symlink unless something resolvable is there.
    ///
    /// # Errors
    /// If it cannot be made.
    fn ensure_symlink(&mut self, path: &Path, target: &str) -> Result<()>;

    /// Sets the owner's write permission on the root directory.
    ///
    /// # Errors
    /// If it cannot be set.
    fn make_root_writable(&mut self) -> Result<()>;
}
