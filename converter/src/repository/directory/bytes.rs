//! How many bytes removing something would free.
//!
//! What counts is a file's size (`st_size`): what it holds, however many blocks the file system has given it. A file with
//! several names, as layers, merged and flat roots share them, counts once, and only if all its names would go.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use layer_layout::RepositoryPath;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::{Errno, Result as SystemResult};

use super::beneath::{Beneath, join};
use super::listing::Lister;
use super::moves::look;
use crate::repository::Result;

/// Bytes of the regular files at and below these paths, none of which is below another, that have no other names. What is
/// in a directory that this process may not read is left out.
pub(super) fn of(root: &Beneath, paths: &[&RepositoryPath]) -> Result<u64> {
    let mut sum = Sum { lister: Lister::new(), alone: 0, linked: HashMap::new() };
    for path in paths {
        let bytes = path.as_str().as_bytes();
        sum.below(root, bytes).map_err(root.failed("look at what is in", bytes))?;
    }
    let whole = sum.linked.into_values().filter(|file| file.missing == 0);
    Ok(sum.alone + whole.map(|file| file.size).sum::<u64>())
}

struct Sum {
    lister: Lister,
    /// Bytes of files with a single name.
    alone: u64,
    /// Files with several, by device and inode number.
    linked: HashMap<(u64, u64), Linked>,
}

struct Linked {
    size: u64,
    /// How many of its names have not been met.
    missing: u64,
}

impl Sum {
    fn below(&mut self, root: &Beneath, path: &[u8]) -> SystemResult<()> {
        let Some(stat) = look(root, path)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.add(&stat);
            return Ok(());
        }
        let mut waiting = vec![path.to_vec()];
        while let Some(path) = waiting.pop() {
            match root.directory(&path) {
                Ok(directory) => self.directory(&directory, &path, &mut waiting)?,
                Err(Errno::ACCESS | Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        waiting: &mut Vec<Vec<u8>>,
    ) -> SystemResult<()> {
        let mut files = Vec::new();
        self.lister.names(directory, |name, file_type| {
            match file_type {
                FileType::Directory => waiting.push(join(path, name)),
                FileType::RegularFile | FileType::Unknown => files.push(name.to_vec()),
                _ => {}
            }
            Ok(())
        })?;
        for name in files {
            match rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    waiting.push(join(path, &name));
                }
                Ok(stat) => self.add(&stat),
                Err(Errno::ACCESS | Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn add(&mut self, stat: &Stat) {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return;
        }
        // The width of these differs between architectures; none of them is ever negative.
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        #[allow(clippy::useless_conversion, reason = "the type differs between architectures")]
        let names = u64::from(stat.st_nlink);
        if names <= 1 {
            self.alone += size;
            return;
        }
        let new = Linked { size, missing: names };
        let linked = self.linked.entry((stat.st_dev, stat.st_ino)).or_insert(new);
        linked.missing = linked.missing.saturating_sub(1);
    }
}
