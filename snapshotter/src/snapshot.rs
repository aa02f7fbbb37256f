//! What a snapshot is: its kind, its record, and what is known of its layer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use layer_layout::label;
use layer_layout::text::one_line;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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

/// The longest label, key and value together, in bytes. Rule: containerd, `pkg/labels`, `Validate`.
const LONGEST_LABEL: usize = 4096;

/// The most that all labels of a snapshot may have together, in bytes. What containerd and its clients set is a few
/// labels, of which one (`cri.image-layers`) fills its 4,096 bytes; the rest are annotations that an image's author
/// has written, and every `List` reads and sends them all.
const MOST_LABELS: usize = 64 * 1024;

/// Checks that labels, which come from clients and from the authors of images, are not too long to be kept.
///
/// # Errors
/// [`Error::InvalidArgument`] that names the label, or says how much is too much.
pub fn check_labels(labels: &Labels) -> Result<()> {
    let mut all = 0;
    for (key, value) in labels {
        let length = key.len() + value.len();
        if length > LONGEST_LABEL {
            return Err(Error::InvalidArgument(format!(
                "label {} has {length} bytes with its key, and {LONGEST_LABEL} is the limit",
                shown(key)
            )));
        }
        all += length;
    }
    if all > MOST_LABELS {
        return Err(Error::InvalidArgument(format!(
            "the labels of a snapshot have {all} bytes together, and {MOST_LABELS} is the limit: the image has \
             too many annotations that begin with {}",
            label::INHERITED_PREFIX
        )));
    }
    Ok(())
}

/// The longest key or name of a snapshot, in bytes: what containerd's own snapshotters can store (bbolt, `MaxKeySize`).
const LONGEST_NAME: usize = 32_768;

/// Checks the key or name of a new snapshot.
///
/// # Errors
/// [`Error::InvalidArgument`] if it is empty or too long.
pub fn check_name(name: &str) -> Result<()> {
    match name.len() {
        0 => Err(Error::InvalidArgument("the key or name of a snapshot is empty".to_owned())),
        1..=LONGEST_NAME => Ok(()),
        length => Err(Error::InvalidArgument(format!(
            "the key or name {} has {length} bytes, and {LONGEST_NAME} is the limit",
            shown(name)
        ))),
    }
}

/// A text of a request in a message: in quotes, escaped, and cut if it is long. gRPC sends messages in headers, which
/// have to be short.
pub fn shown(text: &str) -> String {
    format!("\"{}\"", one_line(text).cut(LONGEST_SHOWN))
}

/// Keys of containerd with their random parts and digests are shorter.
const LONGEST_SHOWN: usize = 256;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(lengths: &[(usize, usize)]) -> Labels {
        let label = |(number, (key, value)): (usize, &(usize, usize))| {
            (format!("{number:0>key$}"), "v".repeat(*value))
        };
        lengths.iter().enumerate().map(label).collect()
    }

    #[test]
    fn limits_of_labels() {
        for (given, expected) in [
            (labels(&[]), Ok(())),
            (labels(&[(1, 4095), (4096, 0), (2048, 2048)]), Ok(())),
            (labels(&[(1, 4096)]), Err("label \"0\" has 4097 bytes")),
            (labels(&[(4090, 7)]), Err("0… (4090 bytes)\" has 4097 bytes")),
            (labels(&[(96, 4000); 16]), Ok(())),
            (labels(&[(96, 3000); 30]), Err("together, and 65536 is the limit")),
        ] {
            let checked = check_labels(&given).map_err(|error| error.to_string());
            match (checked, expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (checked, expected) => panic!("{checked:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn limits_of_names() {
        for (name, fits) in [("", false), ("a", true), (&"n".repeat(32_768), true)] {
            assert_eq!(check_name(name).is_ok(), fits);
        }
        let error = check_name(&"\n".repeat(32_769)).unwrap_err().to_string();
        assert!(error.len() < 1000 && !error.contains('\n') && error.contains("32769"), "{error}");
    }
}
