//! Where content and trees go.
//!
//! A [`Transaction`] is the only way to change a repository: it prepares layers, merged trees, small files
//! and links out of everybody's sight. [`Transaction::publish`] makes part of it visible and goes on,
//! [`Transaction::commit`] makes all of it visible, or nothing.
//! Paths are [`RepositoryPath`]s; content of untrusted layers is resolved strictly beneath its own layer.

mod byte_path;
pub mod cvmfs;
pub mod directory;
mod ducc_lock;
mod error;
pub mod expected;
mod layer_rules;
mod ledger;
mod locator;
mod parents;
mod shortfalls;
mod stratum0;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;

use layer_layout::{LayerPath, RepositoryPath};

pub use cvmfs::Cvmfs;
pub use cvmfs_repository::Turn;
pub use directory::Directory;
pub use error::{EntryError, Error, JournalError, Occupant, Privilege, Result, ScratchError};
pub use layer_layout::record::{Completion, OpenEnds};
pub use locator::{Locator, LocatorError};
pub use stratum0::{Access, Stratum0, own_directory};
pub use tree::{ContentId, Stored, TreeDirectory, TreeEntry, TreeNode};

use crate::layer::{Content, Entry, Metadata};

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

    /// Waits until no other publisher says that it is about to publish, and says so for the caller, until the turn ends.
    /// That saves work where publishers do not lock each other out: whoever is second does some of it again. It is a
    /// courtesy on which nothing relies, and never fails. It also ends when the caller no longer `wants` a turn.
    fn turn(&self, _wants: &mut dyn FnMut() -> bool) -> Turn {
        Turn::default()
    }

    /// Finishes what a killed publisher has begun to make visible, unless another one is at work. A reader who compares what
    /// belongs together should call this first: each image is usable in the meantime, but its documents may be of two
    /// versions. Nothing is done if this process may not write.
    ///
    /// # Errors
    /// If that cannot be read or finished.
    fn finish_abandoned(&self) -> Result<()> {
        Ok(())
    }

    /// A text that is another one whenever a publisher has been at work in between; `None` while one is. What is read between
    /// two equal ones belongs together. Where readers see one revision at a time, that is always so.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn quiet_since(&self) -> Result<Option<String>> {
        Ok(Some(String::new()))
    }

    /// Sees what others have published since. [`Self::read`], [`Self::lookup`], [`Self::list`] and
    /// [`Self::content_bytes`] tell of the newest state when the repository was opened or refreshed, or when one of its
    /// transactions began, was rebased or published something.
    ///
    /// # Errors
    /// If the newest state cannot be read or trusted.
    fn refresh(&self) -> Result<()>;

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

    /// A text that differs whenever what is published at `path` does: a small file's content, or what a symlink says.
    /// `None` if neither is there.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn fingerprint(&self, path: &RepositoryPath) -> Result<Option<String>>;

    /// Whether clients replace `$(VARIABLE)` in symlinks (CernVM-FS), so that one public path leads each of them to
    /// the image for its own platform.
    fn expands_variables(&self) -> bool;

    /// How many bytes the regular files at and below these paths hold, which removing the paths would free. A directory
    /// counts a file with several names once, and only if all of them are there; a CernVM-FS repository counts every
    /// name, and frees the space when the objects are collected. Paths at which nothing is count nothing.
    ///
    /// # Errors
    /// If something that is there cannot be read.
    fn content_bytes(&self, paths: &[RepositoryPath]) -> Result<u64>;

    /// Reads a directory of a published tree with all attributes; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    fn read_directory(
        &self,
        tree: &RepositoryPath,
        below: &LayerPath,
    ) -> Result<Option<TreeDirectory>>;

    /// Hands out the content of a regular file in a published tree, piece by piece, and says whether that was all of
    /// it. What is stored is checked as far as the repository knows what it should be: a CernVM-FS repository knows the
    /// hashes of its objects, a directory nothing.
    ///
    /// # Errors
    /// If the repository cannot be read. Damage is none.
    fn read_content(
        &self,
        tree: &RepositoryPath,
        file: &LayerPath,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<Stored>;

    /// Takes away what is damaged of a file's stored content, so that it is stored again with the file's next
    /// publication. In a directory each publication stores anew.
    ///
    /// # Errors
    /// If it cannot be taken away.
    fn discard_damaged(&self, _tree: &RepositoryPath, _file: &LayerPath) -> Result<()> {
        Ok(())
    }

    /// The attributes that a name in a tree has here if it is to have `metadata`, and nothing keeps the publisher from
    /// setting them; `None` if it cannot be here. Rule: Linux gives symlinks no modes, and `user.*` attributes to files
    /// and directories only (xattr(7)).
    fn kept(&self, _name: &[u8], node: &TreeNode, metadata: &Metadata) -> Option<Metadata> {
        let mut kept = metadata.clone();
        if matches!(node, TreeNode::Symlink(_)) {
            kept.mode = SYMLINK_MODE;
        }
        if !matches!(node, TreeNode::Directory | TreeNode::File { .. }) {
            kept.xattrs.retain(|name, _| !name.starts_with(USER_XATTR));
        }
        Some(kept)
    }
}

