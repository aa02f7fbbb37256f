//! A plain directory as a repository: on a laptop, on NFS or Lustre, or below a CVMFS transaction.
//!
//! Everything is prepared in a staging area inside the repository, on its file system, under the path that it
//! will have. So publishing is renaming, and what stands in two places is one file with two names.
//!
//! | file | what it is for |
//! |---|---|
//! | `lock` | one publisher at a time |
//! | `area` | the staging area, and how prepared and published trees are reached |
//! | `transaction` | what a publisher can do |
//! | `plan` | what has to be moved to publish something |
//! | `journal`, `moves` | the moves of a publish, which the successor of a killed publisher finishes |
//! | `names`, `bytes` | reading, looking up, listing and measuring what is there |
//! | `layer`, `notes` | unpacking an untrusted layer ([`layer_rules`](super::layer_rules)) |
//! | `lower`, `complete` | what a layer takes from the layers below it ([`parents`](super::parents)) |
//! | `merge`, `listing`, `copy` | making one tree of several |
//! | `editor`, `unchanged` | adding files to a tree |
//! | `tree`, `content` | reading published trees with all attributes, and their files |
//! | `attributes`, `shortfall` | modes, owners, times and extended attributes, and which of them are missing |
//! | `guard` | what other users of the machine can do, and what is the publisher's alone |
//! | `beneath`, `remove` | opening and removing without ever leaving a directory |

mod area;
mod attributes;
mod beneath;
mod bytes;
mod complete;
mod content;
mod copy;
mod editor;
mod guard;
mod journal;
mod layer;
mod listing;
mod lock;
mod lower;
mod merge;
mod moves;
mod names;
mod notes;
mod plan;
mod remove;
mod shortfall;
#[cfg(test)]
pub(super) mod tests;
mod transaction;
mod tree;
mod unchanged;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Once;

use layer_layout::{Digest, LayerPath, RepositoryPath, path};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use self::area::Area;
use self::beneath::Beneath;
use self::guard::{Exposure, Neighbours};
use self::journal::Move;
use self::lock::Lock;
use self::moves::Places;
use self::transaction::Change;
use crate::repository::ducc_lock::DuccLock;
use crate::repository::{
    Error, Published, Repository, Result, Stored, Transaction, TreeDirectory, outermost,
};

/// A repository in a plain directory.
#[derive(Debug)]
pub struct Directory {
    name: String,
    path: PathBuf,
    /// Held by each transaction, if DUCC runs on this machine, too.
    ducc: Option<DuccLock>,
    trusts_local_users: bool,
    /// Done when doubts about other users have been told.
    told: Once,
}

impl Directory {
    /// Opens the repository at `path`. Without a `name` it has the name of the directory.
    ///
    /// # Errors
    /// [`Error::NoSuchRepository`] if nothing is there, [`Error::NotADirectory`] if something else is.
    pub fn open(path: &Path, name: Option<&str>) -> Result<Self> {
        let path = match path.canonicalize() {
            Ok(path) if path.is_dir() => path,
            Ok(_) => return Err(Error::NotADirectory(path.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoSuchRepository(path.to_owned()));
            }
            Err(error) => return Err(Error::system("open the repository", path, error)),
        };
        let name = match name {
            Some(name) => name.to_owned(),
            None => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        };
        Ok(Self { name, path, ducc: None, trusts_local_users: false, told: Once::new() })
    }

    /// The same beside DUCC: nothing is published while DUCC does.
    ///
    /// # Errors
    /// If the directory's owner, as whom DUCC runs, cannot be found out.
    pub fn beside_ducc(self) -> Result<Self> {
        let root = self.root()?;
        let owner = rustix::fs::fstat(&root).map_err(root.failed("look at", b""))?.st_uid;
        Ok(Self { ducc: Some(DuccLock::of_this_machine(Some(owner))), ..self })
    }

    /// The same where other users of the machine may have what images give to whoever can enter the directory: set-id
    /// programs, file capabilities and devices. They may also write into it.
    #[must_use]
    pub fn trusting_local_users(self, trusts: bool) -> Self {
        Self { trusts_local_users: trusts, ..self }
    }

