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

/// What the link of an image has to say if it leads each client to its own platform.
///
/// Other clients are led to one of the platforms that stay. Publishers' machines differ, so this is the one whose image is at
/// the public place as well, or, if that cannot be told, any. If none stays although the image does, it is published for one
/// platform from now on, and all clients are led there.
pub(super) fn variant_link(
    repository: &dyn Repository,
    place: &ImagePlace,
    found: Option<&str>,
) -> Result<Option<String>> {
    if place.architecture.is_some() || !repository.expands_variables() {
        return Ok(None);
    }
    let all = architectures(repository, &place.name)?;
    let leaving = leaving(repository, &place.name, &all);
    let public = config(repository, place);
    // Of an image that leaves as a whole, the link stays what it was. Newer DUCC has no documents at the public place.
    let mut fit: Vec<_> = match leaving.contains(&None) || public.is_none() {
        true => all,
        false => all.into_iter().filter(|it| !leaving.contains(&Some(it.clone()))).collect(),
    };
    let has_public = |architecture: &Architecture| {
        let place =
            ImagePlace { name: place.name.clone(), architecture: Some(architecture.clone()) };
        public.is_some() && config(repository, &place) == public
    };
    if fit.iter().any(has_public) {
        fit.retain(has_public);
    }
    let target = |architecture: &Architecture| architecture.public_link_target(&place.name);
    if let Some(found) = found
        && fit.iter().any(|architecture| target(architecture) == found)
    {
        return Ok(Some(found.to_owned()));
    }
    let host = Platform::host();
    let own = fit.iter().find(|architecture| host.accepts(&architecture.platform()));
    Ok(own.or(fit.first()).map(target))
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
    let leaving = leaving(repository, &place.name, &all);
    for architecture in all {
        if leaving.contains(&Some(architecture.clone())) {
            continue;
        }
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

/// The configuration that the published manifest names, if there is one.
fn config(repository: &dyn Repository, place: &ImagePlace) -> Option<ConfigDigest> {
    let manifest = read_manifest(repository, &place.metadata_directory());
    manifest.ok().map(|manifest| manifest.config.digest)
}

/// The places of this name that nobody wants any more, by their platforms; `None` is the public place.
fn leaving(
    repository: &dyn Repository,
    name: &PublicName,
    architectures: &[Architecture],
) -> BTreeSet<Option<Architecture>> {
    if architectures.is_empty() {
        return BTreeSet::new();
    }
    // Verifying tells of a schedule that cannot be read, if all images are looked at.
    let schedule = schedule(repository).unwrap_or_default();
    let unwished = |entry: &ScheduleEntry| match entry {
        ScheduleEntry::Image(image)
            if image.reason == Reason::Unwished && image.place.name == *name =>
        {
            Some(image.place.architecture.clone())
        }
        _ => None,
    };
    schedule.entries.iter().filter_map(unwished).collect()
}
