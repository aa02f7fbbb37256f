//! Where a repository is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use cvmfs_repository::compression::Compression;
use cvmfs_repository::fqrn::Fqrn;
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::storage::{Credentials, S3Url, Storage, StorageUrl};
use cvmfs_repository::{Creation, Repository as Engine};
use ducc::repository::{Cvmfs, Directory, Repository, Stratum0};
use faulty_s3::{ACCESS_KEY, FaultyS3, SECRET_KEY};
use tempfile::TempDir;

/// What kind of repository it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Native,
    /// A native one in a bucket.
    Bucket,
}

/// A directory with a repository, and, if it is a native one, its keys.
pub(crate) struct Place {
    kind: Kind,
    directory: TempDir,
    /// Where the repository is instead, if it is in a bucket. The server keeps objects as files of their names.
    server: Option<FaultyS3>,
}

/// What the repository is called, in the directory or in the bucket.
const REPOSITORY: &str = "repository";

fn memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
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
        // Making keys takes longest.
        static NATIVE: OnceLock<Place> = OnceLock::new();
        static BUCKET: OnceLock<Place> = OnceLock::new();
        let create = || {
            let place = Self::of(kind);
            place.create();
            place
        };
        match kind {
            Kind::Directory => create(),
            Kind::Native => NATIVE.get_or_init(create).copy(),
            Kind::Bucket => BUCKET.get_or_init(create).copy(),
        }
    }

    /// With nothing in it.
    fn of(kind: Kind) -> Self {
        let server = (kind == Kind::Bucket).then(|| FaultyS3::start_in(memory()).unwrap());
        Self { kind, directory: tempfile::tempdir_in(memory()).unwrap(), server }
    }

    fn create(&self) {
        std::fs::create_dir_all(self.repository()).unwrap();
        if self.kind == Kind::Directory {
            return;
        }
        let keys = self.directory.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        Keys::generate(&fqrn()).unwrap().save(&keys, &fqrn()).unwrap();
        let (storage, loaded) = (self.storage(), Keys::load(&keys, &fqrn()).unwrap());
        let objects = objects(&storage);
        Engine::create(storage, fqrn(), loaded, &objects, &Creation::default()).unwrap();
    }

    /// Where the files of the repository itself are.
    pub(crate) fn repository(&self) -> PathBuf {
        match &self.server {
            None => self.directory.path().join(REPOSITORY),
            Some(server) => server.directory(REPOSITORY),
        }
    }

    fn storage(&self) -> Storage {
        let Some(server) = &self.server else { return Storage::local(&self.repository()) };
        let StorageUrl::S3(url) = server.url(REPOSITORY, "").parse().unwrap() else {
            panic!("no bucket")
        };
        let credentials =
            Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: SECRET_KEY.to_owned() };
        let url = S3Url { credentials: Some(credentials), ..*url };
        Storage::open(&StorageUrl::S3(Box::new(url))).unwrap()
    }

    pub(crate) fn open(&self) -> Arc<dyn Repository> {
        match self.kind {
            Kind::Directory => Arc::new(Directory::open(&self.repository(), None).unwrap()),
            Kind::Native | Kind::Bucket => {
                let storage = self.storage();
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
            let copy = Self::of(self.kind);
            let mut copies =
                vec![(self.directory.path().to_owned(), copy.directory.path().to_owned())];
            if self.server.is_some() {
                std::fs::create_dir(copy.repository()).unwrap();
                copies.push((self.repository(), copy.repository()));
            }
            // Unfinished objects come and go while it is made.
            let is_whole = copies.iter().all(|(from, to)| {
                let mut command = Command::new("cp");
                command.arg("-a").arg(from.join(".")).arg(to);
                command.output().unwrap().status.success()
            });
            if is_whole {
                return copy;
            }
        }
    }
}
