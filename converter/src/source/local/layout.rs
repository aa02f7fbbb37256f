//! OCI image layouts (OCI image-spec, `image-layout.md`), in a directory or a tar.

use std::collections::BTreeSet;

use layer_layout::{Platform, PublicName};
use oci_spec::image::OciLayout;

use super::image::LocalImage;
use super::store::{Store, blob};
use crate::source::blob::Expected;
use crate::source::error::{DocumentError, Error, Missing, Part, Result};
use crate::source::image::{Document, Image};
use crate::source::manifest::{self, IndexEntry, MANIFEST_LIMIT, Parsed};

/// `index.json` may lead to an index, and the specification lets that lead to a further one. Nobody nests
/// deeper.
const MAX_NESTING: usize = 3;

/// Finds the image in a layout. `stem` is the first part of its name.
pub(super) fn open(
    image: &str,
    stem: String,
    store: Store,
    tag: Option<&str>,
    platform: &Platform,
) -> Result<LocalImage> {
    let bytes = store.document(image, Part::Index, "oci-layout", MANIFEST_LIMIT)?;
    let refuse = |reason: DocumentError| Error::Document {
        image: image.to_owned(),
        part: Part::Index,
        reason: Box::new(reason),
    };
    let layout: OciLayout =
        serde_json::from_slice(&bytes).map_err(|error| refuse(DocumentError::OciLayout(error)))?;
    let version = layout.image_layout_version();
    if !version.starts_with("1.") {
        return Err(refuse(DocumentError::LayoutVersion(version.to_string())));
    }
    let bytes = store.document(image, Part::Index, "index.json", MANIFEST_LIMIT)?;
    let entries = manifest::entries(image, &bytes)?;
    let entry = select(image, &entries, tag, platform)?;
    let name = name(&stem, tag.or(entry.ref_name.as_deref()));

    let mut index: Option<Document> = None;
    let mut offered = entry.platform.clone();
    let mut document = read(image, &store, entry)?;
    for _ in 0..MAX_NESTING {
        match manifest::parse(image, &document)? {
            Parsed::Index(entries) => {
                let entry = manifest::choose(image, &entries, platform)?;
                offered = entry.platform.clone();
                let next = read(image, &store, entry)?;
                index = Some(std::mem::replace(&mut document, next));
            }
            Parsed::Manifest(manifest) => {
                let config = blob(manifest.config.digest.digest());
                let layers = manifest.layers.iter();
                let layers = layers.map(|layer| (layer.digest, blob(layer.digest.digest())));
                let layers = layers.collect();
                let image = Image {
                    reference: image.to_owned(),
                    index,
                    platform: offered,
                    manifest: document,
                    config: manifest.config,
                    layers: manifest.layers,
                    name,
                };
                return Ok(LocalImage { image, store: store.into(), config, layers });
            }
        }
    }
    Err(refuse(DocumentError::TooDeep))
}

/// The wanted entry of `index.json`.
fn select<'a>(
    image: &str,
    entries: &'a [IndexEntry],
    tag: Option<&str>,
    platform: &Platform,
) -> Result<&'a IndexEntry> {
    let names = || {
        let names: BTreeSet<String> = entries
            .iter()
            .map(|entry| entry.ref_name.clone().unwrap_or_else(|| entry.digest.to_string()))
            .collect();
        names.into_iter().collect::<Vec<_>>()
    };
    let found: Vec<&IndexEntry> = match tag {
        None => entries.iter().collect(),
        Some(tag) => {
            let exact = |entry: &&IndexEntry| entry.ref_name.as_deref() == Some(tag);
            let by_tag = |entry: &&IndexEntry| entry.ref_name.as_deref().map(tag_of) == Some(tag);
            let found: Vec<&IndexEntry> = entries.iter().filter(exact).collect();
            if found.is_empty() { entries.iter().filter(by_tag).collect() } else { found }
        }
    };
    let Some(&first) = found.first() else {
        let what = tag.map_or(Missing::Image, |tag| Missing::Tag(tag.to_owned()));
        return Err(Error::Missing { image: image.to_owned(), what, candidates: names() });
    };
    if found.iter().all(|entry| entry.digest == first.digest) {
        return Ok(first);
    }
    // Several entries with one name are one image for several platforms.
    let one_name = found.iter().all(|entry| entry.ref_name == first.ref_name);
    if one_name && found.iter().all(|entry| entry.platform.is_some()) {
        return manifest::choose(image, found, platform);
    }
    Err(Error::Ambiguous {
        image: image.to_owned(),
        candidates: names(),
        hint: "name one with oci:DIRECTORY:TAG (an archive has to be unpacked for that)",
    })
}

/// A document of the layout, checked.
fn read(image: &str, store: &Store, entry: &IndexEntry) -> Result<Document> {
    let part = Part::Manifest;
    let bytes = store.document(image, part, &blob(&entry.digest), MANIFEST_LIMIT)?;
    let expected = Expected { image: image.into(), part, digest: entry.digest, size: entry.size };
    expected.check(&bytes)?;
    manifest::document(image, Some(&entry.media_type), bytes)
}

/// The tag in an annotation. Some tools write the whole `registry/repository:tag` there.
fn tag_of(ref_name: &str) -> &str {
    match ref_name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => ref_name,
    }
}

fn name(stem: &str, tag: Option<&str>) -> Option<PublicName> {
    let tag = tag.map(tag_of).unwrap_or("latest");
    PublicName::local(stem, tag).or_else(|_| PublicName::local(stem, "latest")).ok()
}
