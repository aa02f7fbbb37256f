//! Which images have metadata, and what these say.

use layer_layout::path::{self, ImageMetadata};
use layer_layout::record::PublishedManifest;
use layer_layout::{ImagePlace, RepositoryPath};

use super::image::{self, LayerRecords, PublishedImage};
use super::view::{readers, walk};
use super::{Broken, View};
use crate::repository::{Published, Result};

/// The metadata directories of all images, and what is in their places and is none.
///
/// # Errors
/// If a directory cannot be read.
pub(super) fn directories(
    view: &(impl View + ?Sized),
) -> Result<(Vec<RepositoryPath>, Vec<Broken>)> {
    let (mut directories, mut broken) = (Vec::new(), Vec::new());
    let root = path::metadata();
    let each = |directory: Option<&RepositoryPath>, names: &[(String, Published)]| {
        let Some(directory) = directory else { return Ok(()) };
        let has_manifest = names.iter().any(|(name, _)| name == ImageMetadata::Manifest.name());
        if has_manifest {
            directories.push(directory.clone());
        } else if *directory != root {
            broken.extend(not_metadata(directory, names));
        }
        Ok(())
    };
    let is_image_s = |directory: Option<&RepositoryPath>, name: &str| {
        directory != Some(&root) || RepositoryPath::of_name(directory, name) != Some(path::wishes())
    };
    walk(view, Some(root.clone()), each, is_image_s)?;
    Ok((directories, broken))
}

/// What is wrong in a directory in which there is no manifest. On the way to others, and empty, it is as it should be.
fn not_metadata(directory: &RepositoryPath, names: &[(String, Published)]) -> Option<Broken> {
    let has = |kind: fn(&Published) -> bool| names.iter().any(|(_, published)| kind(published));
    let reason = if has(|published| matches!(published, Published::Symlink(_))) {
        "there is a symlink where only directories of metadata should be"
    } else if has(|published| *published == Published::Other)
        && !has(|published| *published == Published::Directory)
    {
        "there are metadata, but no manifest.json"
    } else {
        return None;
    };
    Some(Broken { path: directory.clone(), reason: reason.to_owned() })
}

/// The places of all images that have metadata.
///
/// # Errors
/// If a directory cannot be read.
pub fn places(view: &(impl View + ?Sized)) -> Result<Vec<ImagePlace>> {
    let (directories, _) = directories(view)?;
    let mut places: Vec<_> =
        directories.iter().filter_map(ImagePlace::of_metadata_directory).collect();
    places.sort();
    Ok(places)
}

/// Reads the metadata of all images, and tells which could not be read.
///
/// # Errors
/// If a directory cannot be listed.
pub(super) fn images(view: &(impl View + ?Sized)) -> Result<(Vec<PublishedImage>, Vec<Broken>)> {
    let (directories, mut broken) = directories(view)?;
    let records = LayerRecords::default();
    let mut images = Vec::new();
    let read = |at: &RepositoryPath| -> Result<_> { Ok(read_image(view, at, &records)) };
    for image in readers().each(&directories, read)? {
        match image {
            Ok(image) => images.push(image),
            Err(found) => broken.push(found),
        }
    }
    images.sort_by(|a, b| a.metadata.cmp(&b.metadata));
    broken.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((images, broken))
}

fn read_image(
    view: &(impl View + ?Sized),
    metadata: &RepositoryPath,
    records: &LayerRecords,
) -> Result<PublishedImage, Broken> {
    let broken = |reason: String| Broken { path: metadata.clone(), reason };
    let manifest = read_manifest(view, metadata).map_err(broken)?;
    let diff_ids = image::diff_ids(view, metadata, &manifest, records)
        .map_err(|error| broken(error.to_string()))?;
    Ok(PublishedImage {
        place: ImagePlace::of_metadata_directory(metadata),
        metadata: metadata.clone(),
        config: manifest.config.digest,
        layers: manifest.layers().collect(),
        diff_ids,
    })
}

/// The manifest in a metadata directory.
///
/// # Errors
/// What is wrong with it.
pub fn read_manifest(
    view: &(impl View + ?Sized),
    metadata: &RepositoryPath,
) -> Result<PublishedManifest, String> {
    let file = ImageMetadata::Manifest.name();
    let path = RepositoryPath::of_name(Some(metadata), file).ok_or("it has no path")?;
    match view.read(&path) {
        Ok(Some(json)) => {
            PublishedManifest::parse(&json).map_err(|error| format!("{file}: {error}"))
        }
        Ok(None) => Err(format!("{file} is missing")),
        Err(error) => Err(format!("{file}: {error}")),
    }
}
