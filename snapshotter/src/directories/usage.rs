//! Disk use of a tree, counted as containerd counts it (`continuity/fs`, `DiskUsage`): blocks of 512 bytes,
//! every inode once, the root directory included.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::snapshot::Usage;

/// The unit of `st_blocks`, independent of the file system's own block size (stat(2)).
const BLOCK: i64 = 512;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[derive(Default)]
struct Count {
    usage: Usage,
    seen: HashSet<(u64, u64)>,
}

impl Count {
    fn add(&mut self, stat: &Stat) {
        if self.seen.insert((stat.st_dev, stat.st_ino)) {
            self.usage.inodes += 1;
            self.usage.bytes += stat.st_blocks * BLOCK;
        }
    }

    /// Adds what is in `directory`, and returns the names of its subdirectories.
    fn contents(&mut self, directory: &OwnedFd) -> Result<Vec<std::ffi::CString>, Errno> {
        let mut subdirectories = Vec::new();
        let entries = match Dir::read_from(directory) {
            // It has been removed since it was opened.
            Err(Errno::NOENT) => return Ok(subdirectories),
            entries => entries?,
        };
        for entry in entries {
            let entry = match entry {
                Err(Errno::NOENT) => break,
                entry => entry?,
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    self.add(&stat);
                    if FileType::from_raw_mode(stat.st_mode).is_dir() {
                        subdirectories.push(name.to_owned());
                    }
                }
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(subdirectories)
    }
}

/// Counts `root` and everything below it. No link is followed; names that disappear during the count are left out.
pub(super) fn of(root: &Path) -> io::Result<Usage> {
    let mut count = Count::default();
    count.add(&statat(CWD, root, AtFlags::SYMLINK_NOFOLLOW)?);
    let root = openat(CWD, root, DIRECTORY, Mode::empty())?;
    // The open directories from the root down, each with the subdirectories that are still to be visited. So the
    // length of paths does not matter, and the depth of a tree is limited only by the number of open files.
    let names = count.contents(&root)?;
    let mut stack = vec![(root, names)];
    while let Some((directory, names)) = stack.last_mut() {
        let Some(name) = names.pop() else {
            stack.pop();
            continue;
        };
        match openat(&*directory, &name, DIRECTORY, Mode::empty()) {
            Ok(child) => {
                let names = count.contents(&child)?;
                stack.push((child, names));
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count.usage)
}
