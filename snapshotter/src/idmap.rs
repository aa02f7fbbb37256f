//! User and group ids of a container in a user namespace.
//!
//! If the plugin has the capability `remap-ids`, containerd passes the mapping as labels of the container's
//! `Prepare`, and expects it back as mount options and as the owner of the upper directory.

use layer_layout::label;

use crate::error::{Error, Result};
use crate::snapshot::{Labels, shown};

/// The mapping of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMapping {
    uids: Map,
    gids: Map,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Map {
    text: String,
    root: u32,
}

impl IdMapping {
    /// The mapping that the labels ask for, if any. On a layer that is being unpacked these labels are ignored,
    /// because there the image's author could have written them.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if a mapping is not valid, or one of the two is missing.
    pub fn from_labels(labels: &Labels) -> Result<Option<Self>> {
        if labels.contains_key(label::TARGET) {
            return Ok(None);
        }
        match (labels.get(label::UID_MAPPING), labels.get(label::GID_MAPPING)) {
            (None, None) => Ok(None),
            (Some(uids), Some(gids)) => Ok(Some(Self {
                uids: Map::parse(label::UID_MAPPING, uids)?,
                gids: Map::parse(label::GID_MAPPING, gids)?,
            })),
            _ => Err(Error::InvalidArgument(format!(
                "only one of the labels {} and {} is set",
                label::UID_MAPPING,
                label::GID_MAPPING
            ))),
        }
    }

    /// The host's user and group ids of the container's root.
    pub fn root(&self) -> (u32, u32) {
        (self.uids.root, self.gids.root)
    }

    /// The mount options that make containerd map ids.
    pub fn options(&self) -> [String; 2] {
        [format!("uidmap={}", self.uids.text), format!("gidmap={}", self.gids.text)]
    }
}

impl Map {
    /// `container:host:length`, several joined by commas.
    fn parse(label: &str, text: &str) -> Result<Self> {
        let bad =
            |reason| Error::InvalidArgument(format!("label {label}={}: {reason}", shown(text)));
        let mut root = None;
        for range in text.split(',') {
            let numbers: Option<Vec<u32>> =
                range.split(':').map(|n| n.parse().ok().filter(|_| !n.starts_with('+'))).collect();
            let Some([container, host, length]) = numbers.as_deref() else {
                return Err(bad("expected container:host:length"));
            };
            if *length == 0 || host.checked_add(*length).is_none() {
                return Err(bad("a range is empty or too long"));
            }
            if *container == 0 {
                root = Some(*host);
            }
        }
        let root = root.ok_or_else(|| bad("id 0 is not mapped"))?;
        Ok(Self { text: text.to_owned(), root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn labels_of_a_container() {
        let (uid, gid) = (label::UID_MAPPING, label::GID_MAPPING);
        assert_eq!(IdMapping::from_labels(&labels(&[])).unwrap(), None);
        let ref_label = (label::TARGET, "sha256:x");
        let unpacking = labels(&[(uid, "nonsense"), (gid, "0:1:1"), ref_label]);
        assert_eq!(IdMapping::from_labels(&unpacking).unwrap(), None);
        for (uids, gids, root) in [
            ("0:1000:65536", "0:2000:65536", (1000, 2000)),
            ("1:100000:65535,0:7:1", "0:8:1", (7, 8)),
        ] {
            let mapping =
                IdMapping::from_labels(&labels(&[(uid, uids), (gid, gids)])).unwrap().unwrap();
            assert_eq!(mapping.root(), root);
            assert_eq!(mapping.options(), [format!("uidmap={uids}"), format!("gidmap={gids}")]);
        }
        for bad in [
            "",
            "0",
            "0:1",
            "0:1:0",
            "0:1:2:3",
            "a:b:c",
            "0:-1:5",
            "1:1:1",
            "0:1:4294967295",
            "0:1:1,",
            "+0:1:1",
            "0:1:1;ro",
        ] {
            let error = IdMapping::from_labels(&labels(&[(uid, bad), (gid, "0:1:1")])).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument(_)), "{bad:?}");
        }
        assert!(IdMapping::from_labels(&labels(&[(uid, "0:1:1")])).is_err());
    }
}
