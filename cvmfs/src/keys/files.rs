//! Key files in a directory.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::fqrn::Fqrn;
use crate::{Error, Result};

/// Where the stock server keeps its keys.
pub const DEFAULT_DIRECTORY: &str = "/etc/cvmfs/keys";

/// A key, or why it is not at hand.
pub(super) type Slot<T> = std::result::Result<T, Absent>;

/// A key file that is missing or cannot be read.
#[derive(Debug)]
pub(super) struct Absent {
    path: PathBuf,
    reason: &'static str,
}

impl Absent {
    /// The error for somebody who needs it.
    pub(super) fn error(&self, need: &'static str) -> Error {
        Error::NoKey { path: self.path.clone(), reason: self.reason, need }
    }
}

/// The files of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFile {
    Public,
    Certificate,
    Signing,
    Master,
}

impl KeyFile {
    pub(super) const ALL: [Self; 4] =
        [Self::Public, Self::Certificate, Self::Signing, Self::Master];

    fn extension(self) -> &'static str {
        match self {
            Self::Public => "pub",
            Self::Certificate => "crt",
            Self::Signing => "key",
            Self::Master => "masterkey",
        }
    }

    pub(super) fn name(self, fqrn: &Fqrn) -> String {
        format!("{fqrn}.{}", self.extension())
    }

    /// The repository that a file with this name is a key of.
    pub(super) fn owner(name: &str) -> Option<Fqrn> {
        let (fqrn, extension) = name.rsplit_once('.')?;
        Self::ALL.iter().find(|file| file.extension() == extension)?;
        fqrn.parse().ok()
    }

    pub(super) fn path(self, directory: &Path, fqrn: &Fqrn) -> PathBuf {
        directory.join(self.name(fqrn))
    }

    fn mode(self) -> u32 {
        match self {
            Self::Public | Self::Certificate => 0o444,
            Self::Signing | Self::Master => 0o400,
        }
    }

    /// Reads the file; `parse` gives the reason if it is not what it should be.
    pub(super) fn read<T>(
        self,
        directory: &Path,
        fqrn: &Fqrn,
        parse: impl FnOnce(&[u8]) -> std::result::Result<T, String>,
    ) -> Result<Slot<T>> {
        let path = self.path(directory, fqrn);
        match fs::read(&path) {
            Ok(content) => parse(&content).map(Ok).map_err(|reason| Error::Key { path, reason }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Err(Absent { path, reason: "it is not there" }))
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Ok(Err(Absent { path, reason: "this user may not read it" }))
            }
            Err(cause) => Err(Error::System { action: "read", path, cause }),
        }
    }
}

/// Writes files, each completely or not at all; none of them if there is another file of the same name.
pub(super) fn write(directory: &Path, fqrn: &Fqrn, contents: &[(KeyFile, Vec<u8>)]) -> Result<()> {
    let system = |action, path: &Path| {
        let path = path.to_owned();
        move |cause| Error::System { action, path, cause }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(system("make the directory", directory))?;
    let mut missing = Vec::new();
    for (file, content) in contents {
        let path = file.path(directory, fqrn);
        match fs::read(&path) {
            Ok(present) if present == *content => {}
            Ok(_) => return Err(Error::KeyExists(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                missing.push((file, path, content));
            }
            Err(cause) => return Err(Error::System { action: "read", path, cause }),
        }
    }
    for (file, path, content) in missing {
        let mut temporary =
            tempfile::NamedTempFile::new_in(directory).map_err(system("write into", directory))?;
        temporary
            .write_all(content)
            .and_then(|()| temporary.as_file().set_permissions(Permissions::from_mode(file.mode())))
            .and_then(|()| temporary.as_file().sync_all())
            .map_err(system("write", &path))?;
        temporary.persist_noclobber(&path).map_err(|error| match error.error.kind() {
            ErrorKind::AlreadyExists => Error::KeyExists(path),
            _ => Error::System { action: "write", path, cause: error.error },
        })?;
    }
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(system("write into", directory))
}
