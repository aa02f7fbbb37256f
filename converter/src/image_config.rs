//! What the conversion needs from an image's configuration (OCI image-spec, `config.md`).
//!
//! Only these members are read, and leniently (`null` counts as absent): a member that is not used here must
//! not make an image unpublishable. The bytes themselves are kept and published unchanged.

use std::collections::BTreeMap;

use layer_layout::{DiffId, Platform};
use serde::{Deserialize, Deserializer};

/// The parsed members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// What the image runs on.
    pub platform: Platform,
    /// The uncompressed layers, base first.
    pub diff_ids: Vec<DiffId>,
    /// `NAME=value` entries.
    pub env: Vec<String>,
    /// The command that always runs.
    pub entrypoint: Vec<String>,
    /// Its default arguments, or the default command.
    pub cmd: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default, deserialize_with = "nullable")]
    os: String,
    #[serde(default, deserialize_with = "nullable")]
    architecture: String,
    variant: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    config: Settings,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    #[serde(default, deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    cmd: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "nullable")]
    diff_ids: Vec<DiffId>,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl ImageConfig {
    /// Parses a configuration.
    ///
    /// # Errors
    /// If it is not a JSON object with `rootfs.diff_ids`.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let document: Document = serde_json::from_slice(bytes)?;
        let Document { os, architecture, variant, config, rootfs } = document;
        Ok(Self {
            platform: Platform::new(&os, &architecture, variant.as_deref()),
            diff_ids: rootfs.diff_ids,
            env: config.env,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            labels: config.labels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_absence_and_the_rest_is_not_looked_at() {
        let empty = br#"{"os":"linux","architecture":"amd64","config":null,"history":7,
            "rootfs":{"type":"layers","diff_ids":null}}"#;
        let nulls = br#"{"os":"linux","architecture":"amd64","created":"yesterday",
            "config":{"Env":null,"Entrypoint":null,"Cmd":null,"Labels":null,"User":{}},
            "rootfs":{"diff_ids":[]}}"#;
        let parsed = ImageConfig::parse(empty).unwrap();
        assert_eq!(parsed.platform.to_string(), "linux/amd64");
        assert_eq!(ImageConfig::parse(nulls).unwrap(), parsed);
    }

    #[test]
    fn members_are_read() {
        let diff = layer_layout::Digest::of(b"x");
        let text = format!(
            r#"{{"os":"linux","architecture":"arm64","variant":"v8","rootfs":{{"diff_ids":["{diff}"]}},
            "config":{{"Env":["A=b"],"Entrypoint":["/e"],"Cmd":["c"],"Labels":{{"k":"v"}}}}}}"#
        );
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.platform.to_string(), "linux/arm64/v8");
        assert_eq!(config.diff_ids, [DiffId::from(diff)]);
        assert_eq!((config.env, config.entrypoint), (vec!["A=b".into()], vec!["/e".into()]));
        assert_eq!((config.cmd, config.labels["k"].as_str()), (vec!["c".into()], "v"));
    }

    #[test]
    fn rejects_what_has_no_layers_member() {
        for text in ["", "[]", "{}", r#"{"rootfs":{"diff_ids":["sha256:1"]}}"#] {
            assert!(ImageConfig::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
