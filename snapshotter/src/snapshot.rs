//! What a snapshot is: its kind, its record, and what is known of its layer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The number of a snapshot, which is also the name of its directory. No number is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(pub(crate) i64);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kind of a snapshot, as containerd distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotKind {
    /// A committed snapshot, to be mounted read-only.
    View,
    /// Writable, on top of a committed snapshot or of nothing.
    Active,
    /// A finished layer, which can be a parent.
    Committed,
}

impl SnapshotKind {
    /// The kind's name in filters and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Active => "active",
            Self::Committed => "committed",
        }
    }
}

/// Labels, sorted by key. A label without a value is never kept: containerd says "absent" that way.
pub type Labels = BTreeMap<String, String>;

/// A point in time: nanoseconds since 1970-01-01 UTC. containerd compares times for equality, so they are kept in
/// full precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub(crate) i64);

impl Timestamp {
    /// The time by the system's clock. A clock that is set before 1970 counts as 1970.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Whole seconds since 1970, rounded towards the past, and the nanoseconds after them.
    pub fn parts(self) -> (i64, i32) {
        let nanos = self.0.rem_euclid(1_000_000_000);
        (self.0.div_euclid(1_000_000_000), i32::try_from(nanos).expect("less than 10^9"))
    }
}

/// What containerd sees of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Key of an active snapshot or view, name of a committed one.
    pub name: String,
    /// Name of the parent, or empty.
    pub parent: String,
    /// Its kind.
    pub kind: SnapshotKind,
    /// When it was prepared; of a committed snapshot, when it was committed.
    pub created: Timestamp,
    /// When it was last changed: created, committed, or given other labels.
    pub updated: Timestamp,
    /// Its labels.
    pub labels: Labels,
}

/// Disk use of one layer, without its parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes in blocks on disk.
    pub bytes: i64,
    /// Distinct inodes, the layer's root directory included.
    pub inodes: i64,
}

/// What matters of the root directory of a layer. It is recorded when the layer is committed, so that no repository
/// has to be asked when a child is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LayerRoot {
    /// Its owner, who also becomes the owner of a child's upper directory.
    pub uid: u32,
    /// Its group, which also becomes the group of a child's upper directory.
    pub gid: u32,
    /// Whether it hides all layers below. overlayfs ignores the opaque mark on the root of a lower directory, so
    /// the layers below are left out of the mount instead.
    pub opaque: bool,
}

/// Where the content of a remote snapshot is. Paths are resolved, and relative to the repository's root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Remote {
    /// The repository's name in the configuration.
    pub repository: String,
    /// The layer's directory.
    pub layer: String,
    /// The merged root file system of the whole chain, if the repository has one.
    pub rootfs: Option<String>,
}

/// One committed snapshot in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its number, which names its directory.
    pub id: SnapshotId,
    /// What matters of its root directory.
    pub root: LayerRoot,
    /// Set if the content is in a repository.
    pub remote: Option<Remote>,
}

/// A snapshot's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number, which names its directory.
    pub id: SnapshotId,
    /// What containerd sees of it.
    pub info: Info,
    /// Disk use as measured at commit; `None` unless the snapshot is committed.
    pub usage: Option<Usage>,
    /// Set if the content is in a repository.
    pub remote: Option<Remote>,
}
