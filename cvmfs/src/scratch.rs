//! A private directory for databases and for what does not fit into memory.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tempfile::{NamedTempFile, TempDir};

use crate::{Error, Result};

/// A directory of this process in the system's place for temporary files (`TMPDIR`, else `/tmp`), mode 0700. It
/// is removed when the last clone and everything that was made in it are gone.
#[derive(Debug, Clone)]
pub struct Scratch(Arc<TempDir>);

/// A database in a scratch directory; it is removed when dropped.
#[derive(Debug)]
pub(crate) struct ScratchFile {
    file: NamedTempFile,
    /// Keeps the directory at least as long.
    _directory: Scratch,
}

impl Scratch {
    /// Makes a directory.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    /// Makes a directory in another place than the system's.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn below(directory: &Path) -> Result<Self> {
        // SQLite is given paths as URLs, which have no relative form.
        let made = std::path::absolute(directory)
            .and_then(|directory| tempfile::Builder::new().prefix("cvmfs-").tempdir_in(directory))
            .map_err(|cause| Error::System {
                action: "make a temporary directory in",
                path: directory.to_owned(),
                cause,
            })?;
        Ok(Self(Arc::new(made)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
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
    pub(crate) fn refused(&self, cause: std::io::Error) -> Error {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn it_goes_when_the_last_user_goes() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::below(place.path()).unwrap();
        let path = scratch.path().to_owned();
        scratch.file().unwrap().write_all(b"content").unwrap();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);

        let named = scratch.named().unwrap();
        drop(scratch);
        assert!(named.path().starts_with(&path));
        named.as_file().write_all(b"content").unwrap();
        drop(named);
        assert!(!path.exists());
    }
}
