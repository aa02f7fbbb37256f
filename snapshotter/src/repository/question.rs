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
    Miss {
        /// Why.
        reason: String,
    },
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
