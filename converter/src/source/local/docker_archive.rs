//! What `docker save` writes.
//!
//! `manifest.json` (Moby's image specification 1.2, "Combined Image JSON + Filesystem Changeset Format")
//! names the configuration, tags and layers of each image. Up to Docker 24 a layer is `<id>/layer.tar`,
//! uncompressed, and identical ones are linked; since Docker 25 it is `blobs/sha256/<hex>`, compressed if it
//! comes from Docker's containerd store. There is no manifest in the registry's sense, so one is made from
//! the content: the same archive gives the same manifest.
//!
//! Several images may be in one archive, and one image may be in it several times, under different tags.

use std::collections::HashMap;
use std::io::Read;

use layer_layout::{DiffId, Digest, LayerDigest, PublicName};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

mod select;

use super::archive::Archive;
use super::image::LocalImage;
use super::section::Section;
use super::store::Store;
use crate::source::blob::Expected;
use crate::source::error::{DocumentError, Error, Part, Result};
use crate::source::image::{Descriptor, Document, Image, LayerDescriptor};
use crate::source::manifest::{CONFIG_LIMIT, MANIFEST_LIMIT};
use crate::source::media_type::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD, DOCKER_MANIFEST,
};

/// An image of an archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// The part of a configuration that lists the layers.
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<DiffId>>,
}

/// A Docker schema 2 manifest. It is a structure because the members of a structure keep their order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: ManifestDescriptor<'a>,
    layers: Vec<ManifestDescriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestDescriptor<'a> {
    media_type: &'a str,
    size: u64,
    digest: Digest,
}

/// Finds the image in an archive. `stem` names it if it has no tag; `wanted` is what chooses it, if there are several.
pub(super) fn open(
    image: &str,
    stem: &str,
    archive: Archive,
    wanted: Option<&str>,
) -> Result<LocalImage> {
    let path = archive.path().to_owned();
    let store = Store::Archive(archive);
    let refuse = |part: Part, reason: DocumentError| Error::unfit(image, part, reason);
    let bytes = store.document(image, Part::Index, "manifest.json", MANIFEST_LIMIT)?;
    let saved: Vec<Saved> = serde_json::from_slice(&bytes)
        .map_err(|error| refuse(Part::Index, DocumentError::ArchiveManifest(error)))?;
    if saved.is_empty() {
        return Err(refuse(Part::Index, DocumentError::EmptyArchive));
    }
    let saved = select::one(image, &path, saved, wanted)?;
    if let Some(reason) = without_content(&store, image, &saved)? {
        return Err(refuse(Part::Manifest, reason));
    }

    let bytes = store.document(image, Part::Config, &saved.config, CONFIG_LIMIT)?;
    let config_digest = Digest::of(&bytes);
    if let Some(named) = named_digest(&saved.config).filter(|named| *named != config_digest) {
        let (image, size) = (image.into(), bytes.len() as u64);
        let expected = Expected { image, part: Part::Config, digest: named, size };
        return Err(expected.digest_mismatch(config_digest));
    }
    let config: Config = serde_json::from_slice(&bytes)
        .map_err(|error| refuse(Part::Config, DocumentError::NoLayers(error)))?;
    let names = saved.layers.unwrap_or_default();
    let diff_ids = config.rootfs.diff_ids.unwrap_or_default();
    if names.len() != diff_ids.len() {
        let (promised, got) = (diff_ids.len(), names.len());
        return Err(refuse(Part::Config, DocumentError::LayerCount { promised, got }));
    }

    let mut layers = Vec::with_capacity(names.len());
    let mut places = HashMap::new();
    for (name, diff_id) in names.into_iter().zip(diff_ids) {
        let layer = describe(&store, image, &name, diff_id)
            .map_err(|cause| Error::File { path: path.clone(), cause })??;
        places.insert(layer.digest, name);
        layers.push(layer);
    }
    let config = Descriptor {
        digest: config_digest.into(),
        size: bytes.len() as u64,
        media_type: DOCKER_CONFIG.to_owned(),
    };
    let image = Image {
        reference: image.to_owned(),
        index: None,
        platform: None,
        manifest: manifest(&config, &layers),
        config,
        layers,
        name: saved
            .repo_tags
            .iter()
            .flatten()
            .find_map(|tag| public_name(tag))
            .or_else(|| PublicName::local(stem, "latest").ok()),
    };
    Ok(LocalImage { image, store: store.into(), config: saved.config, layers: places })
}

