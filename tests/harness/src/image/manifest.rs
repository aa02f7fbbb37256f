//! An image: its layers, config and manifest, in either format.

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use super::Artifact;
use super::blob::Blob;
use super::layer::{Compression, Layer};

/// Which family of media types an image uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// OCI image-spec.
    #[default]
    Oci,
    /// Docker's image manifest version 2, schema 2.
    Docker,
}

/// How to run an image, and its platform.
#[derive(Debug, Clone)]
pub struct Config {
    /// Entry point; empty for none.
    pub entrypoint: Vec<String>,
    /// Command; empty for none.
    pub cmd: Vec<String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; empty for none.
    pub working_dir: String,
    /// User; empty for root.
    pub user: String,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Operating system, under Go's name for it.
    pub os: String,
    /// Architecture, under Go's name for it.
    pub architecture: String,
    /// Variant of the architecture; empty for none.
    pub variant: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            entrypoint: Vec::new(),
            cmd: vec!["/bin/sh".to_owned()],
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            ],
            working_dir: String::new(),
            user: String::new(),
            labels: Vec::new(),
            os: "linux".to_owned(),
            architecture: host_architecture().to_owned(),
            variant: String::new(),
        }
    }
}

/// The host's architecture under Go's name for it, as in images.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Config {
    /// With this command and no entry point.
    pub fn with_cmd<S: Into<String>>(cmd: impl IntoIterator<Item = S>) -> Self {
        Self { cmd: cmd.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The platform object of a descriptor in an index.
    pub(super) fn platform(&self) -> Value {
        let mut platform = json!({"os": self.os, "architecture": self.architecture});
        if let (false, Some(object)) = (self.variant.is_empty(), platform.as_object_mut()) {
            object.insert("variant".to_owned(), json!(self.variant));
        }
        platform
    }

    fn document(&self, layers: &[Layer]) -> Value {
        let mut run = Map::new();
        let mut set = |key: &str, value: Value| run.insert(key.to_owned(), value);
        set("Env", json!(self.env));
        if !self.entrypoint.is_empty() {
            set("Entrypoint", json!(self.entrypoint));
        }
        if !self.cmd.is_empty() {
            set("Cmd", json!(self.cmd));
        }
        if !self.working_dir.is_empty() {
            set("WorkingDir", json!(self.working_dir));
        }
        if !self.user.is_empty() {
            set("User", json!(self.user));
        }
        if !self.labels.is_empty() {
            set(
                "Labels",
                self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect(),
            );
        }
        let mut document = self.platform();
        if let Some(object) = document.as_object_mut() {
            object.insert("config".to_owned(), Value::Object(run));
            object.insert("created".to_owned(), json!("2024-01-01T00:00:00Z"));
            let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
            object.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
            let history = layers
                .iter()
                .map(|_| json!({"created": "2024-01-01T00:00:00Z", "created_by": "e2e"}));
            object.insert("history".to_owned(), history.collect());
        }
        document
    }
}

/// A finished image for one platform.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest.
    pub manifest: Blob,
    /// The config; its digest is the image ID.
    pub config: Blob,
    /// The layers, base first, with the media types of the manifest.
    pub layers: Vec<Layer>,
    /// How it runs.
    pub settings: Config,
    /// Media types.
    pub format: Format,
}

impl Image {
    /// Builds an image from `layers`, base first.
    pub fn new(format: Format, settings: Config, layers: &[Layer]) -> Result<Self> {
        let mut layers = layers.to_vec();
        for layer in &mut layers {
            layer.blob.media_type = match format {
                Format::Oci => layer.compression.oci_type(),
                Format::Docker => layer.compression.docker_type(),
            }
            .to_owned();
        }
        let config_type = match format {
            Format::Oci => "application/vnd.oci.image.config.v1+json",
            Format::Docker => "application/vnd.docker.container.image.v1+json",
        };
        let config = Blob::from_json(config_type, &settings.document(&layers))?;
        let manifest_type = match format {
            Format::Oci => "application/vnd.oci.image.manifest.v1+json",
            Format::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        };
        let descriptors: Vec<Value> = layers.iter().map(|layer| layer.blob.descriptor()).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": config.descriptor(), "layers": descriptors,
        });
        let manifest = Blob::from_json(manifest_type, &manifest)?;
        Ok(Self { manifest, config, layers, settings, format })
    }

    /// A new image with more layers on top of this one's, as with `FROM`.
    pub fn derive(&self, settings: Config, more: &[Layer]) -> Result<Self> {
        Self::new(self.format, settings, &[self.layers.as_slice(), more].concat())
    }

    /// Total size of the layer blobs in bytes; a layer that occurs twice counts once.
    pub fn layer_bytes(&self) -> u64 {
        let sizes: std::collections::BTreeMap<_, _> =
            self.layers.iter().map(|layer| (&layer.blob.digest, layer.blob.size)).collect();
        sizes.values().sum()
    }

    /// Reads manifest, config and layers back; `open` finds blobs by digest.
    pub(super) fn from_manifest(
        manifest: Blob,
        open: impl Fn(&Value) -> Result<Blob>,
    ) -> Result<Self> {
        let document = manifest.json()?;
        let config = open(&document["config"])?;
        let about = config.json()?;
        let empty = Vec::new();
        let descriptors = document["layers"].as_array().unwrap_or(&empty);
        let diff_ids = about["rootfs"]["diff_ids"].as_array().unwrap_or(&empty);
        ensure!(
            descriptors.len() == diff_ids.len(),
            "{}: layers and diff_ids differ in number",
            manifest.digest
        );
        let layers = descriptors
            .iter()
            .zip(diff_ids)
            .map(|(descriptor, diff_id)| {
                let blob = open(descriptor)?;
                let compression = match blob.media_type.rsplit(['.', '+']).next() {
                    Some("gzip") => Compression::Gzip,
                    Some("zstd") => Compression::Zstd,
                    _ => Compression::None,
                };
                // Only the builder knows the size of the tar.
                Ok(Layer { diff_id: text(diff_id), compression, tar_size: 0, blob })
            })
            .collect::<Result<Vec<_>>>()?;
        let run = &about["config"];
        let settings = Config {
            entrypoint: texts(&run["Entrypoint"]),
            cmd: texts(&run["Cmd"]),
            env: texts(&run["Env"]),
            working_dir: text(&run["WorkingDir"]),
            user: text(&run["User"]),
            labels: Vec::new(),
            os: text(&about["os"]),
            architecture: text(&about["architecture"]),
            variant: text(&about["variant"]),
        };
        let format =
            if manifest.media_type.contains("docker") { Format::Docker } else { Format::Oci };
        Ok(Self { manifest, config, layers, settings, format })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

impl Artifact for Image {
    fn top(&self) -> &Blob {
        &self.manifest
    }

    fn blobs(&self) -> Vec<&Blob> {
        std::iter::once(&self.config).chain(self.layers.iter().map(|layer| &layer.blob)).collect()
    }

    fn manifests(&self) -> Vec<&Blob> {
        Vec::new()
    }
}
