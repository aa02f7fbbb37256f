//! What the daemon asks a reader process, and what it answers: one line of JSON each.

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
        /// What is below.
        parent: Parent,
    },
    /// Is the repository there, and does it have all these directories (resolved, relative to its root)?
    Check {
        /// The directories; none to ask for the repository alone.
        paths: Vec<String>,
    },
}

/// What is below a layer that is looked for. Decides whether a layer found by its digest can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parent {
    /// It is a base layer.
    None,
    /// This chain.
    Chain(ChainId),
    /// Something of unknown identity.
    Unknown,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The layer is there.
    Found(Found),
    /// It is not, or not in a form that can be used.
    Miss(Miss),
    /// All directories are there.
    Present,
    /// One is not.
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
    /// The repository has no images at all, as an empty mount point.
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
    /// A symbolic link leads to a directory that cannot be a layer.
    #[error("{path} leads to the unusable {target}")]
    Unusable {
        /// Relative to the repository's root.
        path: String,
        /// Where it leads, as an absolute path.
        target: String,
    },
    /// The layer was completed from the layers below it, which may be others than in this image.
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
    /// Without the parent's ChainID nobody can tell whether the layer leads to the chain.
    #[error("{layer} cannot be checked: the parent's ChainID is not known")]
    UnknownParent {
        /// The layer's digest.
        layer: LayerDigest,
    },
    /// The layer on top of the parent is another chain than the wanted one.
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
    /// The merged root file system of the chain, likewise.
    pub rootfs: Option<String>,
    /// The layer's root directory.
    pub root: LayerRoot,
    /// How it was found.
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
