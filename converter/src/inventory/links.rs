//! The symlinks of a repository that lead to its content.

use std::collections::BTreeMap;

use layer_layout::path::{self, Unit};
use layer_layout::{ImagePlace, RepositoryPath};

use super::View;
use super::view::walk;
use crate::repository::{Published, Result};

/// The symlinks outside of the content itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// Those at the places of images, with their targets, whoever has made them.
    pub of_images: BTreeMap<ImagePlace, String>,
    /// All others that lead to content, with what they lead to: people's own, and those of DUCC's store for Podman.
    pub others: Vec<(RepositoryPath, Unit)>,
}

/// Finds them. Hidden directories in the root are not people's and are not looked into.
///
/// # Errors
/// If a directory cannot be read.
pub(super) fn find(view: &(impl View + ?Sized)) -> Result<Links> {
    let mut links = Links::default();
    let is_public = |directory: Option<&RepositoryPath>, name: &str| {
        directory.is_some() || !name.starts_with('.')
    };
    walk(view, None, |directory, names| links.add(directory, names), is_public)?;
    let architectures = Some(path::architectures());
    walk(view, architectures, |directory, names| links.add(directory, names), |_, _| true)?;
    Ok(links)
}

impl Links {
    fn add(
        &mut self,
        directory: Option<&RepositoryPath>,
        names: &[(String, Published)],
    ) -> Result<()> {
        for (name, published) in names {
            let (Published::Symlink(target), Some(path)) =
                (published, RepositoryPath::of_name(directory, name))
            else {
                continue;
            };
            if let Some(place) = ImagePlace::of_link(&path) {
                self.of_images.insert(place, target.clone());
            } else if let Some(unit) = Unit::of_link_target(target) {
                self.others.push((path, unit));
            }
        }
        Ok(())
    }
}
