//! Short words for entries.

use super::Described;
use crate::layer::{Entry, Kind, LayerPath, Metadata, Timestamp};

pub(in crate::repository) const TIME: Timestamp =
    Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 };

pub(in crate::repository) fn clean(path: &str) -> LayerPath {
    LayerPath::clean(path.as_bytes()).unwrap()
}

fn entry(path: &str, kind: Kind, mode: u32) -> Entry {
    let metadata = Metadata { mode, mtime: TIME, ..Metadata::default() };
    Entry { path: clean(path), kind, metadata }
}

pub(in crate::repository) fn dir(path: &str) -> Described {
    (entry(path, Kind::Directory, 0o755), Vec::new())
}

pub(in crate::repository) fn file(path: &str, content: &str) -> Described {
    let kind = Kind::File { size: content.len() as u64 };
    (entry(path, kind, 0o644), content.into())
}

pub(in crate::repository) fn symlink(path: &str, target: &str) -> Described {
    (entry(path, Kind::Symlink { target: target.into() }, 0o777), Vec::new())
}

pub(in crate::repository) fn link(path: &str, target: &str) -> Described {
    (entry(path, Kind::HardLink { target: clean(target) }, 0), Vec::new())
}

pub(in crate::repository) fn gone(path: &str) -> Described {
    (entry(path, Kind::Whiteout, 0), Vec::new())
}

pub(in crate::repository) fn opaque(path: &str) -> Described {
    (entry(path, Kind::Opaque, 0), Vec::new())
}

pub(in crate::repository) fn fifo(path: &str) -> Described {
    (entry(path, Kind::Fifo, 0o600), Vec::new())
}

pub(in crate::repository) fn device(path: &str, major: u32, minor: u32) -> Described {
    (entry(path, Kind::CharacterDevice { major, minor }, 0o620), Vec::new())
}

/// The same with other attributes.
pub(in crate::repository) trait With {
    fn mode(self, mode: u32) -> Self;
    fn owner(self, uid: u32, gid: u32) -> Self;
    fn xattr(self, name: &str, value: &[u8]) -> Self;
    fn at(self, seconds: i64) -> Self;
}

impl With for Described {
    fn mode(mut self, mode: u32) -> Self {
        self.0.metadata.mode = mode;
        self
    }

    fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.0.metadata.uid, self.0.metadata.gid) = (uid, gid);
        self
    }

    fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.0.metadata.xattrs.insert(name.into(), value.into());
        self
    }

    fn at(mut self, seconds: i64) -> Self {
        self.0.metadata.mtime = Timestamp { seconds, nanoseconds: 7 };
        self
    }
}
