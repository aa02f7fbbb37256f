//! What a layer takes from its parents, the layers that it lies on, whatever kind of repository they stand in.
//!
//! | file | what it is for |
//! |---|---|
//! | `lookup` | looking up single paths in the parents |
//! | `inheritance` | finding out what a layer takes, without looking at the layer |
//! | `complete` | giving it to the layer |

pub(super) mod complete;
pub(super) mod inheritance;
pub(super) mod lookup;

use super::Result;
use crate::layer::Metadata;
use crate::tree::Class;

/// Layers that lie on each other, counted from the top. Paths are relative to a layer's root.
pub(super) trait Layers {
    /// How many there are.
    fn count(&self) -> usize;

    /// What a layer has at a path; `None` if nothing. A symlink there is not followed.
    fn class(&self, layer: usize, path: &[u8]) -> Result<Option<Class>>;

    /// The target of a symlink; `None` if it is none.
    fn symlink(&self, layer: usize, path: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The attributes of a directory that is there, without the marks of overlayfs.
    fn attributes(&self, layer: usize, path: &[u8]) -> Result<Metadata>;
}
