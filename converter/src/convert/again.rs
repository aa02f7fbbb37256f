//! What is made although it is there.

use std::collections::BTreeSet;
use std::fmt;

use layer_layout::{ConfigDigest, Digest, ImagePlace, LayerDigest};

use crate::source::Image;

/// Which parts of an image are made again, and take the place of those that are published. Layers that DUCC unpacked in
/// its own form are always fetched again when an image is built on them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Again {
    /// The merged root and the flat root.
    pub trees: bool,
    /// Layers, which are fetched again.
    pub layers: LayersAgain,
    /// The flat root, if it is found to lack files for Apptainer or to be closed to its users.
    pub unfit_flat: bool,
}

/// Where an image is published again, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The place.
    pub place: ImagePlace,
    /// What the link there says, if not where the flat root is.
    pub link: Option<String>,
    /// Which image it has to be; any if nothing is said.
    pub identity: Option<Identity>,
}

/// What tells an image from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The digest of its manifest.
    Manifest(Digest),
    /// The digest of its configuration, where nobody knows that of the manifest.
    Config(ConfigDigest),
}

impl Identity {
    /// Whether an image is the one.
    pub(super) fn is_of(&self, image: &Image) -> bool {
        match self {
            Self::Manifest(digest) => image.manifest.digest == *digest,
            Self::Config(digest) => image.config.digest == *digest,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(digest) => write!(f, "manifest {digest}"),
            Self::Config(digest) => write!(f, "configuration {digest}"),
        }
    }
}

/// Which layers are fetched again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LayersAgain {
    /// Only those that are not there.
    #[default]
    None,
    /// Those whose published content is wrong.
    These(BTreeSet<LayerDigest>),
    /// All of the image.
    All,
}

impl Again {
    /// Whether anything is, whatever is published.
    pub fn is_anything(&self) -> bool {
        self.trees || self.layers != LayersAgain::None
    }

    pub(super) fn wants(&self, layer: &LayerDigest) -> bool {
        match &self.layers {
            LayersAgain::None => false,
            LayersAgain::These(layers) => layers.contains(layer),
            LayersAgain::All => true,
        }
    }
}
