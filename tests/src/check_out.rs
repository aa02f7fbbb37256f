//! A revision of a CernVM-FS repository as files, the way a client shows it: so that programs can be run from it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cvmfs_repository::entry::{Device, Entry, EntryKind};
use cvmfs_repository::link_target::expanded;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::{Directory, Snapshot};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};

/// The variable in targets of symlinks that has to be what `uname -m` says.
const VARIABLE: &[u8] = b"CVMFS_ARCH";

/// Writes all of a revision into an existing directory, with owners, modes, times and extended attributes, as a client
/// shows it on a machine of which `uname -m` says `machine`.
pub fn check_out(snapshot: &Snapshot, machine: &str, to: &Path) -> Result<()> {
    let root = snapshot.directory(&TreePath::ROOT)?.context("a repository without a root")?;
    Writer { snapshot, machine }.directory(&root, to)
}

struct Writer<'a> {
    snapshot: &'a Snapshot,
    machine: &'a str,
}

impl Writer<'_> {
    fn directory(&self, directory: &Directory, to: &Path) -> Result<()> {
        let mut children = Vec::new();
        directory.for_each(&mut |child| {
            children.push(child);
            Ok(())
        })?;
        let mut groups: HashMap<u32, PathBuf> = HashMap::new();
        for child in children {
            let path = to.join(OsStr::from_bytes(&child.name));
            if child.entry.is_directory() {
                fs::create_dir(&path)?;
                self.directory(&directory.open(&child)?, &path)?;
                continue;
            }
            if child.entry.links.count > 1 {
                if let Some(first) = groups.get(&child.entry.links.group) {
                    fs::hard_link(first, &path)?;
                    continue;
                }
                groups.insert(child.entry.links.group, path.clone());
            }
            self.leaf(&child.entry, &path)
                .with_context(|| format!("writing {}", path.display()))?;
            give_attributes(&child.entry, &path)?;
        }
        give_attributes(directory.entry(), to)
    }

    fn leaf(&self, entry: &Entry, path: &Path) -> Result<()> {
        let node = |kind: FileType, device: Option<&Device>| -> Result<()> {
            let number = device.map_or(0, |device| makedev(device.major, device.minor));
            Ok(mknodat(CWD, path, kind, Mode::empty(), number)?)
        };
        match &entry.kind {
            EntryKind::File(file) => Ok(fs::write(path, self.snapshot.read(file)?)?),
            EntryKind::Symlink(target) => {
                let variable = |name: &[u8]| (name == VARIABLE).then(|| self.machine.into());
                Ok(symlink(OsStr::from_bytes(&expanded(target, variable)), path)?)
            }
            EntryKind::Character(device) => node(FileType::CharacterDevice, Some(device)),
            EntryKind::Block(device) => node(FileType::BlockDevice, Some(device)),
            EntryKind::Fifo => node(FileType::Fifo, None),
            EntryKind::Socket => node(FileType::Socket, None),
            EntryKind::Directory => Ok(()),
        }
    }
}

fn give_attributes(entry: &Entry, path: &Path) -> Result<()> {
    lchown(path, Some(entry.uid), Some(entry.gid))?;
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        fs::set_permissions(path, fs::Permissions::from_mode(entry.mode))?;
    }
    for (name, value) in entry.xattrs.unpack().context("damaged extended attributes")? {
        xattr::set(path, OsStr::from_bytes(&name), &value)?;
    }
    let time = Timespec {
        tv_sec: entry.mtime.seconds,
        tv_nsec: entry.mtime.nanoseconds.unwrap_or_default().into(),
    };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