/// What everybody may do with a root that is [open](TreeEditor::open_root).
pub const OPEN_ROOT: u32 = 0o755;

/// The mode that all symlinks have.
const SYMLINK_MODE: u32 = 0o777;

/// How the names of attributes begin that only files and directories have.
const USER_XATTR: &[u8] = b"user.";

/// Paths without those that lie below another of them.
fn outermost(paths: &[RepositoryPath]) -> Vec<&RepositoryPath> {
    let all: BTreeSet<_> = paths.iter().collect();
    let above =
        |path: &RepositoryPath| std::iter::successors(path.parent(), RepositoryPath::parent);
    let covered = |path: &RepositoryPath| above(path).any(|above| all.contains(&above));
    all.iter().copied().filter(|path| !covered(path)).collect()
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

/// What a layer takes from the layers that it lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// The fingerprint of all of it.
    pub completion: Completion,
    /// Directories that the layer only implies and that take the place of symlinks of lower layers.
    pub replaced_symlinks: Vec<LayerPath>,
}

/// A change of a repository that nobody sees yet. Dropping it undoes everything that has not been published.
///
/// A path that is read (`parents`, `layers`) may be published already or prepared by this transaction. Several threads may
/// prepare beside each other and while another publishes, each at its own paths.
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
    /// If a link's target is in no layer.
    fn complete_layer(
        &self,
        path: &RepositoryPath,
        open_ends: &OpenEnds,
        parents: &[RepositoryPath],
    ) -> Result<Inherited>;

    /// What [`Self::complete_layer`] would give above these parents, without a layer. A published layer can
    /// be used above them if that is what it was completed with; otherwise its tar has to be unpacked again.
    ///
    /// # Errors
    /// As for [`Self::complete_layer`].
    fn completion(&self, open_ends: &OpenEnds, parents: &[RepositoryPath]) -> Result<Inherited>;

    /// Puts what is seen of `layers` (topmost first) at `path`, without copying content.
    ///
    /// # Errors
    /// If a layer cannot be read or the tree not be written.
    fn merge(&self, path: &RepositoryPath, layers: &[RepositoryPath]) -> Result<()>;

    /// Puts the tree at `source` (prepared or published) at `path`, too, without copying content, and gives
    /// a handle to add files to it (the Singularity files of a flat image). Without a source the tree is an empty root.
    ///
    /// # Errors
    /// If the tree cannot be read or written.
    fn share(
        &self,
        path: &RepositoryPath,
        source: Option<&RepositoryPath>,
    ) -> Result<Box<dyn TreeEditor>>;

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

    /// Reads a small file as it will be when everything that is prepared and removed so far is published; `None` if there
    /// will be none.
    ///
    /// # Errors
    /// As for [`Repository::read`].
    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>>;

    /// What will be at `path` when everything that is prepared and removed so far is published.
    ///
    /// # Errors
    /// As for [`Repository::lookup`].
    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>>;

    /// Whether something complete is prepared exactly at `path` and not published yet.
    fn is_prepared(&self, path: &RepositoryPath) -> bool;

    /// Drops what is prepared at `path`, and lets what is published there (a file, a link, or a whole tree) go away with
    /// the next publish that names this path. Directories above that are empty then go, too, as far as the target
    /// can remove them without getting in others' way. What is prepared at the path afterwards takes its place.
    ///
    /// # Errors
    /// If what is prepared cannot be taken away.
    fn remove(&self, path: &RepositoryPath) -> Result<()>;

    /// Lets the tree that this transaction prepares at `path` take the place of the published one, which else would
    /// count as equivalent and be kept. Readers see the old or the new one. From now on [`Self::merge`] and the like
    /// read the prepared one. To be called before it is prepared or after.
    ///
    /// # Errors
    /// None at present; a target may refuse.
    fn replace(&self, path: &RepositoryPath) -> Result<()>;

    /// Drops what is prepared at `path` and below it, and gives back the space that it takes.
    ///
    /// # Errors
    /// If it cannot be taken away.
    fn withdraw(&self, path: &RepositoryPath) -> Result<()>;

    /// Tells that something prepared needs what is published at `path` as it is now: a layer or a merged root that was
    /// not prepared because it was there. If somebody removes or replaces it, every publish from then on fails as
    /// overtaken ([`Error::is_overtaken`]), until [`Self::rebase`] or until this transaction removes it itself. A
    /// path that this transaction prepares may be named as well; then the caller sees to it that it is published
    /// with or before what needs it.
    ///
    /// # Errors
    /// One that is overtaken if nothing is there.
    fn rely_on(&self, path: &RepositoryPath) -> Result<()>;

    /// Makes every publish fail as overtaken ([`Error::is_overtaken`]) unless the repository is exactly what this
    /// transaction has read, until [`Self::rebase`]. A garbage collection needs that: what it removes must not
    /// have been referred to meanwhile.
    ///
    /// # Errors
    /// None at present; a target may refuse.
    fn require_unchanged(&self) -> Result<()>;

    /// What could not be kept because this process may not do so (owners, device nodes, …), a line each,
    /// with counts. Empty for root.
    fn shortfalls(&self) -> Vec<String>;

    /// Does beforehand what publishing these paths would take long for, as far as nothing depends on what others publish
    /// meanwhile. Nobody sees anything of it. Paths at which nothing is prepared may be named.
    ///
    /// # Errors
    /// If something cannot be stored.
    fn store(&self, _paths: &[RepositoryPath]) -> Result<()> {
        Ok(())
    }

    /// Makes visible what is prepared at exactly these paths, and removes what was to be removed from them; all else
    /// stays prepared. Content appears first, names last, in the order in which paths were first named; names
    /// are removed before, trees afterwards. In a CernVM-FS repository all of it is one revision, and none if nothing
    /// differs. In a directory, what is prepared below a directory that the repository does not have yet (a new layer, a
    /// new chain) appears together with that directory, at once, if all of it is named. A path at which something is
    /// published already, and nothing prepared, may be named.
    ///
    /// # Errors
    /// [`Error::NoTree`] if nothing is prepared, removed or published at one of the paths; one that is overtaken
    /// ([`Error::is_overtaken`]) if another publisher came in between: nothing was published then. If something cannot
    /// be moved into place, the transaction is of no more use, and the next [`Repository::begin`] finishes it.
    fn publish(&self, paths: &[RepositoryPath]) -> Result<()>;

    /// Reads the newest state after a publish that was overtaken. Small files, links, removals and reliances are
    /// forgotten: the caller writes them again for the new state. Prepared trees are kept, and what was stored for them,
    /// except those that somebody else has published meanwhile, and those that were made from published trees that
    /// have changed or gone; [`Self::lookup`] tells which are there.
    ///
    /// # Errors
    /// If the repository cannot be read, or [objects were collected](Error::is_collected).
    fn rebase(&self) -> Result<()>;

    /// Does what [`Self::rebase`] does if somebody else has published since this transaction has read the repository, and
    /// tells whether.
    ///
    /// # Errors
    /// As for [`Self::rebase`].
    fn catch_up(&self) -> Result<bool> {
        Ok(false)
    }

    /// Publishes all that is prepared and removed, and ends.
    ///
    /// # Errors
    /// As for [`Self::publish`].
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

    /// Lets everybody read and enter the root directory, and its owner write.
    ///
    /// # Errors
    /// If the mode cannot be set.
    fn open_root(&mut self) -> Result<()>;
}
