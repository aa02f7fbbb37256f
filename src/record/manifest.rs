//! `manifest.json` of a published image, whoever wrote it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ConfigDigest, Error, LayerDigest, Result};

const WHAT: &str = "image manifest";

/// An image manifest, as far as a repository needs it.
///
/// It is read from the bytes of a registry (OCI image-spec, `manifest.md`, and Docker's schema 2) as well as from what
/// DUCC makes of them: what a Go struct keeps, under the struct's names. Rule: Go, which finds members in any case. It
/// is written as DUCC writes it: compact JSON with capitalized keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublishedManifest {
    /// 2 for both Docker and OCI manifests.
    pub schema_version: u32,
    /// Media type of the manifest; empty if the registry's manifest names none.
    pub media_type: String,
    /// The image's configuration.
    pub config: PublishedBlob<ConfigDigest>,
    /// The layers, base first.
    pub layers: Vec<PublishedBlob<LayerDigest>>,
}

/// A blob of a [`PublishedManifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublishedBlob<Id> {
    /// Media type of the blob.
    pub media_type: String,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the blob.
    pub digest: Id,
}

/// How the media types of layers begin that a registry does not hold, so that no repository has them.
const FOREIGN: [&str; 2] = [
    "application/vnd.docker.image.rootfs.foreign.diff.",
    "application/vnd.oci.image.layer.nondistributable.",
];

impl PublishedManifest {
    /// Reads a manifest of a registry or of DUCC.
    ///
    /// # Errors
    /// If it is not the manifest of one image, with the digests of its configuration and its layers.
    pub fn parse(json: &[u8]) -> Result<Self> {
        Self::from_members(super::json::parse(WHAT, json)?)
    }

    /// The digests of the layers that a repository has for the image, base first; one may occur more than once.
    pub fn layers(&self) -> impl Iterator<Item = LayerDigest> {
        let held = |layer: &&PublishedBlob<_>| {
            !FOREIGN.iter().any(|foreign| layer.media_type.starts_with(foreign))
        };
        self.layers.iter().filter(held).map(|layer| layer.digest)
    }

    pub(super) fn from_members(manifest: Map<String, Value>) -> Result<Self> {
        let wrong = |reason: &str| Error::document(WHAT, reason);
        if member(&manifest, "manifests").is_some() {
            return Err(wrong("it lists images and is not the manifest of one"));
        }
        let Some(Value::Object(config)) = member(&manifest, "config") else {
            return Err(wrong("it names no configuration"));
        };
        let layers = match member(&manifest, "layers") {
            Some(Value::Array(layers)) => layers.as_slice(),
            // Go writes a list that was never set as `null`.
            Some(Value::Null) => &[],
            _ => return Err(wrong("it has no list of layers")),
        };
        let layer = |layer: &Value| match layer {
            Value::Object(layer) => blob(layer),
            _ => Err(wrong("a layer is not an object")),
        };
        Ok(Self {
            schema_version: number(&manifest, "schemaVersion").try_into().unwrap_or_default(),
            media_type: text(&manifest, "mediaType"),
            config: blob(config)?,
            layers: layers.iter().map(layer).collect::<Result<_>>()?,
        })
    }
}

fn blob<Id: for<'de> Deserialize<'de>>(blob: &Map<String, Value>) -> Result<PublishedBlob<Id>> {
    let digest = member(blob, "digest").unwrap_or(&Value::Null);
    let digest =
        Id::deserialize(digest).map_err(|error| Error::document(WHAT, error.to_string()))?;
    Ok(PublishedBlob { media_type: text(blob, "mediaType"), size: number(blob, "size"), digest })
}

/// The member of this name, or else the first whose name differs only in case.
pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let in_any_case = || object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    object.get(name).or_else(|| in_any_case().map(|(_, value)| value))
}

fn text(object: &Map<String, Value>, name: &str) -> String {
    member(object, name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(object: &Map<String, Value>, name: &str) -> u64 {
    member(object, name).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn registry_s() -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":7}},
            "layers":[
              {{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":9}},
              {{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":1,
                "digest":"{}","urls":["https://elsewhere.example.org/"]}}],
            "annotations":{{"k":"v"}}}}"#,
            Digest::of(b"config"),
            Digest::of(b"layer"),
            Digest::of(b"foreign"),
        )
    }

    #[test]
    fn a_registry_s_manifest_and_ducc_s_copy_say_the_same() {
        let read = PublishedManifest::parse(registry_s().as_bytes()).unwrap();
        assert_eq!(read.config.digest, Digest::of(b"config").into());
        assert_eq!((read.schema_version, read.config.size, read.layers.len()), (2, 7, 2));
        assert_eq!(read.layers().collect::<Vec<_>>(), [Digest::of(b"layer").into()]);
        let copy = serde_json::to_string(&read).unwrap();
        assert!(copy.starts_with(r#"{"SchemaVersion":2,"MediaType":"application"#), "{copy}");
        assert!(copy.contains(r#""Config":{"MediaType":"#), "{copy}");
        assert_eq!(PublishedManifest::parse(copy.as_bytes()), Ok(read));
    }

    #[test]
    fn what_a_repository_does_not_need_may_be_missing() {
        let config = Digest::of(b"config");
        let json = format!(r#"{{"CONFIG":{{"digest":"{config}"}},"layers":null}}"#);
        let read = PublishedManifest::parse(json.as_bytes()).unwrap();
        assert_eq!((read.config.digest, read.layers.len()), (config.into(), 0));
    }

    #[test]
    fn what_names_no_image_is_refused() {
        let good = registry_s();
        let digest = Digest::of(b"layer").to_string();
        for (json, reason) in [
            (String::new(), "EOF"),
            ("[]".to_owned(), "expected a map"),
            ("{}".to_owned(), "no configuration"),
            (format!(r#"{{"manifests":[],{}"#, &good[1..]), "lists images"),
            (good.replace("layers", "fsLayers"), "no list of layers"),
            (good.replace(&digest, "sha256:../x"), "hex digit"),
            (good.replace("\"digest\"", "\"hash\""), "invalid type: null"),
            (r#"{"config":{"digest":7},"layers":[]}"#.to_owned(), "invalid type"),
        ] {
            match PublishedManifest::parse(json.as_bytes()) {
                Err(error) => assert!(error.to_string().contains(reason), "{error}: {json}"),
                Ok(read) => panic!("{json}: {read:?}"),
            }
        }
    }
}
