//! The JSON of indexes and manifests, read as Go reads it: what is `null` is absent, and what is absent is empty.
//!
//! Registries and engines are written in Go and write a list that was never filled as `null`. Members that nobody needs
//! here are not looked at, so that they cannot make an image unusable.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The members that show what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shape {
    pub(super) schema_version: Option<Value>,
    pub(super) media_type: Option<String>,
    pub(super) manifests: Option<IgnoredAny>,
    pub(super) config: Option<IgnoredAny>,
    pub(super) layers: Option<IgnoredAny>,
    pub(super) fs_layers: Option<IgnoredAny>,
}

/// An index. What its entries are is looked at one by one: a broken one must not spoil the others.
#[derive(Deserialize)]
pub(super) struct Index {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) manifests: Vec<Value>,
}

/// A manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) artifact_type: String,
}

/// A descriptor (OCI image-spec, `descriptor.md`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) media_type: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) digest: String,
    pub(super) size: Option<u64>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) annotations: BTreeMap<String, Value>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) artifact_type: String,
    pub(super) platform: Option<Platform>,
}

/// The platform of an index's entry.
#[derive(Deserialize)]
pub(super) struct Platform {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) os: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) architecture: String,
    pub(super) variant: Option<String>,
}

/// The part of a configuration that shows that it is an image's (OCI image-spec, `config.md`).
#[derive(Deserialize)]
pub(super) struct Config {
    pub(super) rootfs: RootFs,
}

/// The layers that a configuration promises.
#[derive(Deserialize)]
pub(super) struct RootFs {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) diff_ids: Vec<IgnoredAny>,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
