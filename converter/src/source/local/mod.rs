//! Images in files: OCI image layouts, as a directory or in a tar, and docker-archives.
//!
//! Files are trusted no more than registries: every blob is checked while it is read. Nothing is unpacked to
//! disk, except archives that are compressed as a whole.

mod archive;
mod blocking;
mod compressed;
mod docker_archive;
mod image;
mod layout;
mod section;
mod store;

use std::path::{Path, PathBuf};

use layer_layout::ImageReference;

pub(super) use image::LocalImage;

use self::archive::Archive;
use self::blocking::blocking;
use self::store::Store;
use super::error::{Error, ReferenceError, Result};
use super::options::Options;

/// Finds the image in a layout or archive.
///
/// # Errors
/// If there is none, several fit, or a file cannot be read.
pub(super) async fn open(reference: &ImageReference, options: &Options) -> Result<LocalImage> {
    let (reference, platform) = (reference.clone(), options.platform.clone());
    blocking(move || {
        let name = reference.to_string();
        match &reference {
            ImageReference::OciLayout { directory, tag } => {
                let store = Store::Directory(directory.clone());
                layout::open(&name, &stem(directory), store, tag.as_deref(), &platform)
            }
            ImageReference::OciArchive { file, image } => {
                let (file, tag) = locate(file, image.as_deref());
                let store = Store::Archive(Archive::open(&file)?);
                layout::open(&name, &stem(&file), store, tag, &platform)
            }
            ImageReference::DockerArchive { file, image } => {
                let (file, wanted) = locate(file, image.as_deref());
                docker_archive::open(&name, &stem(&file), Archive::open(&file)?, wanted)
            }
            ImageReference::Registry(_) => {
                Err(Error::Reference { image: name, reason: ReferenceError::NotAFile })
            }
        }
    })
    .await
}

/// The file of an archive, and what chooses an image in it, now that it can be seen whether the `#` belongs to the file's
/// name.
fn locate<'a>(file: &Path, image: Option<&'a str>) -> (PathBuf, Option<&'a str>) {
    let with = |image: &str| {
        let mut whole = file.as_os_str().to_owned();
        whole.push("#");
        whole.push(image);
        PathBuf::from(whole)
    };
    match image.map(with).filter(|whole| !file.exists() && whole.exists()) {
        Some(whole) => (whole, None),
        None => (file.to_owned(), image),
    }
}

/// The name that a directory or file gives to its image; empty if it has none itself, as `/`.
fn stem(path: &Path) -> String {
    // `.` and `..` have a name only once they are resolved.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Of a compressed archive, `.tar.gz`.
    name.strip_suffix(".tar").map_or(name.clone(), str::to_owned)
}

#[cfg(test)]
mod tests;
