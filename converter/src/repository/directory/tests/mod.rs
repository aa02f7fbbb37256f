//! The directory target, rule by rule.
//!
//! They need root, as owners, devices and overlay mounts do; what holds for ordinary users is tried in a
//! child process that has given up its privileges.

mod completing;
mod describe;
mod editing;
mod layers;
mod merging;
mod ordinary_user;
mod publishing;
mod snapshot;

use std::io::Read;
use std::path::{Path, PathBuf};

use layer_layout::{Digest, RepositoryPath, path};

use super::Directory;
use crate::layer::{Entry, Kind, Segment};
use crate::repository::{OpenEnds, Repository, Result, Transaction};

/// A repository in a directory of its own.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
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
        let directory = tempfile::tempdir_in(directory).unwrap();
        std::fs::create_dir(directory.path().join("repository")).unwrap();
        Self { directory }
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

    /// Publishes layers, each with its place, topmost last, without completing them.
    fn publish(&self, layers: &[&[Described]]) -> Vec<RepositoryPath> {
        let transaction = self.begin();
        let mut paths = Vec::new();
        for (at, entries) in layers.iter().enumerate() {
            let path = layerfs(&format!("layer {at}"));
            unpack(&*transaction, &path, entries).unwrap();
            paths.insert(0, path);
        }
        transaction.commit().unwrap();
        paths
    }

    fn host(&self, path: &RepositoryPath) -> PathBuf {
        self.path().join(path)
    }

    /// Where something is that is not published yet.
    fn staged(&self, path: &RepositoryPath) -> PathBuf {
        self.path().join(path::publisher_staging()).join(path)
    }
}

/// CAP_NET_RAW, permitted and effective (`linux/capability.h`, VFS_CAP_REVISION_2).
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An entry with its content.
type Described = (Entry, Vec<u8>);

/// A place for a layer of this name.
fn layerfs(name: &str) -> RepositoryPath {
    path::layerfs(&Digest::of(name.as_bytes()).into())
}

/// A place for a merged tree of this name.
fn rootfs(name: &str) -> RepositoryPath {
    path::chain_rootfs(&Digest::of(name.as_bytes()).into())
}

/// Unpacks a layer of these entries.
fn unpack(
    transaction: &dyn Transaction,
    path: &RepositoryPath,
    entries: &[Described],
) -> Result<OpenEnds> {
    let mut writer = transaction.layer_writer(path)?;
    for (entry, content) in entries {
        let segments = match entry.kind {
            Kind::File { size } if size > 0 => vec![Segment { offset: 0, length: size }],
            _ => Vec::new(),
        };
        writer.apply(entry, &segments, &mut content.as_slice() as &mut dyn Read)?;
    }
    writer.finish()
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
