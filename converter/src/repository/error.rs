//! What can go wrong while a repository is read or written. Every variant names the path and says what to do
//! where that is not obvious.

use std::io;
use std::path::{Path, PathBuf};

use layer_layout::RepositoryPath;
use rustix::io::Errno;

use crate::layer::LayerPath;

/// The result of this room's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a repository could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no repository. The command line has an exit status for this (104, as in DUCC).
    #[error("there is no repository at {}: create the directory first", .0.display())]
    NoSuchRepository(PathBuf),
    /// The repository's path leads to something that is not a directory.
    #[error("{} is not a directory, so it cannot be a repository", .0.display())]
    NotADirectory(PathBuf),
    /// Something was asked of a directory that only a CernVM-FS repository can do.
    #[error("{} is a plain directory, not a CernVM-FS repository: name one as cvmfs+file://DIR or cvmfs+s3://…", .0.display())]
    NotCvmfs(PathBuf),
    /// Another publisher is active, and the caller does not want to wait.
    #[error("{0}")]
    Busy(String),
    /// DUCC's lock cannot be had, so nobody knows whether DUCC is at work.
    #[error(
        "{} cannot be used to keep DUCC away: {reason}; mend that, or call this program with --ducc-lock=false if no DUCC \
         runs here any more",
        path.display()
    )]
    DuccLock {
        /// The lock.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The system refused an operation.
    #[error("cannot {action} {}{}", path.display(), advice(cause))]
    System {
        /// What was tried, as a continuation of "cannot …".
        action: &'static str,
        /// The file on which it was tried.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// The file system does not take what overlayfs needs to hide names of lower layers: whiteouts, opaque marks. Without
    /// them, removed files would come back.
    #[error(
        "cannot store what the layer removes at {}: this file system takes no whiteouts and marks of overlayfs (it may be an \
         overlay itself, or have no device nodes or extended attributes). Put the repository on a local file system such \
         as ext4 or XFS, or publish into a CernVM-FS repository (cvmfs+file://DIR), which needs neither",
        path.display()
    )]
    Unmarkable {
        /// What is removed.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// A component of a repository path is a symlink. Writing through it could leave the repository.
    #[error(
        "{repository}: a directory on the way to {path} is a symlink or not a directory; replace it with a directory",
        repository = repository.display()
    )]
    Indirect {
        /// The repository's directory.
        repository: PathBuf,
        /// The path that should have been reached.
        path: RepositoryPath,
    },
    /// What only a publisher of this user should have made is not its own, or others can write there.
    #[error(
        "{} belongs to user {uid} or can be written by others, so what is in it cannot be relied on: if it is that of another \
         publisher, publish as its user; otherwise remove it and run again", path.display()
    )]
    NotOurs {
        /// The publisher's directory, or a file in it.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Anybody on this machine may write in the repository's directory.
    #[error(
        "every user of this machine may write in {}, and so change what is published: `chmod o-w {}` ends that, and \
         --trust-local-users publishes nevertheless", .0.display(), .0.display()
    )]
    OpenToAll(PathBuf),
    /// A file of an image that gives rights to whoever can reach it, in a directory that other users can enter.
    #[error(
        "{path} is {privilege}, and all users of this machine could use it outside of containers, because they can enter \
         {repository}: put the repository into a directory that only its owner can enter (mode 0700), or mount it over \
         itself (`mount --bind -o nosuid,nodev {repository} {repository}`); --trust-local-users publishes nevertheless",
        repository = repository.display()
    )]
    Exposed {
        /// The file.
        path: LayerPath,
        /// What it gives.
        privilege: Privilege,
        /// The repository's directory.
        repository: PathBuf,
    },
    /// Something is in the way of a name.
    #[error("cannot publish {path}: {by} stands there; remove it")]
    Occupied {
        /// The name.
        path: RepositoryPath,
        /// What is there.
        by: Occupant,
    },
    /// A part of the repository is on another file system, so that nothing can be moved or linked there.
    #[error(
        "{path} is on a different file system from the rest of the repository, so nothing can be moved there \
         atomically"
    )]
    OtherFileSystem {
        /// The part.
        path: RepositoryPath,
    },
    /// The journal of a killed publisher is damaged.
    #[error(
        "{} is damaged: {reason}. Check what it lists, then remove it and run again", path.display()
    )]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        reason: JournalError,
    },
    /// A tree that is to be read, or something that is to be published, is neither published nor prepared.
    #[error("{0} is neither published nor being published")]
    NoTree(RepositoryPath),
    /// Something that is being published relies on what is not there any more, or was made from what is not the same any
    /// more.
    #[error("{0} was changed or removed while something that needs it was being prepared")]
    Stale(RepositoryPath),
    /// A publish of the same transaction has stopped half-way.
    #[error("an earlier publish into {} has stopped half-way; beginning again finishes it", .0.display())]
    Unfinished(PathBuf),
    /// An entry of a layer contradicts the layer's earlier entries or the layers below.
    #[error("{path}: {reason}")]
    Entry {
        /// The entry.
        path: LayerPath,
        /// What is wrong with it.
        reason: EntryError,
    },
    /// A CernVM-FS repository could not be read or written.
    #[error(transparent)]
    Cvmfs(#[from] cvmfs_repository::Error),
    /// A database in which a tree is prepared, and which goes with the transaction, cannot be used.
    #[error("cannot use the temporary database {}{}", path.display(), scratch_advice(cause))]
    ScratchDatabase {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: ScratchError,
    },
    /// The content of a file ended early or could not be read from its source.
    #[error("cannot read the content of {path} from its layer")]
    Content {
        /// The file.
        path: LayerPath,
        /// The source's error.
        #[source]
        cause: io::Error,
    },
}

