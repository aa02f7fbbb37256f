//! Giving a layer what it takes from its parents: its [`inheritance`](super::inheritance).

use super::inheritance::{Inheritance, LowerLink};
use crate::layer::{LayerPath, Metadata};
use crate::repository::byte_path::components;
use crate::repository::{EntryError, Error, Result};

/// What has a name in the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repository) enum Existing {
    Directory,
    Other,
}

/// The tree of a layer that is being completed. A change of the names in a directory leaves its attributes
/// alone.
pub(in crate::repository) trait Incomplete {
    /// What is at a path.
    fn existing(&self, path: &[u8]) -> Result<Option<Existing>>;

    /// Makes a directory where nothing is.
    fn make_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()>;

    /// Sets the attributes of a directory; an opaque mark stays.
    fn dress(&mut self, directory: &[u8], metadata: &Metadata) -> Result<()>;

    /// Gives further names, in this layer, to the file of a lower layer that a link means.
    fn link(&mut self, link: &LowerLink, names: &[&[u8]]) -> Result<()>;
}

/// Completes a layer. Directories that no layer describes get the attributes `unknown`.
pub(in crate::repository) fn complete(
    inheritance: &Inheritance,
    layer: &mut impl Incomplete,
    unknown: &Metadata,
) -> Result<()> {
    for link in &inheritance.links {
        link_lower(link, layer, unknown)?;
    }
    // Attributes last and children first: a mode may forbid access to what is inside.
    for implied in inheritance.implied.iter().rev() {
        if let (path, Some(metadata)) = &implied.directory {
            layer.dress(path, metadata)?;
        }
    }
    Ok(())
}

/// Gives a lower file its names in the layer: that of the link, and that of the file itself.
fn link_lower(link: &LowerLink, layer: &mut impl Incomplete, unknown: &Metadata) -> Result<()> {
    for (path, metadata) in &link.way {
        match layer.existing(path)? {
            Some(Existing::Directory) => {}
            None => layer.make_directory(path, metadata.as_ref().unwrap_or(unknown))?,
            // The layer hides the file.
            Some(Existing::Other) => {
                let path =
                    |path| components(path).fold(LayerPath::ROOT, |path, name| path.join(name));
                let nothing = EntryError::LinkToNothing(path(&link.target));
                return Err(Error::entry(&path(&link.name), nothing));
            }
        }
    }
    let mut names = Vec::new();
    for path in [link.name.as_slice(), link.target.as_slice()] {
        if layer.existing(path)?.is_none() {
            names.push(path);
        }
    }
    layer.link(link, &names)
}