    /// What other users of the machine could do with what is published.
    fn neighbours(&self, repository: &Beneath) -> Result<Exposure> {
        if self.trusts_local_users {
            return Ok(Exposure::default());
        }
        let Neighbours { exposure, doubts, everybody_writes } = Neighbours::of(repository)?;
        if everybody_writes {
            return Err(Error::OpenToAll(self.path.clone()));
        }
        self.told.call_once(|| doubts.iter().for_each(|doubt| tracing::warn!("{doubt}")));
        Ok(exposure)
    }

    /// A handle on the repository's root.
    fn root(&self) -> Result<Beneath> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The path had no symlink in it when the repository was opened.
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = rustix::fs::openat2(CWD, &self.path, flags, Mode::empty(), resolve)
            .map_err(|cause| Error::system("open the repository", &self.path, cause))?;
        Ok(Beneath::new(fd, &self.path))
    }
}

impl Repository for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn begin(&self, wait: &mut dyn FnMut(&str) -> bool) -> Result<Box<dyn Transaction>> {
        let beside = self.ducc.as_ref().map(|ducc| ducc.acquire(wait)).transpose()?;
        let repository = self.root()?;
        let exposure = self.neighbours(&repository)?;
        let again = repository.again().map_err(repository.failed("open", b""))?;
        let lock = Lock::acquire(again, wait)?;
        if let Some(moves) = journal::read(&repository, lock.directory())? {
            finish(&repository, lock.directory(), &moves)?;
        }
        journal::remove(lock.directory())
            .map_err(repository.failed("remove", path::publisher_journal().as_str().as_bytes()))?;
        let area = Area::new(repository, lock)?.exposed(exposure);
        Ok(Box::new(Change::new(area, beside)))
    }

    fn finish_abandoned(&self) -> Result<()> {
        if self.lookup(&path::publisher_journal())?.is_none() {
            return Ok(());
        }
        match self.begin(&mut |_| false) {
            Err(error) if !matches!(error, Error::Busy(_)) && !error.is_denied() => Err(error),
            _ => Ok(()),
        }
    }

    /// A publisher makes its own directory in the root when it begins, and removes it at the end.
    fn quiet_since(&self) -> Result<Option<String>> {
        if self.lookup(&path::publisher())?.is_some() {
            return Ok(None);
        }
        let root = self.root()?;
        let stat = rustix::fs::fstat(&root).map_err(root.failed("look at", b""))?;
        Ok(Some(format!("{:?}", attributes::mtime_of(&stat))))
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        names::read(&self.root()?, path)
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        names::lookup(&self.root()?, path)
    }

    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>> {
        names::list(&self.root()?, directory)
    }

    /// A directory is always seen as it is.
    fn refresh(&self) -> Result<()> {
        Ok(())
    }

    fn fingerprint(&self, path: &RepositoryPath) -> Result<Option<String>> {
        let root = self.root()?;
        Ok(match names::lookup(&root, path)? {
            Some(Published::Symlink(target)) => Some(format!("-> {target}")),
            Some(Published::Other) => {
                names::read(&root, path)?.map(|content| Digest::of(&content).to_string())
            }
            Some(Published::Directory) | None => None,
        })
    }

    fn expands_variables(&self) -> bool {
        false
    }

    fn content_bytes(&self, paths: &[RepositoryPath]) -> Result<u64> {
        bytes::of(&self.root()?, &outermost(paths))
    }

    fn read_directory(
        &self,
        tree: &RepositoryPath,
        below: &LayerPath,
    ) -> Result<Option<TreeDirectory>> {
        let root = self.root()?;
        let mut path = tree.as_str().as_bytes().to_vec();
        if !below.is_root() {
            path = beneath::join(&path, below.as_bytes());
        }
        tree::read(&root, &path).map_err(root.failed("read", &path))
    }

    fn read_content(
        &self,
        tree: &RepositoryPath,
        file: &LayerPath,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<Stored> {
        let path = beneath::join(tree.as_str().as_bytes(), file.as_bytes());
        content::read(&self.root()?, &path, each)
    }
}

/// Does the moves that a killed publisher has not done.
fn finish(repository: &Beneath, publisher: &OwnedFd, moves: &[Move]) -> Result<()> {
    match guard::staging(repository, publisher) {
        Ok(staging) => Places { repository, staging: &staging, publisher }.work_off(moves),
        // An earlier version was killed between the removal of the staging area and that of the journal.
        Err(Errno::NOENT) => Ok(()),
        Err(error) => {
            let path = path::publisher_staging();
            Err(repository.failed("open", path.as_str().as_bytes())(error))
        }
    }
}
