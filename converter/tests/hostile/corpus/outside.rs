//! What lies outside a layer and must stay as it is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory with a secret, a directory and a program, for layers to aim at.
pub(crate) struct Outside {
    directory: tempfile::TempDir,
    before: Snapshot,
}

impl Outside {
    /// Makes it.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("victim"), "untouched").unwrap();
        fs::set_permissions(path.join("victim"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(path.join("directory")).unwrap();
        fs::write(path.join("directory/inner"), "untouched").unwrap();
        let before = Snapshot::of(path);
        Self { directory, before }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Fails if anything has changed, and says what.
    #[track_caller]
    pub(crate) fn assert_untouched(&self, by: &str) {
        Snapshot::of(self.path()).assert_same(&self.before, by);
    }
}

/// Everything about a tree that can be found out without changing it, except for access times.
#[derive(PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, String>);

impl Snapshot {
    /// Takes a snapshot of `root` and everything below it.
    pub(crate) fn of(root: &Path) -> Self {
        Self::with(root, true)
    }

    /// The same without the times of directories, which change even if something appears only for a moment.
    pub(crate) fn of_content(root: &Path) -> Self {
        Self::with(root, false)
    }

    fn with(root: &Path, directory_times: bool) -> Self {
        let mut names = BTreeMap::new();
        let mut open = vec![root.to_owned()];
        while let Some(path) = open.pop() {
            let found = fs::symlink_metadata(&path).unwrap();
            let kind = found.file_type();
            let content = if kind.is_file() {
                format!("{:?}", fs::read(&path).unwrap())
            } else if kind.is_symlink() {
                format!("{:?}", fs::read_link(&path).unwrap())
            } else {
                String::new()
            };
            let mut attributes = format!(
                "mode {:o}, {} links, owner {}:{}, {} bytes, device {}",
                found.mode(),
                found.nlink(),
                found.uid(),
                found.gid(),
                found.size(),
                found.rdev(),
            );
            if directory_times || !kind.is_dir() {
                attributes += &format!(
                    ", modified {}.{:09}, changed {}.{:09}",
                    found.mtime(),
                    found.mtime_nsec(),
                    found.ctime(),
                    found.ctime_nsec(),
                );
            }
            if kind.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            names.insert(path, format!("{attributes}: {content}"));
        }
        Self(names)
    }

    /// Fails if anything differs, and says what.
    #[track_caller]
    pub(crate) fn assert_same(&self, before: &Self, by: &str) {
        for (path, now) in &self.0 {
            let was = before.0.get(path).map_or("nothing", String::as_str);
            assert!(was == now, "{by}: {} was {was}, is {now}", path.display());
        }
        for path in before.0.keys() {
            assert!(self.0.contains_key(path), "{by}: {} is gone", path.display());
        }
    }
}