/// What is wrong with an archive that Docker has made of an image whose content it did not have. Such a one is also a layout,
/// as all of Docker since 25.
fn without_content(store: &Store, image: &str, saved: &Saved) -> Result<Option<DocumentError>> {
    if !store.has("index.json")? {
        return Ok(None);
    }
    for name in std::iter::once(&saved.config).chain(saved.layers.iter().flatten()) {
        if !store.has(name)? {
            let tag = saved.repo_tags.iter().flatten().find_map(|tag| public_name(tag));
            let origin = tag.map_or("REGISTRY/REPOSITORY:TAG".to_owned(), |tag| tag.to_string());
            let missing = name.clone();
            tracing::debug!(image, missing, "an archive without content");
            return Ok(Some(DocumentError::SavedWithoutContent { missing, origin }));
        }
    }
    Ok(None)
}

/// The descriptor of a layer. The digest of an uncompressed layer is its DiffID, which the configuration
/// promises. The digest of a compressed one is in its name, or else the layer has to be read to compute it.
/// All layers are checked when they are read.
fn describe(
    store: &Store,
    image: &str,
    name: &str,
    diff_id: DiffId,
) -> std::io::Result<Result<LayerDescriptor>> {
    let Section { mut reader, size } = match store.open(image, name) {
        Ok(section) => section,
        Err(error) => return Ok(Err(error)),
    };
    let mut magic = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut magic)?;
    let media_type = match magic[..] {
        [0x1f, 0x8b, ..] => DOCKER_LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => DOCKER_LAYER_ZSTD,
        _ => DOCKER_LAYER,
    };
    let digest = match named_digest(name) {
        _ if media_type == DOCKER_LAYER => *diff_id.digest(),
        Some(named) if name.starts_with("blobs/") => named,
        _ => {
            let mut hash = Sha256::new_with_prefix(&magic);
            let mut buffer = vec![0; 1 << 16];
            loop {
                match reader.read(&mut buffer)? {
                    0 => break Digest::from_bytes(hash.finalize().into()),
                    count => hash.update(&buffer[..count]),
                }
            }
        }
    };
    let (digest, media_type) = (LayerDigest::from(digest), media_type.to_owned());
    Ok(Ok(LayerDescriptor { digest, size, media_type }))
}

fn manifest(config: &Descriptor, layers: &[LayerDescriptor]) -> Document {
    let manifest = Manifest {
        schema_version: 2,
        media_type: DOCKER_MANIFEST,
        config: ManifestDescriptor {
            media_type: &config.media_type,
            size: config.size,
            digest: *config.digest.digest(),
        },
        layers: layers
            .iter()
            .map(|layer| ManifestDescriptor {
                media_type: &layer.media_type,
                size: layer.size,
                digest: *layer.digest.digest(),
            })
            .collect(),
    };
    let bytes = serde_json::to_vec(&manifest).expect("texts and numbers always make JSON");
    Document::new(bytes.into(), DOCKER_MANIFEST)
}

/// The digest in `<hex>.json` or `blobs/sha256/<hex>`.
fn named_digest(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    Digest::from_hex(last.strip_suffix(".json").unwrap_or(last)).ok()
}

/// The public name for a tag. Docker omits its own registry: `debian:12` is `docker.io/library/debian:12`.
fn public_name(tag: &str) -> Option<PublicName> {
    let full = match tag.split_once('/') {
        None => format!("docker.io/library/{tag}"),
        Some((first, _)) if first != "localhost" && !first.contains(['.', ':']) => {
            format!("docker.io/{tag}")
        }
        Some(_) => tag.to_owned(),
    };
    full.parse().ok()
}
