//! Where a repository is.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use cvmfs_repository::compression::Compression;
use cvmfs_repository::fqrn::Fqrn;
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::storage::Storage;
use cvmfs_repository::{Creation, Repository as Engine};
use ducc::repository::{Cvmfs, Directory, Repository, Stratum0};
use tempfile::TempDir;

/// What kind of repository it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Native,
}

/// A directory with a repository, and, if it is a native one, its keys.
pub(crate) struct Place {
    kind: Kind,
    directory: TempDir,
}

fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let below = if memory.is_dir() { memory } else { Path::new("/tmp") };
    tempfile::tempdir_in(below).unwrap()
}

fn fqrn() -> Fqrn {
    "rounds.example.org".parse().unwrap()
}

fn objects(storage: &Storage) -> cvmfs_repository::objects::Objects {
    Stratum0::new_objects(storage, Algorithm::Sha1, Compression::Zlib)
}

impl Place {
    /// An empty repository.
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Directory => {
                let directory = in_memory();
                std::fs::create_dir(directory.path().join("repository")).unwrap();
                Self { kind, directory }
            }
            // Making keys takes longest.
            Kind::Native => {
                static EMPTY: OnceLock<Place> = OnceLock::new();
                EMPTY.get_or_init(Self::create_native).copy()
            }
        }
    }

    fn create_native() -> Self {
        let place = Self { kind: Kind::Native, directory: in_memory() };
        let (repository, keys) = (place.repository(), place.directory.path().join("keys"));
        std::fs::create_dir(&repository).unwrap();
        std::fs::create_dir(&keys).unwrap();
        Keys::generate(&fqrn()).unwrap().save(&keys, &fqrn()).unwrap();
        let storage = Storage::local(&repository);
        let loaded = Keys::load(&keys, &fqrn()).unwrap();
        let objects = objects(&storage);
        Engine::create(storage, fqrn(), loaded, &objects, &Creation::default()).unwrap();
        place
    }

    /// Where the repository itself is.
    pub(crate) fn repository(&self) -> std::path::PathBuf {
        self.directory.path().join("repository")
    }

    pub(crate) fn open(&self) -> Arc<dyn Repository> {
        match self.kind {
            Kind::Directory => Arc::new(Directory::open(&self.repository(), None).unwrap()),
            Kind::Native => {
                let storage = Storage::local(&self.repository());
                let keys = Keys::load(&self.directory.path().join("keys"), &fqrn()).unwrap();
                let stratum0 = Stratum0 {
                    objects: objects(&storage),
                    repository: Engine::open(storage, fqrn(), keys),
                    server: None,
                    catalog_entries: None,
                };
                Arc::new(Cvmfs::open(stratum0, None).unwrap())
            }
        }
    }

    /// A copy of everything as it is now.
    pub(crate) fn copy(&self) -> Self {
        loop {
            let copy = Self { kind: self.kind, directory: in_memory() };
            let mut command = Command::new("cp");
            command.arg("-a").arg(self.directory.path().join(".")).arg(copy.directory.path());
            // Unfinished objects come and go while it is made.
            if command.output().unwrap().status.success() {
                return copy;
            }
        }
    }
}
