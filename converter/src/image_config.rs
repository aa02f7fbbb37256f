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
    /// What about it may surprise elsewhere, for people.
    pub remarks: Vec<String>,
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
    env: Vec<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    entrypoint: Words,
    #[serde(default, deserialize_with = "nullable")]
    cmd: Words,
    #[serde(default, deserialize_with = "nullable")]
    labels: BTreeMap<String, Option<String>>,
}

/// A command. OCI image-spec, `config.md`: a list. Docker (`strslice`) also takes a text, for its only word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    List(Vec<Option<String>>),
    Text(String),
}

impl Default for Words {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Words {
    /// The words. What is not a list is remarked.
    fn read(self, name: &str, remarks: &mut Vec<String>) -> Vec<String> {
        match self {
            Self::List(words) => words.into_iter().map(Option::unwrap_or_default).collect(),
            Self::Text(text) => {
                remarks.push(format!(
                    "the configuration has {name} as a text instead of a list; it is taken as one word, as Docker does, \
                     and containerd and Podman refuse the image"
                ));
                if text.is_empty() { Vec::new() } else { vec![text] }
            }
        }
    }
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
        let mut remarks = Vec::new();
        let labels = config.labels.into_iter();
        Ok(Self {
            platform: Platform::new(&os, &architecture, variant.as_deref()),
            diff_ids: rootfs.diff_ids,
            env: config.env.into_iter().flatten().collect(),
            entrypoint: config.entrypoint.read("Entrypoint", &mut remarks),
            cmd: config.cmd.read("Cmd", &mut remarks),
            labels: labels.map(|(name, value)| (name, value.unwrap_or_default())).collect(),
            remarks,
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
    fn commands_that_are_no_lists() {
        for (config, entrypoint, cmd, remarks) in [
            (r#"{"Cmd":"echo a b"}"#, &[][..], &["echo a b"][..], &["Cmd"][..]),
            (r#"{"Entrypoint":"/e","Cmd":""}"#, &["/e"], &[], &["Entrypoint", "Cmd"]),
            (r#"{"Entrypoint":["/e",null],"Cmd":[]}"#, &["/e", ""], &[], &[]),
            (r#"{"Env":["A=b",null],"Labels":{"k":null}}"#, &[], &[], &[]),
        ] {
            let text = format!(r#"{{"config":{config},"rootfs":{{}}}}"#);
            let parsed = ImageConfig::parse(text.as_bytes()).unwrap();
            assert_eq!(parsed.entrypoint, entrypoint, "{config}");
            assert_eq!(parsed.cmd, cmd, "{config}");
            assert_eq!(parsed.remarks.len(), remarks.len(), "{config}");
            for (remark, name) in parsed.remarks.iter().zip(remarks) {
                assert!(remark.contains(&format!("has {name} as a text")), "{remark}");
            }
        }
        for config in [r#"{"Cmd":7}"#, r#"{"Entrypoint":{"a":"b"}}"#, r#"{"Cmd":[7]}"#] {
            let text = format!(r#"{{"config":{config},"rootfs":{{}}}}"#);
            assert!(ImageConfig::parse(text.as_bytes()).is_err(), "{config}");
        }
    }

    /// 4 MiB, as BuildKit writes them for images of many small steps.
    #[test]
    fn a_long_history_is_no_matter() {
        let step = format!(r#"{{"created_by":"{}","empty_layer":true}}"#, "x".repeat(400));
        let history = vec![step; 10_000].join(",");
        let text = format!(
            r#"{{"os":"linux","architecture":"amd64","history":[{history}],"rootfs":{{"diff_ids":null}}}}"#
        );
        assert!(text.len() > 4 << 20);
        assert_eq!(ImageConfig::parse(text.as_bytes()).unwrap().diff_ids, []);
    }

    #[test]
    fn rejects_what_has_no_layers_member() {
        for text in ["", "[]", "{}", r#"{"rootfs":{"diff_ids":["sha256:1"]}}"#] {
            assert!(ImageConfig::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
