//! What is in a repository, and what of it refers to what.
//!
//! An [`Inventory`] is taken once, from listings and from the images' manifests and configurations; the content itself
//! is not looked at. It keeps digests, so that ten thousand images fit into some tens of megabytes.
//!
//! What cannot be read is kept, too: as long as anything is [broken](Inventory::broken), nobody knows what it refers
//! to, and so nothing may be called unneeded.

mod content;
mod image;
mod links;
mod metadata;
#[cfg(test)]
pub(crate) mod tests;
mod view;

use std::collections::BTreeSet;
use std::fmt;

use layer_layout::RepositoryPath;
use layer_layout::path::{self, Unit};
use layer_layout::record::RemoveSchedule;

pub use self::content::{is_ducc_chain, leads_to_layer, linked_layer};
pub use self::image::{LayerRecords, PublishedImage, diff_ids, units};
pub use self::links::Links;
pub use self::metadata::{places, read_manifest};
pub use self::view::{View, readers};
use crate::repository::Result;

/// What is in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The images that have metadata, sorted by the path of these.
    pub images: Vec<PublishedImage>,
    /// The symlinks that lead to content.
    pub links: Links,
    /// The layers, chains and flat roots.
    pub content: BTreeSet<Unit>,
    /// What waits to be removed.
    pub schedule: RemoveSchedule,
    /// What could not be understood, sorted by path.
    pub broken: Vec<Broken>,
}

/// Something in a repository that should tell what is needed, and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Where it is.
    pub path: RepositoryPath,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl Inventory {
    /// Takes the inventory of a repository.
    ///
    /// # Errors
    /// If a directory cannot be listed. A file that cannot be read is among what is [broken](Self::broken).
    pub fn take(view: &(impl View + ?Sized)) -> Result<Self> {
        let (images, mut broken) = metadata::images(view)?;
        let schedule = match schedule(view) {
            Ok(schedule) => schedule,
            Err(found) => {
                broken.push(found);
                RemoveSchedule::default()
            }
        };
        let links = links::find(view)?;
        let content = content::find(view)?;
        Ok(Self { images, links, content, schedule, broken })
    }
}

/// Reads the schedule; an empty one if there is none.
///
/// # Errors
/// What is wrong with it.
pub fn schedule(view: &(impl View + ?Sized)) -> Result<RemoveSchedule, Broken> {
    let path = path::remove_schedule();
    let read = match view.read(&path) {
        Ok(None) => return Ok(RemoveSchedule::default()),
        Ok(Some(json)) => RemoveSchedule::parse(&json).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    read.map_err(|reason| Broken { path, reason })
}
