//! Where the public path of an image for several platforms leads: where clients expand variables, each to its own; in a
//! plain directory, all to the publisher's. An image for one platform has a public path of its own.

use std::collections::BTreeSet;

use layer_layout::path::{self, ImageMetadata};
use layer_layout::record::{Reason, ScheduleEntry};
use layer_layout::{Architecture, ConfigDigest, ImagePlace, Platform, PublicName};

use crate::image_config::ImageConfig;
use crate::inventory::{read_manifest, schedule};
use crate::repository::{Published, Repository, Result};

/// What the link of an image has to say. `found` is what it says.
pub(super) fn link(
    repository: &dyn Repository,
    place: &ImagePlace,
    config: ConfigDigest,
    found: Option<&str>,
) -> Result<String> {
    if let Some(target) = variant_link(repository, place, found)? {
        return Ok(target);
    }
    let shown = shown(repository, place)?;
    let config = match read_manifest(repository, &shown.metadata_directory()) {
        Ok(manifest) if shown != *place => manifest.config.digest,
        _ => config,
    };
    Ok(place.link().link_to(&path::flat(&config)))
}

/// What the link of an image has to say if it leads each client to its own platform. Any of the platforms may be the one
/// for all other clients: publishers' machines differ.
pub(super) fn variant_link(
    repository: &dyn Repository,
    place: &ImagePlace,
    found: Option<&str>,
) -> Result<Option<String>> {
    if place.architecture.is_some() || !repository.expands_variables() {
        return Ok(None);
    }
    let all = architectures(repository, &place.name)?;
    let target = |architecture: &Architecture| architecture.public_link_target(&place.name);
    if let Some(found) = found
        && all.iter().any(|architecture| target(architecture) == found)
    {
        return Ok(Some(found.to_owned()));
    }
    let staying = staying(repository, &place.name, all);
    let host = Platform::host();
    let own = staying.iter().find(|architecture| host.accepts(&architecture.platform()));
    Ok(own.or(staying.first()).map(target))
}

/// The place that has the image to be shown at this one. That is another one only in a plain directory whose public path
/// does not lead to this machine's platform, although that is published.
pub(super) fn shown(repository: &dyn Repository, place: &ImagePlace) -> Result<ImagePlace> {
    let host = Platform::host();
    if place.architecture.is_some() || repository.expands_variables() {
        return Ok(place.clone());
    }
    match platform(repository, place)? {
        Some(platform) if !host.accepts(&platform) => {}
        _ => return Ok(place.clone()),
    }
    let all = architectures(repository, &place.name)?;
    for architecture in staying(repository, &place.name, all) {
        let other = ImagePlace { name: place.name.clone(), architecture: Some(architecture) };
        if platform(repository, &other)?.is_some_and(|platform| host.accepts(&platform)) {
            return Ok(other);
        }
    }
    Ok(place.clone())
}

/// The platform that the published configuration names.
fn platform(repository: &dyn Repository, place: &ImagePlace) -> Result<Option<Platform>> {
    let config = repository.read(&place.metadata(ImageMetadata::Config))?;
    Ok(config.and_then(|json| ImageConfig::parse(&json).ok()).map(|config| config.platform))
}

/// The directories of platforms in which there is an image of this name.
fn architectures(repository: &dyn Repository, name: &PublicName) -> Result<Vec<Architecture>> {
    let mut found = Vec::new();
    for (directory, published) in repository.list(Some(&path::architectures()))? {
        let Ok(architecture) = directory.parse::<Architecture>() else { continue };
        let place = ImagePlace { name: name.clone(), architecture: Some(architecture.clone()) };
        if published == Published::Directory && repository.lookup(&place.link())?.is_some() {
            found.push(architecture);
        }
    }
    Ok(found)
}

/// Those of them that nobody has ceased to want.
fn staying(
    repository: &dyn Repository,
    name: &PublicName,
    mut architectures: Vec<Architecture>,
) -> Vec<Architecture> {
    if architectures.is_empty() {
        return architectures;
    }
    // Verifying tells of a schedule that cannot be read, if all images are looked at.
    let schedule = schedule(repository).unwrap_or_default();
    let leaving: BTreeSet<_> = schedule
        .entries
        .iter()
        .filter_map(|entry| match entry {
            ScheduleEntry::Image(image)
                if image.reason == Reason::Unwished && image.place.name == *name =>
            {
                image.place.architecture.clone()
            }
            _ => None,
        })
        .collect();
    architectures.retain(|architecture| !leaving.contains(architecture));
    architectures
}
