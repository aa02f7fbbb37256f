//! Reads indexes and manifests. Pure: bytes in, checked descriptors out.
//!
//! OCI image-spec, `image-index.md` and `manifest.md`, and Docker's compatible formats (image manifest
//! version 2, schema 2). Digests and sizes decide, formalities do not: a document is what its members make it, and
//! media types only have to leave that possible. Registries have images whose media types are missing or odd; what
//! containerd and Docker make of them was the model. A document that could be read as an index *and* as a manifest is
//! refused, because two readers would see two images (OCI image-spec advisory GHSA-77vh-xpmg-72qh).
//!
//! | module | what it is for |
//! |---|---|
//! | [`json`] | the JSON |
//! | [`nest`] | indexes that lead to indexes |
//! | [`choice`] | the image for a platform |
//! | [`error`] | what is wrong with a document |

mod choice;
mod error;
mod json;
mod nest;

use bytes::Bytes;
use layer_layout::{Digest, Platform};
use serde::Deserialize as _;
use serde_json::Value;

pub(super) use self::choice::{Choice, choose};
pub use self::error::DocumentError;
pub(super) use self::error::Unfit;
pub(super) use self::nest::Nest;
use super::image::{Descriptor, Document, LayerDescriptor};
use super::media_type::{self, DocumentKind, LayerRefusal};

/// The largest index or manifest that is read, in bytes (OCI distribution-spec, "Pushing manifests": a
/// registry should take at least 4 MiB, and most take no more).
pub(super) const MANIFEST_LIMIT: u64 = 4 << 20;

/// The largest configuration that is read, in bytes. It is held in memory; real ones have a few kilobytes.
pub(super) const CONFIG_LIMIT: u64 = 8 << 20;

/// Docker BuildKit's annotation on entries that describe another entry and are not images.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// The annotation with which a layout tags images (OCI image-spec, `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A parsed document.
#[derive(Debug)]
pub(super) enum Parsed {
    Index(Index),
    Manifest(Manifest),
}

/// An index.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Its images.
    pub(super) entries: Vec<IndexEntry>,
    /// Entries that would be images if they were not broken.
    pub(super) unusable: Vec<Unusable>,
}

/// An image in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// May be empty.
    pub(super) media_type: String,
    /// `None` if operating system or architecture are missing: the configuration knows better.
    pub(super) platform: Option<Platform>,
    /// The annotation `org.opencontainers.image.ref.name`, which tags images in a layout.
    pub(super) ref_name: Option<String>,
}

/// An entry of an index that cannot be used.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) platform: Option<Platform>,
    reason: String,
}

impl Unusable {
    fn error(&self) -> DocumentError {
        let platform = self.platform.as_ref();
        DocumentError::Entry {
            platform: platform.map_or("an untold platform".to_owned(), Platform::to_string),
            reason: self.reason.clone(),
        }
    }
}

/// An image manifest whose descriptors have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<LayerDescriptor>,
    /// What the manifest says it describes, if that is not an image. It may be one all the same: see
    /// [`Manifest::is_image`].
    pub(super) doubt: Option<String>,
}

impl Manifest {
    /// Whether this is the manifest of an image, now that its configuration has been read.
    pub(super) fn is_image(&self, config: &[u8]) -> bool {
        let promised = || serde_json::from_slice::<json::Config>(config).map(|it| it.rootfs);
        self.doubt.is_none()
            || promised().is_ok_and(|rootfs| rootfs.diff_ids.len() == self.layers.len())
    }
}

/// Makes a document of what a source served. `declared` is the media type according to the source, from a
/// `Content-Type` header or a descriptor. It may be generic or missing, but it must not say that an index is a manifest or
/// the reverse.
pub(super) fn document(declared: Option<&str>, bytes: Bytes) -> Result<Document, DocumentError> {
    let shape: json::Shape = serde_json::from_slice(&bytes).map_err(DocumentError::NotAManifest)?;
    let declared = declared.map(media_type::essence).unwrap_or_default();
    let own = shape.media_type.as_deref().map(media_type::essence).unwrap_or_default();
    let has_image = shape.config.is_some() || shape.layers.is_some();
    if shape.manifests.is_some() && has_image {
        return Err(DocumentError::IndexAndManifest);
    }
    let is_first_schema = |media_type: &String| {
        DocumentKind::of(media_type) == Some(DocumentKind::Schema1)
            || shape.schema_version.as_ref().is_some_and(|version| version == 1)
    };
    let is_empty = shape.manifests.is_none() && !has_image;
    if shape.fs_layers.is_some() || (is_empty && [&declared, &own].into_iter().any(is_first_schema))
    {
        return Err(DocumentError::Schema1);
    }
    let known = |media_type: &String| match DocumentKind::of(media_type)? {
        DocumentKind::Schema1 => None,
        kind => Some(kind),
    };
    if let (Some(served), Some(called)) = (known(&declared), known(&own))
        && served != called
    {
        return Err(DocumentError::MediaTypes { declared, own });
    }
    let media_type = match [&declared, &own].into_iter().find(|it| known(it).is_some()) {
        Some(media_type) => media_type.clone(),
        // Before OCI 1.1 `mediaType` was optional.
        None if shape.manifests.is_some() => media_type::OCI_INDEX.to_owned(),
        None if has_image => media_type::OCI_MANIFEST.to_owned(),
        None if own.is_empty() => return Err(DocumentError::NoImage),
        None => return Err(DocumentError::MediaType(own.clone())),
    };
    match DocumentKind::of(&media_type) {
        Some(DocumentKind::Index) if has_image => Err(DocumentError::NoManifests(media_type)),
        Some(DocumentKind::Manifest) if shape.config.is_none() => {
            Err(DocumentError::NoConfig(media_type))
        }
        _ => Ok(Document::new(bytes, &media_type)),
    }
}

