//! Thin images: a manifest of a few KB in place of an image whose layers are in a repository.
//!
//! There are two forms:
//! - [`snapshotter_image`] keeps the **configuration byte for byte**, so image ID, DiffIDs and ChainIDs are
//!   those of the full image, and thin and full image share snapshots. Each layer becomes a placeholder, a
//!   tiny gzip tar with a `thin.json`, and carries the annotations of [`crate::label::thin_annotations`].
//!   A node that has the layers never fetches a placeholder. On any other node the pull fails, because the
//!   placeholder does not have the DiffID that the configuration promises. So a container can never start empty.
//! - [`graphdriver_image`] is DUCC's: one layer whose `thin.json` lists all layers.
//!
//! Everything here is a pure function of its arguments: the same image gives the same bytes.

use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{DiffId, Digest, Error, LayerDigest, Result, label, path};

const WHAT: &str = "image manifest";

/// Name of the only file in a placeholder layer.
const THIN_JSON: &str = "thin.json";

/// Media types of one family of manifests; a thin image stays in the family of its original.
struct MediaTypes {
    manifest: &'static str,
    config: &'static str,
    gzip_layer: &'static str,
}

const OCI: MediaTypes = MediaTypes {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    gzip_layer: "application/vnd.oci.image.layer.v1.tar+gzip",
};

const DOCKER: MediaTypes = MediaTypes {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    gzip_layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};

impl MediaTypes {
    fn of(media_type: &str) -> Result<&'static Self> {
        [&OCI, &DOCKER].into_iter().find(|family| family.manifest == media_type).ok_or_else(|| {
            Error::document(WHAT, format!("media type {media_type:?} is not an image manifest"))
        })
    }
}

/// DUCC's description of the layers behind a thin image.
///
/// JSON, indented by two spaces. `layers` runs from the base to the top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThinJson {
    /// Always `1.0`.
    pub version: String,
    /// The full image, as its publisher named it.
    pub origin: String,
    /// The layers, base first.
    pub layers: Vec<ThinLayer>,
}

/// One layer of a [`ThinJson`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThinLayer {
    /// Digest of the layer blob: 64 lower-case hex digits, without `sha256:`.
    pub digest: String,
    /// `cvmfs://<repository>/.layers/<hh>/<hex>/layerfs`.
    pub url: String,
}

impl ThinJson {
    /// Describes `layers` (base first) of the image `origin`, to be found in `repository`.
    pub fn new(origin: &str, repository: &str, layers: &[LayerDigest]) -> Self {
        let layers = layers
            .iter()
            .map(|layer| ThinLayer {
                digest: layer.hex(),
                url: format!("cvmfs://{repository}/{}", path::layerfs(layer)),
            })
            .collect();
        Self { version: "1.0".to_owned(), origin: origin.to_owned(), layers }
    }
}

/// Bytes that a registry stores under their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), bytes }
    }
}

/// A thin image, ready to be pushed: first `blobs`, then the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinImage {
    /// The manifest.
    pub manifest: Blob,
    /// Its media type.
    pub media_type: &'static str,
    /// The configuration and the placeholder layers, without repetition.
    pub blobs: Vec<Blob>,
}

/// The full image that a thin one stands for.
#[derive(Debug, Clone, Copy)]
pub struct Original<'a> {
    /// The image as its publisher named it, for people.
    pub origin: &'a str,
    /// The manifest, as the registry served it.
    pub manifest: &'a [u8],
    /// Media type of the manifest.
    pub media_type: &'a str,
    /// The configuration, as the registry served it.
    pub config: &'a [u8],
    /// Fully qualified name of the repository that holds the layers.
    pub repository: &'a str,
}

/// The thin image for nodes with the snapshotter.
///
/// # Errors
/// If the manifest is not an image manifest of Docker schema 2 or OCI.
pub fn snapshotter_image(original: &Original<'_>) -> Result<ThinImage> {
    let types = MediaTypes::of(original.media_type)?;
    let (mut manifest, layers) = parse_manifest(original.manifest)?;
    let mut blobs = vec![Blob::new(original.config.to_vec())];
    let mut descriptors = Vec::with_capacity(layers.len());
    for layer in &layers {
        let (_, placeholder) = placeholder(original, std::slice::from_ref(layer))?;
        let annotations: Map<String, Value> = label::thin_annotations(layer, original.repository)
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Value::String(value)))
            .collect();
        descriptors.push(json!({
            "mediaType": types.gzip_layer,
            "digest": placeholder.digest,
            "size": placeholder.bytes.len(),
            "annotations": annotations,
        }));
        if !blobs.contains(&placeholder) {
            blobs.push(placeholder);
        }
    }
    manifest.insert("layers".to_owned(), Value::Array(descriptors));
    finish(original, types, manifest, blobs)
}