/// What a file gives to whoever can reach it, beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Privilege {
    /// Its owner's or group's rights, by set-id bits.
    #[error("a set-id program")]
    SetId,
    /// Capabilities, by the attribute `security.capability`.
    #[error("a program with file capabilities")]
    Capabilities,
    /// A character or block device.
    #[error("a device node")]
    Device,
}

/// What is in the way of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Occupant {
    /// A directory, where a file or symlink must go.
    #[error("a directory")]
    Directory,
    /// Where a directory must go.
    #[error("something other than a directory")]
    NotADirectory,
    /// Where a file must be.
    #[error("something other than a file")]
    NotAFile,
}

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It is not the JSON of a list of moves.
    #[error("{0}")]
    Json(serde_json::Error),
    /// A move leads out of the repository.
    #[error("{0:?} is not a path in a repository")]
    Path(String),
}

/// Why an entry cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// A component of the path is a symlink of the same layer, which has to be followed.
    #[error("would go through {0}, which is a symlink in the same layer")]
    ThroughSymlink(LayerPath),
    /// An earlier entry made a component of the path something that is neither a directory nor a symlink.
    #[error("would go through {0}, which is no directory in the same layer: rebuild the image")]
    ThroughFile(LayerPath),
    /// Only a directory can be the layer's root.
    #[error("only a directory can be the root of a layer: rebuild the image")]
    Root,
    /// A hard link to its own name.
    #[error("is a hard link to itself: rebuild the image")]
    LinkToItself,
    /// A hard link to a directory, which no Linux file system allows.
    #[error("is a hard link to {0}, which is a directory: rebuild the image")]
    LinkToDirectory(LayerPath),
    /// A hard link whose target is neither in the layer nor visible in the layers below it.
    #[error(
        "is a hard link to {0}, and no file is seen there, neither in this layer nor in those below it: rebuild the image"
    )]
    LinkToNothing(LayerPath),
    /// The device that means a removed name to overlayfs.
    #[error("is the character device 0:0, which stands for a removed file in overlayfs")]
    WhiteoutDevice,
    /// Following symlinks of the layer does not end, or ends too deep.
    #[error("leads through too many symlinks of this layer, or too deep: rebuild the image")]
    SymlinkLoop,
    /// An extended attribute that the file system does not store: its name, with the system's error.
    #[error(
        "the file system does not store the extended attribute {0}: free space, or put the repository on one that does"
    )]
    Xattr(String),
}

/// What is wrong with a temporary database.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// SQLite refused an operation.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The content or target of this inode is missing.
    #[error("it does not say what inode {0} holds")]
    Incomplete(i64),
    /// What stands for a file's content was not written by this program.
    #[error("what it says about the content of a file makes no sense")]
    Content,
}

