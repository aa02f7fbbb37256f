//! Generations of containerd: those that are unpacked are the ones there are.

use std::fmt;

use anyhow::{Context, Result};

use super::Client;
use crate::tools;

/// A generation of containerd, such as 1.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// Has a transfer service.
    const TRANSFER: Self = Self { major: 1, minor: 7 };
    /// Has CRI as two plugins and version 3 of the configuration; its `ctr` pulls through the transfer service.
    const V2: Self = Self { major: 2, minor: 0 };

    /// All that are unpacked, the oldest first.
    ///
    /// # Errors
    /// If there is none.
    pub fn all() -> Result<Vec<Self>> {
        let mut versions: Vec<Self> =
            tools::generations("containerd")?.iter().filter_map(|name| Self::parse(name)).collect();
        versions.sort();
        versions.first().context("no containerd is unpacked")?;
        Ok(versions)
    }

    /// The newest that is unpacked.
    ///
    /// # Errors
    /// If there is none.
    pub fn newest() -> Result<Self> {
        Self::all()?.pop().context("no containerd is unpacked")
    }

    /// Reads `major.minor`.
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    pub(super) fn has_transfer_service(self) -> bool {
        self >= Self::TRANSFER
    }

    pub(super) fn has_config_v3(self) -> bool {
        self >= Self::V2
    }

    /// Whether `client` asks the snapshotter before it downloads a layer.
    pub fn is_lazy_with(self, client: Client) -> bool {
        client == Client::CtrRemote || self >= Self::V2
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_in_order() {
        let order = ["1.6", "1.7", "1.10", "2.0", "2.1", "10.0"].map(Version::parse);
        assert!(order.is_sorted() && order.iter().all(Option::is_some), "{order:?}");
        let transfer = order.map(|version| version.unwrap().has_transfer_service());
        assert_eq!(transfer, [false, true, true, true, true, true]);
        let v3 = order.map(|version| version.unwrap().has_config_v3());
        assert_eq!(v3, [false, false, false, true, true, true]);
        for text in ["", "2", "2.", "2.1.9", "two.one"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
