//! A private directory for databases and for what does not fit into memory.
//!
//! Its process keeps it locked. So what a killed one has left can be told from what is in use, and the next one removes it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Once};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::retry_on_intr;
use tempfile::{NamedTempFile, TempDir};

use crate::{Error, Result};

/// How the names of these directories begin.
const PREFIX: &str = "ducc-scratch-";

/// A directory of this process, mode 0700. It is removed when the last clone and everything that was made in it are gone.
#[derive(Debug, Clone)]
pub struct Scratch(Arc<Locked>);

/// A directory, and the lock on it, which goes last.
#[derive(Debug)]
struct Locked {
    directory: TempDir,
    _lock: File,
}

/// A database in a scratch directory; it is removed when dropped.
#[derive(Debug)]
pub(crate) struct ScratchFile {
    file: NamedTempFile,
    /// Keeps the directory at least as long.
    _directory: Scratch,
}

impl Scratch {
    /// Makes a directory in the place for temporary files: the one that the program was told, or `TMPDIR`, or `/tmp`. The
    /// first one of a process also removes there what killed ones have left.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> Result<Self> {
        static SWEPT: Once = Once::new();
        let place = tempfile::env::temp_dir();
        SWEPT.call_once(|| sweep(&place));
        Self::below(&place)
    }

    /// Makes a directory in another place.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn below(directory: &Path) -> Result<Self> {
        // SQLite is given paths as URLs, which have no relative form.
        let made = std::path::absolute(directory).and_then(|directory| make(&directory));
        let locked = made.map_err(|cause| Error::System {
            action: "make a temporary directory in",
            path: directory.to_owned(),
            cause,
        })?;
        Ok(Self(Arc::new(locked)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.directory.path()
    }

    /// An empty file without a name.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn file(&self) -> Result<File> {
        tempfile::tempfile_in(self.path()).map_err(|cause| self.refused(cause))
    }

    /// An empty file with a name of its own, for libraries that want one.
    pub(crate) fn named(&self) -> Result<ScratchFile> {
        let file = NamedTempFile::new_in(self.path()).map_err(|cause| self.refused(cause))?;
        Ok(ScratchFile { file, _directory: self.clone() })
    }

    /// The error of an operation on a file in it.
    pub(crate) fn refused(&self, cause: io::Error) -> Error {
        Error::System { action: "keep a temporary file in", path: self.path().to_owned(), cause }
    }
}

impl ScratchFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its content.
    pub(crate) fn as_file(&self) -> &File {
        self.file.as_file()
    }
}

fn make(place: &Path) -> io::Result<Locked> {
    loop {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
        match lock(directory.path(), FlockOperation::LockExclusive) {
            Ok(lock) => return Ok(Locked { directory, _lock: lock }),
            // Another process took it for abandoned before it was locked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Locks a directory that belongs to this user.
fn lock(path: &Path, how: FlockOperation) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let flags = flags.bits().try_into().map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    retry_on_intr(|| rustix::fs::flock(&file, how))?;
    let (locked, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    if (locked.dev(), locked.ino()) != (named.dev(), named.ino()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    if locked.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(file)
}

/// Removes the directories of processes that are gone. What cannot be removed stays, and only takes space.
fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Ok(_lock) = lock(&entry.path(), FlockOperation::NonBlockingLockExclusive)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn only_what_nobody_uses_is_swept_away() {
        let place = tempfile::tempdir().unwrap();
        let used = Scratch::below(place.path()).unwrap();
        let kept = used.named().unwrap();
        let abandoned = place.path().join(format!("{PREFIX}killed"));
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("database"), "half").unwrap();
        let of_others = place.path().join("other");
        fs::create_dir(&of_others).unwrap();
        let link = place.path().join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(&of_others, &link).unwrap();
        sweep(place.path());
        assert!(!abandoned.exists());
        assert!(kept.path().exists() && of_others.exists() && link.symlink_metadata().is_ok());
    }

    #[test]
    fn it_goes_when_the_last_user_goes() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::below(place.path()).unwrap();
        let path = scratch.path().to_owned();
        scratch.file().unwrap().write_all(b"content").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);

        let named = scratch.named().unwrap();
        drop(scratch);
        assert!(named.path().starts_with(&path));
        named.as_file().write_all(b"content").unwrap();
        drop(named);
        assert!(!path.exists());
    }
}
