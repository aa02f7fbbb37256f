//! What the daemon asks a reader process and what the process answers, each as one line of JSON.

use layer_layout::{ChainId, LayerDigest};
use serde::{Deserialize, Serialize};

use crate::snapshot::LayerRoot;

/// A question about one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Is this layer there?
    Find {
        /// The chain whose top layer is wanted.
        chain: ChainId,
        /// Digests that the layer's blob may have, most trustworthy first.
        layers: Vec<LayerDigest>,
        /// What is below the layer.
        parent: Parent,
    },
    /// Is the repository there, and does it have all these directories?
    Check {
        /// The directories, resolved and relative to the repository's root. May be empty.
        paths: Vec<String>,
    },
}

/// What is below a wanted layer. Without it, a layer that was found by its digest cannot be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parent {
    /// Nothing: it is a base layer.
    None,
    /// This chain.
    Chain(ChainId),
    /// A snapshot whose ChainID is not known.
    Unknown,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The layer is there.
    Found(Found),
    /// The layer is not there, or cannot be used.
    Miss(Miss),
    /// All directories are there.
    Present,
    /// One of the directories is not there.
    Gone {
        /// Relative to the repository's root.
        path: String,
    },
    /// The repository itself cannot be used.
    Broken {
        /// What the kernel said.
        reason: String,
    },
}

/// Why a repository does not serve a layer. The text is for the log, which names the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Miss {
    /// The repository does not have it.
    #[error("not there")]
    Absent,
    /// There are no images at all, as in an empty mount point.
    #[error("no images in it; is it mounted?")]
    NoImages,
    /// A symbolic link leads out of the repository.
    #[error("{path} leads outside the repository")]
    LeadsOutside {
        /// Relative to the repository's root.
        path: String,
    },
    /// Symbolic links lead to each other.
    #[error("{path} leads in a circle")]
    LeadsInCircle {
        /// Relative to the repository's root.
        path: String,
    },
    /// A symbolic link leads to the repository's root, or to a name that is not UTF-8.
    #[error("{path} leads to the unusable {target}")]
    Unusable {
        /// Relative to the repository's root.
        path: String,
        /// Where it leads, as an absolute path.
        target: String,
    },
    /// The layer was completed from the layers below it, which may not be those of this image.
    #[error("{layer} is made for another chain")]
    Completed {
        /// The layer's digest.
        layer: LayerDigest,
    },
    /// The layer's DiffID cannot be read.
    #[error("{layer} has no usable DiffID ({path}: {reason})")]
    NoDiffId {
        /// The layer's digest.
        layer: LayerDigest,
        /// Where the DiffID is recorded, relative to the repository's root.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// DUCC has unpacked the layer: removed files are names that begin with `.wh.`, and owners are lost.
    #[error(
        "{layer} is in DUCC's form, which is no overlayfs layer (`ducc verify --repair` makes it one)"
    )]
    OtherForm {
        /// The layer's digest.
        layer: LayerDigest,
    },
    /// Without the parent's ChainID there is no telling whether the layer leads to the wanted chain.
    #[error("{layer} cannot be checked: the parent's ChainID is not known")]
    UnknownParent {
        /// The layer's digest.
        layer: LayerDigest,
    },
    /// The layer on top of the parent gives another chain than the wanted one.
    #[error("{layer} does not lead to this chain")]
    OtherChain {
        /// The layer's digest.
        layer: LayerDigest,
    },
}

/// A layer in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The layer's directory, resolved, relative to the repository's root.
    pub layer: String,
    /// The merged root file system of the chain, in the same form; none if the repository has none.
    pub rootfs: Option<String>,
    /// What matters of the layer's root directory.
    pub root: LayerRoot,
    /// How the layer was found.
    pub by: FoundBy,
}

/// The index that a layer was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FoundBy {
    /// `.chains`.
    Chain,
    /// `.layers`.
    Digest,
}

impl FoundBy {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Digest => "digest",
        }
    }
}
