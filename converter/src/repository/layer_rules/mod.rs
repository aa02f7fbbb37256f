//! The rules for the entries of one untrusted layer, whatever it is unpacked into.
//!
//! Rule: OCI image-spec, `layer.md`, "Applying Changesets". Where the specification leaves room:
//! - Of several entries with one name the last counts; a directory over a directory only changes its
//!   attributes.
//! - A path through a symlink *of the same layer* leads to where the symlink leads, with the layer's root as `/`; this
//!   is followed in the layer itself, never by the kernel. A path through a file is an error. Rule: containerd's
//!   `archive`. Layers that are put together from packages have such paths, where `lib` is a link to `usr/lib`. (A
//!   directory that the layer only implies and that is a symlink in a lower layer is another matter, see
//!   [`parents`](super::parents).)
//! - A hard link means what has the target's name at that moment. If the layer has nothing there, it means what the
//!   layer has there at its end, and if that is nothing either, the file of a lower layer.
//! - Whiteouts and opaque marks concern the lower layers only, wherever in the tar they stand. A removed
//!   name that the layer has itself is no whiteout; if it is a directory, it is opaque. A whiteout where
//!   nothing lower is seen is dropped: overlayfs would show a name that cannot be looked at.
//!
//! [`LayerRules`] decides, a [`LayerStore`] carries out.
//!
//! | file | what it is for |
//! |---|---|
//! | `store` | what a target has to offer |
//! | `apply` | what an entry does to what the layer has so far |
//! | `follow` | paths through symlinks of the layer |
//! | `finish` | what marks and links mean once all entries are known |
//! | `known` | directories that need not be looked up again |
//! | `lower_links` | hard links to files of lower layers |

mod apply;
mod finish;
mod follow;
mod known;
mod lower_links;
mod store;
#[cfg(test)]
mod tests;

pub(super) use apply::LayerRules;
pub(super) use store::{LayerStore, Leaf, Linked, Marks, Name, Obstacle, Subdirectory};

use crate::layer::Metadata;

/// Mode of a directory that no entry describes: what container engines make.
const IMPLIED_MODE: u32 = 0o755;

/// The attributes of a directory that no entry describes.
pub(super) fn implied() -> Metadata {
    Metadata { mode: IMPLIED_MODE, ..Metadata::default() }
}
