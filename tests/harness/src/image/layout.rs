//! OCI image layout directories (image-spec, `image-layout.md`).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Artifact;
use super::blob::Blob;
use super::manifest::Image;

/// The annotation that names an entry of a layout's index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Adds `artifact` to the layout `dir` under `tag`; the layout is created if it does not exist.
pub fn write_layout(dir: &Path, tag: &str, artifact: &dyn Artifact) -> Result<()> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    for blob in artifact.blobs().into_iter().chain(artifact.manifests()).chain([artifact.top()]) {
        let path = blobs.join(blob.hex());
        if !path.exists() {
            let mut file =
                File::create(&path).with_context(|| format!("making {}", path.display()))?;
            io::copy(&mut blob.open()?, &mut file)?;
        }
    }
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index_file = dir.join("index.json");
    let mut manifests = match fs::read(&index_file) {
        Ok(bytes) => serde_json::from_slice::<Value>(&bytes)?["manifests"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    manifests.retain(|descriptor| descriptor["annotations"][REF_NAME] != tag);
    let mut descriptor = artifact.top().descriptor();
    descriptor["annotations"] = json!({REF_NAME: tag});
    manifests.push(descriptor);
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    fs::write(index_file, serde_json::to_vec_pretty(&index)?)?;
    Ok(())
}

/// The single-platform image `tag` of the layout `dir`.
pub fn read_layout(dir: &Path, tag: &str) -> Result<Image> {
    let file = dir.join("index.json");
    let index: Value = serde_json::from_slice(
        &fs::read(&file).with_context(|| format!("reading {}", file.display()))?,
    )?;
    let descriptor = index["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|descriptor| descriptor["annotations"][REF_NAME] == tag)
        .with_context(|| format!("{} has no image {tag}", dir.display()))?;
    let open = |descriptor: &Value| -> Result<Blob> {
        let field = |name: &str| {
            descriptor[name].as_str().with_context(|| format!("a descriptor without {name}"))
        };
        let digest = field("digest")?;
        let hex = digest
            .strip_prefix("sha256:")
            .with_context(|| format!("{digest} is not a sha256 digest"))?;
        let size = descriptor["size"].as_u64().context("a descriptor without size")?;
        Ok(Blob::from_file(
            field("mediaType")?,
            digest.to_owned(),
            size,
            dir.join("blobs/sha256").join(hex),
        ))
    };
    Image::from_manifest(open(descriptor)?, open)
}
