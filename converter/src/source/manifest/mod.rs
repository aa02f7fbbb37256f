//! Reads indexes and manifests. Pure: bytes in, checked descriptors out.
//!
//! OCI image-spec, `image-index.md` and `manifest.md`, and Docker's compatible formats (image manifest
//! version 2, schema 2). A document that could be read as an index *and* as a manifest is refused, because
//! two readers would see two images (OCI image-spec advisory GHSA-77vh-xpmg-72qh).

use bytes::Bytes;
use layer_layout::{Digest, Platform};
use oci_spec::image::{Descriptor as OciDescriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::error::{DocumentError, Error, Part, Result};
use super::image::{Descriptor, Document, LayerDescriptor};
use super::media_type::{self, DocumentKind};

/// The largest index or manifest that is read, in bytes (OCI distribution-spec, "Pushing manifests": a
/// registry should take at least 4 MiB, and most take no more).
pub(super) const MANIFEST_LIMIT: u64 = 4 << 20;

/// The largest configuration that is read, in bytes. It is held in memory; real ones have a few kilobytes.
pub(super) const CONFIG_LIMIT: u64 = 8 << 20;

/// Docker BuildKit's annotation on entries that describe another entry and are not images.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// A parsed document.
#[derive(Debug)]
pub(super) enum Parsed {
    Index(Vec<IndexEntry>),
    Manifest(Manifest),
}

/// An image in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) media_type: String,
    pub(super) platform: Option<Platform>,
    /// The annotation `org.opencontainers.image.ref.name`, which tags images in a layout.
    pub(super) ref_name: Option<String>,
}

/// An image manifest whose descriptors have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<LayerDescriptor>,
}

/// The members that show what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<serde_json::Value>,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Makes a document of what a source served. `declared` is the media type according to the source, from a
/// `Content-Type` header or a descriptor. It must not contradict the document itself.
pub(super) fn document(image: &str, declared: Option<&str>, bytes: Bytes) -> Result<Document> {
    let refuse = |reason: DocumentError| refused(image, Part::Manifest, reason);
    let shape: Shape = serde_json::from_slice(&bytes)
        .map_err(|error| refuse(DocumentError::NotAManifest(error)))?;
    // A `Content-Type` may carry parameters, and simple servers send a generic one.
    let declared = declared
        .map(|text| text.split_once(';').map_or(text, |(media_type, _)| media_type))
        .map(|media_type| media_type.trim().to_ascii_lowercase())
        .filter(|text| DocumentKind::of(text).is_some());

    if shape.fs_layers.is_some()
        || shape.schema_version.as_ref().is_some_and(|version| version == 1)
        || declared.as_deref().and_then(DocumentKind::of) == Some(DocumentKind::Schema1)
    {
        return Err(refuse(DocumentError::Schema1));
    }
    if shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some()) {
        return Err(refuse(DocumentError::IndexAndManifest));
    }
    if let (Some(declared), Some(own)) = (&declared, &shape.media_type)
        && declared != own
    {
        let (declared, own) = (declared.clone(), own.clone());
        return Err(refuse(DocumentError::MediaTypes { declared, own }));
    }
    let media_type = match declared.or(shape.media_type) {
        Some(media_type) => media_type,
        // Before OCI 1.1 `mediaType` was optional.
        None if shape.manifests.is_some() => media_type::OCI_INDEX.to_owned(),
        None if shape.layers.is_some() => media_type::OCI_MANIFEST.to_owned(),
        None => return Err(refuse(DocumentError::NoImage)),
    };
    match DocumentKind::of(&media_type) {
        Some(DocumentKind::Index) if shape.manifests.is_none() => {
            Err(refuse(DocumentError::NoManifests(media_type)))
        }
        Some(DocumentKind::Manifest) if shape.config.is_none() => {
            Err(refuse(DocumentError::NoConfig(media_type)))
        }
        Some(_) => Ok(Document::new(bytes, &media_type)),
        None => Err(refuse(DocumentError::MediaType(media_type))),
    }
}

