//! `remove-schedule.json`: images that DUCC meant to remove.

use serde::{Deserialize, Deserializer, Serialize};

use super::json::{compact, parse};
use crate::{ConfigDigest, LayerDigest, Result};

/// The content of `.metadata/remove-schedule.json`.
///
/// Compact JSON: an array of manifests in DUCC's own form, with capitalized keys. Rule: DUCC, which adds to it when
/// the image behind a name has changed, at most one entry for a config digest.
///
/// Not to be taken at its word: DUCC adds the *new* manifest where the old one is meant, and never reads the file. It
/// says neither under which name an image was published nor since when it is unwanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RemoveSchedule {
    /// Oldest first.
    pub manifests: Vec<ScheduledManifest>,
}

/// An image manifest as DUCC stores it: what a Go struct keeps of it, under the struct's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScheduledManifest {
    /// 2 for both Docker and OCI manifests.
    pub schema_version: u32,
    /// Media type of the manifest; empty if the registry's manifest names none.
    pub media_type: String,
    /// The image's configuration.
    pub config: ScheduledBlob<ConfigDigest>,
    /// The layers, base first.
    #[serde(deserialize_with = "null_is_empty")]
    pub layers: Vec<ScheduledBlob<LayerDigest>>,
}

/// A blob of a [`ScheduledManifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScheduledBlob<Id> {
    /// Media type of the blob.
    pub media_type: String,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the blob.
    pub digest: Id,
}

impl RemoveSchedule {
    /// Reads a `remove-schedule.json`.
    ///
    /// # Errors
    /// If it is not an array of manifests.
    pub fn parse(json: &[u8]) -> Result<Self> {
        parse("remove schedule", json)
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        compact(self)
    }
}

/// Go writes a list that was never set as `null`.
fn null_is_empty<'de, D, T>(from: D) -> std::result::Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `json.Marshal` of Go gives for DUCC's `[]Manifest`.
    const DUCC: &str = "[{\"SchemaVersion\":2,\
        \"MediaType\":\"application/vnd.docker.distribution.manifest.v2+json\",\
        \"Config\":{\"MediaType\":\"application/vnd.docker.container.image.v1+json\",\"Size\":1469,\
        \"Digest\":\"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"},\
        \"Layers\":[{\"MediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\",\
        \"Size\":2220094,\
        \"Digest\":\"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"}]},\
        {\"SchemaVersion\":2,\"MediaType\":\"\",\
        \"Config\":{\"MediaType\":\"application/vnd.oci.image.config.v1+json\",\"Size\":2,\
        \"Digest\":\"sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6\"},\
        \"Layers\":[]}]";

    #[test]
    fn bytes_are_ducc_s() {
        let schedule = RemoveSchedule::parse(DUCC.as_bytes()).unwrap();
        let [docker, oci] = schedule.manifests.as_slice() else { panic!("{schedule:?}") };
        assert_eq!((docker.schema_version, docker.config.size), (2, 1469));
        assert_eq!(docker.config.digest, crate::Digest::of(b"a").into());
        assert_eq!(docker.layers[0].digest, crate::Digest::of(b"b").into());
        assert_eq!((oci.media_type.as_str(), oci.layers.len()), ("", 0));
        assert_eq!(String::from_utf8(schedule.to_json()).unwrap(), DUCC);
        assert_eq!(RemoveSchedule::default().to_json(), b"[]");
    }

    #[test]
    fn layers_may_be_null() {
        let json = DUCC.replace("\"Layers\":[]", "\"Layers\":null");
        assert_eq!(RemoveSchedule::parse(json.as_bytes()), RemoveSchedule::parse(DUCC.as_bytes()));
    }

    #[test]
    fn digests_are_checked() {
        let json = DUCC.replace("sha256:ca97", "sha256:../x");
        assert!(RemoveSchedule::parse(json.as_bytes()).is_err());
        assert!(RemoveSchedule::parse(b"{}").is_err());
    }
}
