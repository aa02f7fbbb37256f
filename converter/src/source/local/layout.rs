//! OCI image layouts (OCI image-spec, `image-layout.md`), in a directory or a tar.

use std::collections::BTreeSet;

use layer_layout::{Platform, PublicName};
use serde::Deserialize;

use super::image::LocalImage;
use super::store::{Store, blob};
use crate::source::blob::Expected;
use crate::source::error::{DocumentError, Error, Missing, Part, Result};
use crate::source::image::{Document, Image};
use crate::source::manifest::{
    self, CONFIG_LIMIT, Choice, Index, IndexEntry, MANIFEST_LIMIT, Manifest, Nest, Parsed,
};
use crate::source::platforms::of_config;

/// The file that marks a layout.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OciLayout {
    image_layout_version: String,
}

/// A layout whose image is looked for.
struct Layout<'a> {
    image: &'a str,
    store: Store,
    platform: &'a Platform,
}

/// Finds the image in a layout. `stem` is the first part of its name.
pub(super) fn open(
    image: &str,
    stem: &str,
    store: Store,
    tag: Option<&str>,
    platform: &Platform,
) -> Result<LocalImage> {
    let layout = Layout { image, store, platform };
    let refuse = |reason: DocumentError| Error::unfit(image, Part::Index, reason);
    let bytes = layout.document(Part::Index, "oci-layout")?;
    let OciLayout { image_layout_version: version } =
        serde_json::from_slice(&bytes).map_err(|error| refuse(DocumentError::OciLayout(error)))?;
    if !version.starts_with("1.") {
        return Err(refuse(DocumentError::LayoutVersion(version)));
    }
    let bytes = layout.document(Part::Index, "index.json")?;
    let index = manifest::index(&bytes).map_err(refuse)?;
    let selected = layout.select(index, tag)?;
    let name = name(stem, tag.or(selected.entries[0].ref_name.as_deref()));
    let (first, index) = match <[IndexEntry; 1]>::try_from(selected.entries) {
        Ok([entry]) => {
            let document = layout.read(&entry)?;
            match layout.parse(&document)? {
                Parsed::Manifest(manifest) => {
                    return layout.found(None, entry.platform, document, manifest, name);
                }
                Parsed::Index(index) => (Some(document), index),
            }
        }
        Err(entries) => (None, Index { entries, unusable: selected.unusable }),
    };
    let index = layout.flatten(index)?;
    let entry = match manifest::choose(&index.entries, platform) {
        Choice::Entry(entry) => entry,
        Choice::OneOf(entries) => layout.one_of(&index, &entries)?,
    };
    let document = layout.read(entry)?;
    match layout.parse(&document)? {
        Parsed::Manifest(manifest) => {
            layout.found(first, entry.platform.clone(), document, manifest, name)
        }
        // The index calls it a manifest.
        Parsed::Index(_) => {
            let (declared, own) = (entry.media_type.clone(), document.media_type);
            Err(refuse(DocumentError::MediaTypes { declared, own }))
        }
    }
}