impl Error {
    /// Whether there is no repository. The command line has an exit status for this (104, as in DUCC).
    pub fn is_no_such_repository(&self) -> bool {
        matches!(
            self,
            Self::NoSuchRepository(_) | Self::Cvmfs(cvmfs_repository::Error::NoSuchRepository(_))
        )
    }
}

impl Error {
    /// What the engine of CernVM-FS repositories said, if the error is one of its own.
    pub fn of_engine(&self) -> Option<&cvmfs_repository::Error> {
        match self {
            Self::Cvmfs(error) => Some(error),
            _ => None,
        }
    }

    /// Whether another publisher was faster, so that the same can be expected to succeed if it is done again,
    /// beginning with reading the repository: after [`Transaction::rebase`](super::Transaction::rebase), or, if
    /// [objects were collected](Self::is_collected), in a new transaction.
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Stale(_))
            || self.of_engine().is_some_and(cvmfs_repository::Error::is_overtaken)
    }

    /// Whether something else stands where something is to be published. That keeps only what needs this path from being
    /// published.
    pub fn is_in_the_way(&self) -> bool {
        let by_engine = matches!(self, Self::Cvmfs(cvmfs_repository::Error::Occupied { .. }));
        by_engine
            || matches!(
                self,
                Self::Occupied { .. } | Self::Indirect { .. } | Self::OtherFileSystem { .. }
            )
    }

    /// Whether this process may not write there.
    pub(super) fn is_denied(&self) -> bool {
        let Self::System { cause, .. } = self else { return false };
        let errno = cause.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::ACCESS | Errno::PERM | Errno::ROFS))
    }

    /// Whether a garbage collection may have removed content that a transaction has stored. Nothing that it has prepared
    /// can be published then.
    pub fn is_collected(&self) -> bool {
        matches!(self, Self::Cvmfs(cvmfs_repository::Error::Collected))
    }

    pub(crate) fn system(
        action: &'static str,
        path: impl AsRef<Path>,
        cause: impl Into<io::Error>,
    ) -> Self {
        Self::System { action, path: path.as_ref().to_owned(), cause: cause.into() }
    }

    pub(super) fn occupied(path: &RepositoryPath, by: Occupant) -> Self {
        Self::Occupied { path: path.clone(), by }
    }

    pub(crate) fn entry(path: &LayerPath, reason: EntryError) -> Self {
        Self::Entry { path: path.clone(), reason }
    }
}

/// What a person can do about an error of the system.
fn advice(cause: &io::Error) -> &'static str {
    match cause.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => " (the file system is full: free space or inodes, then run again)",
        Some(Errno::DQUOT) => " (the quota is used up: free space, then run again)",
        Some(Errno::ROFS) => {
            " (the file system is read-only: publish where it is mounted read-write)"
        }
        Some(Errno::ACCESS | Errno::PERM) if rustix::process::geteuid().is_root() => {
            " (not even root may do that here: the file system, a user namespace or a security module forbids it; \
             publish elsewhere, or into a CernVM-FS repository, cvmfs+file://DIR)"
        }
        Some(Errno::ACCESS | Errno::PERM) => " (run as the user who owns the repository)",
        Some(Errno::NOSYS) => " (Linux 5.6 or later is needed)",
        Some(Errno::MFILE) => " (raise the limit of open files, `ulimit -n`)",
        _ => "",
    }
}

/// What a person can do about a temporary database that cannot be used.
fn scratch_advice(cause: &ScratchError) -> &'static str {
    match cause {
        ScratchError::Sqlite(cause)
            if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
        {
            " (the file system is full: free space there or name another directory with --temporary-dir, then run again)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_system_of_a_temporary_database_comes_with_advice() {
        let failure = |code| {
            let cause = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            Error::ScratchDatabase { path: "/tmp/x/tree-0".into(), cause: cause.into() }.to_string()
        };
        let full = failure(rusqlite::ffi::SQLITE_FULL);
        assert!(full.starts_with("cannot use the temporary database /tmp/x/tree-0 ("), "{full}");
        assert!(full.contains("--temporary-dir"), "{full}");
        let other = failure(rusqlite::ffi::SQLITE_CORRUPT);
        assert_eq!(other, "cannot use the temporary database /tmp/x/tree-0");
    }
}