/// Reads a document that [`document`] made.
pub(super) fn parse(document: &Document) -> Result<Parsed, Unfit> {
    if DocumentKind::of(&document.media_type) == Some(DocumentKind::Index) {
        return Ok(Parsed::Index(index(&document.bytes)?));
    }
    manifest(&document.bytes).map(Parsed::Manifest)
}

/// Reads the manifest of an image.
fn manifest(bytes: &[u8]) -> Result<Manifest, Unfit> {
    let manifest: json::Manifest = serde_json::from_slice(bytes).map_err(DocumentError::Json)?;
    let json::Manifest { config, layers, artifact_type } = manifest;
    let config_type = media_type::essence(&config.media_type);
    let is_certain = media_type::is_image_config(&config_type);
    let refusals: Vec<Option<LayerRefusal>> =
        layers.iter().map(|layer| media_type::layer_refusal(&layer.media_type)).collect();
    let mut doubt = None;
    if !is_certain {
        let kind = [artifact_type, config_type].into_iter().find(|kind| !kind.is_empty());
        let kind = kind.unwrap_or_else(|| "something without a media type".to_owned());
        let is_other = refusals.contains(&Some(LayerRefusal::NotALayer))
            || media_type::is_no_config(&config.media_type)
            // Nothing speaks for an image.
            || (refusals.is_empty() && !media_type::is_generic(&config.media_type));
        if is_other {
            return Err(DocumentError::Artifact(kind).into());
        }
        doubt = Some(kind);
    }
    let size = size_of(&config, "the configuration")?;
    if size > CONFIG_LIMIT {
        return Err(Unfit::ConfigTooLarge(CONFIG_LIMIT));
    }
    let config =
        Descriptor { digest: digest(&config)?.into(), size, media_type: config.media_type };
    let layer = |(layer, refusal): (json::Descriptor, Option<LayerRefusal>)| {
        let (digest, size) = (digest(&layer)?.into(), size_of(&layer, &layer.digest)?);
        let media_type = layer.media_type;
        match refusal {
            Some(reason) => Err(Unfit::Layer { layer: digest, media_type, reason }),
            None => Ok(LayerDescriptor { digest, size, media_type }),
        }
    };
    let layers = layers.into_iter().zip(refusals).map(layer).collect::<Result<_, _>>()?;
    Ok(Manifest { config, layers, doubt })
}

/// The images of an index, without the entries that are not images.
pub(super) fn index(bytes: &[u8]) -> Result<Index, DocumentError> {
    let json: json::Index = serde_json::from_slice(bytes).map_err(DocumentError::Json)?;
    let mut index = Index::default();
    for entry in json.manifests {
        match json::Descriptor::deserialize(entry) {
            Err(error) => {
                index.unusable.push(Unusable { platform: None, reason: error.to_string() });
            }
            Ok(entry) if is_image(&entry) => {
                let platform = entry.platform.as_ref().and_then(platform);
                match digest(&entry)
                    .and_then(|digest| Ok((digest, size_of(&entry, &entry.digest)?)))
                {
                    Ok((digest, size)) => index.entries.push(IndexEntry {
                        digest,
                        size,
                        media_type: media_type::essence(&entry.media_type),
                        platform,
                        ref_name: annotation(&entry, REF_NAME).map(str::to_owned),
                    }),
                    Err(error) => {
                        index.unusable.push(Unusable { platform, reason: error.to_string() });
                    }
                }
            }
            Ok(_) => {}
        }
    }
    Ok(index)
}

fn is_image(entry: &json::Descriptor) -> bool {
    let unknown = entry
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown");
    // The list of an image's referrers is an index, too.
    let artifact =
        !entry.artifact_type.is_empty() && !media_type::is_image_config(&entry.artifact_type);
    let media_type = media_type::essence(&entry.media_type);
    let leads_to_a_manifest = media_type.is_empty() || DocumentKind::of(&media_type).is_some();
    !entry.annotations.contains_key(ATTESTATION) && !unknown && !artifact && leads_to_a_manifest
}

fn platform(platform: &json::Platform) -> Option<Platform> {
    let json::Platform { os, architecture, variant } = platform;
    let is_complete = !os.is_empty() && !architecture.is_empty();
    is_complete.then(|| Platform::new(os, architecture, variant.as_deref()))
}

fn annotation<'a>(descriptor: &'a json::Descriptor, name: &str) -> Option<&'a str> {
    descriptor.annotations.get(name).and_then(Value::as_str)
}

/// Whether an index leads to a manifest of an image. What is no index leads nowhere.
pub fn lists(index: &[u8], manifest: &Digest) -> bool {
    self::index(index)
        .is_ok_and(|index| index.entries.iter().any(|entry| entry.digest == *manifest))
}

fn digest(descriptor: &json::Descriptor) -> Result<Digest, DocumentError> {
    let text = &descriptor.digest;
    text.parse().map_err(|error| match text.split_once(':') {
        // The algorithms that OCI image-spec, `descriptor.md`, registers besides.
        Some((algorithm @ ("sha512" | "sha384" | "blake3"), _)) => {
            DocumentError::DigestAlgorithm(algorithm.to_owned())
        }
        _ => DocumentError::Digest(error),
    })
}

fn size_of(descriptor: &json::Descriptor, what: &str) -> Result<u64, DocumentError> {
    descriptor.size.ok_or_else(|| DocumentError::NoSize(what.to_owned()))
}

#[cfg(test)]
mod tests;