impl Layout<'_> {
    fn found(
        self,
        index: Option<Document>,
        platform: Option<Platform>,
        document: Document,
        manifest: Manifest,
        name: Option<PublicName>,
    ) -> Result<LocalImage> {
        self.check(&manifest)?;
        let config = blob(manifest.config.digest.digest());
        let layers = manifest.layers.iter();
        let layers = layers.map(|layer| (layer.digest, blob(layer.digest.digest()))).collect();
        let image = Image {
            reference: self.image.to_owned(),
            index,
            platform,
            manifest: document,
            config: manifest.config,
            layers: manifest.layers,
            name,
        };
        Ok(LocalImage { image, store: self.store.into(), config, layers })
    }

    fn document(&self, part: Part, name: &str) -> Result<bytes::Bytes> {
        self.store.document(self.image, part, name, MANIFEST_LIMIT)
    }

    /// A document of the layout, checked.
    fn read(&self, entry: &IndexEntry) -> Result<Document> {
        let part = Part::Manifest;
        let bytes = self.document(part, &blob(&entry.digest))?;
        let (digest, size) = (entry.digest, entry.size);
        Expected { image: self.image.into(), part, digest, size }.check(&bytes)?;
        manifest::document(Some(&entry.media_type), bytes)
            .map_err(|reason| Error::unfit(self.image, part, reason))
    }

    fn parse(&self, document: &Document) -> Result<Parsed> {
        manifest::parse(document).map_err(|unfit| Error::unfit(self.image, Part::Manifest, unfit))
    }

    /// The configuration that a manifest names. Its digest is checked when it is used.
    fn config(&self, manifest: &Manifest) -> Result<bytes::Bytes> {
        let name = blob(manifest.config.digest.digest());
        self.store.document(self.image, Part::Config, &name, CONFIG_LIMIT)
    }

    /// Fails if this is not the manifest of an image.
    fn check(&self, manifest: &Manifest) -> Result<()> {
        let Some(kind) = &manifest.doubt else { return Ok(()) };
        if manifest.is_image(&self.config(manifest)?) {
            return Ok(());
        }
        Err(Error::unfit(self.image, Part::Manifest, DocumentError::Artifact(kind.clone())))
    }

    /// An index with what its nested indexes list, as far as it matters.
    fn flatten(&self, index: Index) -> Result<Index> {
        let mut nest = Nest::new(index);
        let too_deep = |reason| Error::unfit(self.image, Part::Index, reason);
        while let Some(entry) = nest.next(|it| self.platform.accepts(it)).map_err(too_deep)? {
            let document = self.read(entry)?;
            nest.put(self.parse(&document)?, &document.media_type);
        }
        Ok(nest.finish())
    }

    /// The first of these entries whose configuration names the wanted platform.
    fn one_of<'e>(&self, index: &Index, entries: &[&'e IndexEntry]) -> Result<&'e IndexEntry> {
        let mut available = index.platforms();
        let mut obstacle = None;
        for &entry in entries {
            match self.platform_of(entry) {
                Ok(platform) if self.platform.accepts(&platform) => return Ok(entry),
                Ok(platform) => available.push(platform),
                // There is no other that could be meant.
                Err(Error::Document { part: Part::Config, .. }) if index.entries.len() == 1 => {
                    return Ok(entry);
                }
                // It may be anything.
                Err(error @ (Error::Document { .. } | Error::LayerType { .. })) => {
                    obstacle.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let unusable = index.obstacles(|it| self.platform.accepts(it)).next();
        let unusable = unusable.map(|reason| Error::unfit(self.image, Part::Index, reason));
        Err(unusable.or(obstacle.filter(|_| available.is_empty())).unwrap_or_else(|| {
            let (image, wanted) = (self.image.to_owned(), self.platform.clone().into());
            Error::Platform { image, wanted, available }
        }))
    }

    /// The platform in the configuration of an image.
    fn platform_of(&self, entry: &IndexEntry) -> Result<Platform> {
        match self.parse(&self.read(entry)?)? {
            Parsed::Manifest(manifest) => {
                self.check(&manifest)?;
                of_config(self.image, &self.config(&manifest)?)
            }
            Parsed::Index(_) => {
                Err(Error::unfit(self.image, Part::Manifest, DocumentError::TooDeep))
            }
        }
    }

    /// The wanted entries of `index.json`: one, or several that are one image for several platforms.
    fn select(&self, index: Index, tag: Option<&str>) -> Result<Index> {
        let Index { entries, unusable } = index;
        let names = || {
            let name =
                |entry: &IndexEntry| entry.ref_name.clone().unwrap_or(entry.digest.to_string());
            let names: BTreeSet<String> = entries.iter().map(name).collect();
            names.into_iter().collect::<Vec<_>>()
        };
        let mut found: Vec<&IndexEntry> = match tag {
            None => entries.iter().collect(),
            Some(tag) => {
                let exact = |entry: &&IndexEntry| entry.ref_name.as_deref() == Some(tag);
                let by_tag =
                    |entry: &&IndexEntry| entry.ref_name.as_deref().map(tag_of) == Some(tag);
                let found: Vec<&IndexEntry> = entries.iter().filter(exact).collect();
                if found.is_empty() { entries.iter().filter(by_tag).collect() } else { found }
            }
        };
        let image = self.image.to_owned();
        let Some(&first) = found.first() else {
            let obstacle = Index { entries: Vec::new(), unusable }.obstacles(|_| true).next();
            if let Some(reason) = obstacle {
                return Err(Error::unfit(self.image, Part::Index, reason));
            }
            let what = tag.map_or(Missing::Image, |tag| Missing::Tag(tag.to_owned()));
            return Err(Error::Missing { image, what, candidates: names() });
        };
        if found.iter().all(|entry| entry.digest == first.digest) {
            found.truncate(1);
        }
        let is_one_image = found.iter().all(|entry| entry.ref_name == first.ref_name)
            && (first.ref_name.is_some() || found.iter().any(|entry| entry.platform.is_some()));
        if found.len() == 1 || is_one_image {
            return Ok(Index { entries: found.into_iter().cloned().collect(), unusable });
        }
        Err(Error::Ambiguous {
            image,
            candidates: names(),
            hint: "name one with oci:DIRECTORY:TAG or oci-archive:FILE#TAG".to_owned(),
        })
    }
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
