//! Names of a database in the words of the repository format, and back.

use cvmfs_repository::entry::{Device, Entry, EntryKind, File, Links, Time};
use cvmfs_repository::xattr::Xattrs;
use layer_layout::overlay::WHITEOUT_DEVICE;

use super::database::{self, Attributes, Inode};
use crate::layer::Timestamp;

impl Inode {
    /// A directory.
    pub(super) fn directory(number: i64, attributes: Attributes, flags: i64) -> Self {
        let kind = database::Kind::Directory;
        Self { number, kind, attributes, value: 0, target: None, flags }
    }

    /// What overlayfs takes for a removed name.
    pub(super) fn whiteout(number: i64) -> Self {
        let attributes = Attributes::default();
        Self {
            number,
            kind: database::Kind::Whiteout,
            attributes,
            value: 0,
            target: None,
            flags: 0,
        }
    }

    /// An inode for an entry that has no other names yet, with what it holds if it is a file.
    pub(super) fn of(number: i64, entry: Entry) -> (Self, Option<File>) {
        let attributes = Attributes::of(&entry);
        let whiteout = Device { major: WHITEOUT_DEVICE.0, minor: WHITEOUT_DEVICE.1 };
        let (kind, value, target, file) = match entry.kind {
            EntryKind::Directory => (database::Kind::Directory, 0, None, None),
            EntryKind::File(file) => (database::Kind::File, file.size, None, Some(file)),
            EntryKind::Symlink(target) => (database::Kind::Symlink, 0, Some(target), None),
            EntryKind::Character(device) if device == whiteout => {
                (database::Kind::Whiteout, 0, None, None)
            }
            EntryKind::Character(device) => {
                (database::Kind::Character, device.packed(), None, None)
            }
            EntryKind::Block(device) => (database::Kind::Block, device.packed(), None, None),
            EntryKind::Fifo => (database::Kind::Fifo, 0, None, None),
            EntryKind::Socket => (database::Kind::Socket, 0, None, None),
        };
        (Self { number, kind, attributes, value, target, flags: 0 }, file)
    }

    /// What a reader sees of the inode. `None` for a file whose content is not known, and for a link to a
    /// lower layer.
    pub(super) fn entry(self, file: Option<File>, links: Links) -> Option<Entry> {
        let device = || Device::unpacked(self.value);
        let kind = match self.kind {
            database::Kind::Directory => EntryKind::Directory,
            database::Kind::File => EntryKind::File(file?),
            database::Kind::Symlink => EntryKind::Symlink(self.target.unwrap_or_default()),
            database::Kind::Character => EntryKind::Character(device()),
            database::Kind::Block => EntryKind::Block(device()),
            database::Kind::Fifo => EntryKind::Fifo,
            database::Kind::Socket => EntryKind::Socket,
            database::Kind::Whiteout => {
                EntryKind::Character(Device { major: WHITEOUT_DEVICE.0, minor: WHITEOUT_DEVICE.1 })
            }
            database::Kind::LowerLink => return None,
        };
        Some(Entry { links, ..self.attributes.entry(kind) })
    }
}

impl Attributes {
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
