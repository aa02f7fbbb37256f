//! Directories of layers in terms of the overlay rule.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use layer_layout::overlay::{OPAQUE_VALUE, TRUSTED_OPAQUE, USER_OPAQUE, WHITEOUT_DEVICE};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::{Errno, Result};

use super::area::Area;
use super::attributes::has_xattr;
use super::beneath::{Beneath, join};
use crate::tree::{Class, Listing};

/// In bytes: room for some 1,500 names of usual length at a time.
const BUFFER: usize = 64 * 1024;

/// Whether this is the device with which overlayfs marks a removed name.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    let (major, minor) = WHITEOUT_DEVICE;
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(major, minor)
}

/// Whether a directory hides those of the same name in lower layers.
pub(super) fn is_opaque(directory: impl AsFd) -> Result<bool> {
    Ok(has_xattr(&directory, TRUSTED_OPAQUE, OPAQUE_VALUE)?
        || has_xattr(&directory, USER_OPAQUE, OPAQUE_VALUE)?)
}

/// Reads directories, and keeps the buffer for that.
pub(super) struct Lister {
    buffer: Box<[MaybeUninit<u8>]>,
}

impl Lister {
    pub(super) fn new() -> Self {
        Self { buffer: vec![MaybeUninit::uninit(); BUFFER].into_boxed_slice() }
    }

    /// Hands out the names in a directory that has just been opened, with their types as far as known.
    pub(super) fn names(
        &mut self,
        directory: &OwnedFd,
        mut each: impl FnMut(&[u8], FileType) -> Result<()>,
    ) -> Result<()> {
        let mut entries = RawDir::new(directory, &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                each(name, entry.file_type())?;
            }
        }
        Ok(())
    }

    /// The listing of a directory of a layer, with `item` as the handle on each name. `covers` is set if the
    /// directory covers lower ones; only then are opaque marks looked for.
    pub(super) fn listing<T: Copy>(
        &mut self,
        directory: &OwnedFd,
        covers: Option<(&Area, &Arc<Beneath>, &[u8])>,
        item: T,
    ) -> Result<Listing<T>> {
        let mut listing = Listing::new();
        self.names(directory, |name, file_type| {
            let class = match file_type {
                FileType::CharacterDevice | FileType::Unknown => class_of(directory, name)?,
                FileType::Directory => Some(Class::Directory { opaque: false }),
                _ => Some(Class::Leaf),
            };
            if let Some(class) = class {
                listing.insert(name.to_vec(), (class, item));
            }
            Ok(())
        })?;
        if let Some((area, tree, path)) = covers {
            for (name, (class, _)) in &mut listing {
                if let Class::Directory { opaque } = class {
                    *opaque = is_opaque(area.directory(tree, &join(path, name))?)?;
                }
            }
        }
        Ok(listing)
    }
}

/// What a name is; `None` if it does not exist. Opaque marks are not looked for.
pub(super) fn class_of(directory: impl AsFd, name: &[u8]) -> Result<Option<Class>> {
    let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Class::Directory { opaque: false },
        _ if is_whiteout(&stat) => Class::Whiteout,
        _ => Class::Leaf,
    }))
}

/// Flags to open a regular file that may have become something else in the meantime.
pub(super) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a file in a directory for reading.
pub(super) fn open_file(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    rustix::fs::openat(directory, name, READ, Mode::empty())
}