/// The thin image that DUCC's graph driver plugins read: one layer, and the original's configuration with
/// `CVMFS_IMAGE=true` in its environment.
///
/// # Errors
/// If the manifest is not an image manifest, or the configuration not a JSON object.
pub fn graphdriver_image(original: &Original<'_>) -> Result<ThinImage> {
    let types = MediaTypes::of(original.media_type)?;
    let (mut manifest, layers) = parse_manifest(original.manifest)?;
    let (diff_id, layer) = placeholder(original, &layers)?;

    let mut config = object("image configuration", original.config)?;
    config.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": [diff_id]}));
    config.remove("history");
    let settings = config.entry("config").or_insert_with(|| json!({}));
    if settings.is_null() {
        *settings = json!({});
    }
    let environment = settings
        .as_object_mut()
        .ok_or_else(|| Error::document("image configuration", "`config` is not an object"))?
        .entry("Env")
        .or_insert_with(|| json!([]));
    if environment.is_null() {
        *environment = json!([]);
    }
    environment
        .as_array_mut()
        .ok_or_else(|| Error::document("image configuration", "`config.Env` is not a list"))?
        .insert(0, json!("CVMFS_IMAGE=true"));
    let config = Blob::new(to_json(&config)?);

    manifest.insert(
        "config".to_owned(),
        json!({"mediaType": types.config, "digest": config.digest, "size": config.bytes.len()}),
    );
    manifest.insert(
        "layers".to_owned(),
        json!([{"mediaType": types.gzip_layer, "digest": layer.digest, "size": layer.bytes.len()}]),
    );
    finish(original, types, manifest, vec![config, layer])
}

/// Adds the members that say which image a thin manifest comes from.
fn finish(
    original: &Original<'_>,
    types: &MediaTypes,
    mut manifest: Map<String, Value>,
    blobs: Vec<Blob>,
) -> Result<ThinImage> {
    let digest = Digest::of(original.manifest);
    // OCI image-spec, `manifest.md`, "subject": lists the thin image among the referrers of the full one.
    manifest.insert(
        "subject".to_owned(),
        json!({
            "mediaType": original.media_type,
            "digest": digest,
            "size": original.manifest.len(),
        }),
    );
    manifest.insert("mediaType".to_owned(), json!(types.manifest));
    let annotations = manifest.entry("annotations").or_insert_with(|| json!({}));
    if annotations.is_null() {
        *annotations = json!({});
    }
    let (key, value) = label::thin_origin(&digest);
    annotations
        .as_object_mut()
        .ok_or_else(|| Error::document(WHAT, "`annotations` is not an object"))?
        .insert(key.to_owned(), Value::String(value));
    let manifest = Blob::new(to_json(&manifest)?);
    Ok(ThinImage { manifest, media_type: types.manifest, blobs })
}

fn object(what: &'static str, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|error| Error::document(what, error.to_string()))
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::document("JSON", error.to_string()))
}

/// The manifest as an object, and the digests of its layers, base first.
fn parse_manifest(bytes: &[u8]) -> Result<(Map<String, Value>, Vec<LayerDigest>)> {
    let manifest = object(WHAT, bytes)?;
    let layers = manifest
        .get("layers")
        .and_then(Value::as_array)
        .ok_or_else(|| Error::document(WHAT, "`layers` is not a list"))?;
    let digests = layers.iter().map(|layer| {
        layer
            .get("digest")
            .and_then(Value::as_str)
            .ok_or_else(|| Error::document(WHAT, "a layer has no digest"))?
            .parse()
    });
    let digests = digests.collect::<Result<Vec<LayerDigest>>>()?;
    Ok((manifest, digests))
}

/// A gzip tar with one `thin.json` that names `layers`, and the DiffID of the tar.
fn placeholder(original: &Original<'_>, layers: &[LayerDigest]) -> Result<(DiffId, Blob)> {
    let failed = |error: std::io::Error| Error::document("placeholder layer", error.to_string());
    let content = to_json(&ThinJson::new(original.origin, original.repository, layers))?;
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, THIN_JSON, content.as_slice()).map_err(failed)?;
    let archive = archive.into_inner().map_err(failed)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&archive).map_err(failed)?;
    Ok((Digest::of(&archive).into(), Blob::new(gzip.finish().map_err(failed)?)))
}

#[cfg(test)]
mod tests;