/// Reads a document that [`document`] made.
pub(super) fn parse(image: &str, document: &Document) -> Result<Parsed> {
    if DocumentKind::of(&document.media_type) == Some(DocumentKind::Index) {
        return entries(image, &document.bytes).map(Parsed::Index);
    }
    let manifest: ImageManifest = serde_json::from_slice(&document.bytes)
        .map_err(|error| refused(image, Part::Manifest, DocumentError::Json(error)))?;
    let config = manifest.config();
    if !media_type::is_image_config(config.media_type().as_ref()) {
        let kind = manifest.artifact_type().as_ref().unwrap_or(config.media_type());
        return Err(refused(image, Part::Manifest, DocumentError::Artifact(kind.to_string())));
    }
    if config.size() > CONFIG_LIMIT {
        let image = image.to_owned();
        return Err(Error::TooLarge { image, part: Part::Config, limit: CONFIG_LIMIT });
    }
    let config = Descriptor {
        digest: digest(image, Part::Manifest, config)?.into(),
        size: config.size(),
        media_type: config.media_type().to_string(),
    };
    let layers = manifest.layers().iter().map(|layer| {
        let media_type = layer.media_type().to_string();
        let digest = digest(image, Part::Manifest, layer)?.into();
        if let Some(reason) = media_type::layer_refusal(&media_type) {
            let image = image.to_owned();
            return Err(Error::LayerType { image, layer: digest, media_type, reason });
        }
        Ok(LayerDescriptor { digest, size: layer.size(), media_type })
    });
    Ok(Parsed::Manifest(Manifest { config, layers: layers.collect::<Result<_>>()? }))
}

/// The images of an index, without the entries that are not images.
pub(super) fn entries(image: &str, bytes: &[u8]) -> Result<Vec<IndexEntry>> {
    let index: ImageIndex = serde_json::from_slice(bytes)
        .map_err(|error| refused(image, Part::Index, DocumentError::Json(error)))?;
    let is_image = |entry: &&OciDescriptor| {
        let attestation = entry
            .annotations()
            .as_ref()
            .is_some_and(|annotations| annotations.contains_key(ATTESTATION));
        let unknown = entry.platform().as_ref().is_some_and(|platform| {
            platform.os().to_string() == "unknown"
                && platform.architecture().to_string() == "unknown"
        });
        // The list of an image's referrers is an index, too.
        let artifact = entry
            .artifact_type()
            .as_ref()
            .is_some_and(|artifact| !media_type::is_image_config(artifact.as_ref()));
        let manifest = DocumentKind::of(entry.media_type().as_ref()).is_some();
        !attestation && !unknown && !artifact && manifest
    };
    let entry = |entry: &OciDescriptor| {
        let platform = entry.platform().as_ref().map(|platform| {
            let (os, architecture) =
                (platform.os().to_string(), platform.architecture().to_string());
            Platform::new(&os, &architecture, platform.variant().as_deref())
        });
        Ok(IndexEntry {
            digest: digest(image, Part::Index, entry)?,
            size: entry.size(),
            media_type: entry.media_type().to_string(),
            platform,
            ref_name: entry
                .annotations()
                .as_ref()
                .and_then(|annotations| annotations.get(oci_spec::image::ANNOTATION_REF_NAME))
                .cloned(),
        })
    };
    index.manifests().iter().filter(is_image).map(entry).collect()
}

/// Whether an index leads to a manifest of an image. What is no index leads nowhere.
pub fn lists(index: &[u8], manifest: &Digest) -> bool {
    entries("", index).is_ok_and(|entries| entries.iter().any(|entry| entry.digest == *manifest))
}

/// The entry for a platform. The base variant, which runs everywhere, is preferred; otherwise the first entry
/// that fits is taken. An entry that names no platform is taken only if it is the only entry.
pub(super) fn choose<'a>(
    image: &str,
    entries: impl IntoIterator<Item = &'a IndexEntry>,
    wanted: &Platform,
) -> Result<&'a IndexEntry> {
    let entries: Vec<&IndexEntry> = entries.into_iter().collect();
    if let [only @ IndexEntry { platform: None, .. }] = entries[..] {
        return Ok(only);
    }
    let offers = || entries.iter().filter_map(|&entry| Some((entry, entry.platform.as_ref()?)));
    let accepted = || offers().filter(|(_, platform)| wanted.accepts(platform));
    let chosen = accepted()
        .find(|(_, platform)| platform.is_base_variant())
        .or_else(|| accepted().next())
        .map(|(entry, _)| entry);
    chosen.ok_or_else(|| Error::Platform {
        image: image.to_owned(),
        wanted: Box::new(wanted.clone()),
        available: offers().map(|(_, platform)| platform.clone()).collect(),
    })
}

fn digest(image: &str, part: Part, descriptor: &OciDescriptor) -> Result<Digest> {
    let digest = descriptor.digest().to_string();
    digest.parse().map_err(|error| refused(image, part, DocumentError::Digest(error)))
}

fn refused(image: &str, part: Part, reason: DocumentError) -> Error {
    Error::Document { image: image.to_owned(), part, reason: Box::new(reason) }
}

#[cfg(test)]
mod tests;
