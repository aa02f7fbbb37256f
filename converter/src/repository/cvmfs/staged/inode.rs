//! Names of a database in the words of the repository format, and back.

use cvmfs_repository::entry::{Device, Entry, EntryKind, File, Links, Time};
use cvmfs_repository::xattr::Xattrs;
use layer_layout::overlay::WHITEOUT_DEVICE;

use super::database::{Attributes, Inode, InodeKind};
use crate::layer::{Metadata, Timestamp};
use crate::repository::layer_rules::implied;

impl Inode {
    /// A directory.
    pub(super) fn directory(number: i64, attributes: Attributes, flags: i64) -> Self {
        let kind = InodeKind::Directory;
        Self { number, kind, attributes, value: 0, target: None, flags }
    }

    /// What overlayfs takes for a removed name.
    pub(super) fn whiteout(number: i64) -> Self {
        let attributes = Attributes::default();
        Self { number, kind: InodeKind::Whiteout, attributes, value: 0, target: None, flags: 0 }
    }

    /// An inode for an entry that has no other names yet, with what it holds if it is a file.
    pub(super) fn of(number: i64, entry: Entry) -> (Self, Option<File>) {
        let attributes = Attributes::of(&entry);
        let whiteout = Device { major: WHITEOUT_DEVICE.0, minor: WHITEOUT_DEVICE.1 };
        let (kind, value, target, file) = match entry.kind {
            EntryKind::Directory => (InodeKind::Directory, 0, None, None),
            EntryKind::File(file) => (InodeKind::File, file.size, None, Some(file)),
            EntryKind::Symlink(target) => (InodeKind::Symlink, 0, Some(target), None),
            EntryKind::Character(device) if device == whiteout => {
                (InodeKind::Whiteout, 0, None, None)
            }
            EntryKind::Character(device) => {
                (InodeKind::CharacterDevice, device.packed(), None, None)
            }
            EntryKind::Block(device) => (InodeKind::BlockDevice, device.packed(), None, None),
            EntryKind::Fifo => (InodeKind::Fifo, 0, None, None),
            EntryKind::Socket => (InodeKind::Socket, 0, None, None),
        };
        (Self { number, kind, attributes, value, target, flags: 0 }, file)
    }

    /// What a reader sees of the inode. `None` for a file whose content and a symlink whose target is not known.
    pub(super) fn entry(self, file: Option<File>, links: Links) -> Option<Entry> {
        let device = || Device::unpacked(self.value);
        let kind = match self.kind {
            InodeKind::Directory => EntryKind::Directory,
            InodeKind::File => EntryKind::File(file?),
            InodeKind::Symlink => EntryKind::Symlink(self.target?),
            InodeKind::CharacterDevice => EntryKind::Character(device()),
            InodeKind::BlockDevice => EntryKind::Block(device()),
            InodeKind::Fifo => EntryKind::Fifo,
            InodeKind::Socket => EntryKind::Socket,
            InodeKind::Whiteout => {
                EntryKind::Character(Device { major: WHITEOUT_DEVICE.0, minor: WHITEOUT_DEVICE.1 })
            }
        };
        Some(Entry { links, ..self.attributes.entry(kind) })
    }
}

impl Attributes {
    /// Those of a directory that no entry describes.
    pub(in super::super) fn implied() -> Self {
        let Metadata { mode, uid, gid, mtime, .. } = implied();
        Self { mode, uid, gid, mtime, xattrs: Xattrs::default() }
    }

    /// Those of an entry.
    pub(in super::super) fn of(entry: &Entry) -> Self {
        let mtime = Timestamp {
            seconds: entry.mtime.seconds,
            nanoseconds: entry.mtime.nanoseconds.unwrap_or_default(),
        };
        let Entry { mode, uid, gid, xattrs, .. } = entry;
        Self { mode: *mode, uid: *uid, gid: *gid, mtime, xattrs: Xattrs::clone(xattrs) }
    }

    /// An entry with these attributes and no other names.
    pub(in super::super) fn entry(self, kind: EntryKind) -> Entry {
        let Self { mode, uid, gid, mtime, xattrs } = self;
        let mtime = Time { seconds: mtime.seconds, nanoseconds: Some(mtime.nanoseconds) };
        Entry { kind, mode, uid, gid, mtime, xattrs, links: Links::ONE, hidden: false }
    }
}
