//! The directory target, rule by rule.
//!
//! They need root, as owners, devices and overlay mounts do; what holds for ordinary users is tried in a
//! child process that has given up its privileges.

mod forbidden;
mod holes;
mod killed;
mod merging;
mod neighbours;
mod ordinary_user;
mod publishing;

use std::path::{Path, PathBuf};

use layer_layout::{RepositoryPath, path};

use super::Directory;
use super::area::Area;
use super::lock::Lock;
use super::transaction::Change;
use crate::repository::tests::{
    CAPABILITY, Described, Target, layerfs, publish, rootfs, snapshot, unpack,
};
use crate::repository::{Repository, Transaction};

crate::repository::tests::rules!(super::TestDirectory);

/// A repository in a directory of its own.
pub(in crate::repository) struct TestDirectory {
    directory: tempfile::TempDir,
    repository: Directory,
}

impl TestDirectory {
    /// In memory if possible: a commit waits for the disk.
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        Self::below(if memory.is_dir() { memory } else { Path::new("/tmp") })
    }

    fn on_disk() -> Self {
        Self::below(&std::env::temp_dir())
    }

    fn below(directory: &Path) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "tests of the directory target need root: owners, devices, overlay mounts"
        );
        // Others cannot enter, so that everything may be published.
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(closed).tempdir_in(directory).unwrap();
        let path = directory.path().join("repository");
        std::fs::create_dir(&path).unwrap();
        let repository = Directory::open(&path, None).unwrap();
        Self { directory, repository }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    fn open(&self) -> Directory {
        Directory::open(&self.path(), None).unwrap()
    }

    fn begin(&self) -> Box<dyn Transaction> {
        self.open().begin(&mut |text| panic!("{text}")).unwrap()
    }

    fn publish(&self, layers: &[&[Described]]) -> Vec<RepositoryPath> {
        publish(self, layers)
    }

    fn host(&self, path: &RepositoryPath) -> PathBuf {
        self.path().join(path)
    }

    /// A transaction with its inside open.
    fn change(&self) -> Change {
        let root = || self.repository.root().unwrap();
        let lock = Lock::acquire(root(), &mut |_| true).unwrap();
        Change::new(Area::new(root(), lock).unwrap(), None)
    }

    /// Where something is that is not published yet.
    fn staged(&self, path: &RepositoryPath) -> PathBuf {
        self.path().join(path::publisher_staging()).join(path)
    }
}

impl Target for TestDirectory {
    const SHARES_FILES: bool = true;

    fn new() -> Self {
        Self::new()
    }

    fn repository(&self) -> &dyn Repository {
        &self.repository
    }

    fn assert_sound(&self) {
        let left = self.host(&path::publisher());
        assert!(!left.exists(), "{:?}", names(&left));
    }

    fn begin(&self) -> Box<dyn Transaction> {
        self.begin()
    }

    fn names(&self) -> Vec<String> {
        names(&self.path())
    }

    fn tree(&self, path: &RepositoryPath) -> snapshot::Tree {
        snapshot::of(&self.host(path))
    }
}

/// What a directory holds, for a look whether nothing was left.
fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
