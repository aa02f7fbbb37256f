//! What can be wrong with a published image.

use layer_layout::{DiffId, Digest, LayerDigest, LayerPath, RepositoryPath};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something that the image needs is not there.
    #[error("{0} is missing")]
    Missing(RepositoryPath),
    /// A document cannot be used.
    #[error("{path}: {reason}")]
    Document {
        /// The document.
        path: RepositoryPath,
        /// What is wrong with it.
        reason: String,
    },
    /// A link leads elsewhere.
    #[error("{path} leads to {found:?} and should lead to {expected:?}")]
    Link {
        /// The link.
        path: RepositoryPath,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// The link of a chain leads to no layer that is there.
    #[error("{path} leads to {target:?}, and no layer is there")]
    Dangling {
        /// The link.
        path: RepositoryPath,
        /// What it says.
        target: String,
    },
    /// There is no chain of the image, as DUCC leaves it: nodes cannot start it without fetching it.
    #[error("its chains are missing")]
    NoChains,
    /// A layer's record is missing or tells another DiffID than the image's configuration.
    #[error("layer {layer} is recorded with {}, and should have DiffID {expected}", recorded(.found))]
    DiffId {
        /// The layer.
        layer: LayerDigest,
        /// What its record says.
        found: Option<DiffId>,
        /// What the configuration says.
        expected: DiffId,
    },
    /// A layer is in the form that DUCC gives it. What is lost with that cannot be seen without the layer itself.
    #[error(
        "layer {layer} is in DUCC's form: its files have lost their owners, capabilities and other extended attributes, and \
         hard links; roots that DUCC made of it have also lost set-id and sticky bits"
    )]
    DuccForm {
        /// The layer.
        layer: LayerDigest,
    },
    /// A layer holds names that should have become whiteouts, as DUCC stores them. Files that an upper layer has removed
    /// are seen.
    #[error("layer {layer} has {count} names that should be whiteouts, such as {example}")]
    LiteralWhiteouts {
        /// The layer.
        layer: LayerDigest,
        /// How many.
        count: usize,
        /// One of them.
        example: LayerPath,
    },
    /// A merged or flat root is not what its layers give.
    #[error("{tree} differs in {count} names from what its layers give, such as {example}: {what}")]
    Tree {
        /// The root.
        tree: RepositoryPath,
        /// In how many names.
        count: usize,
        /// One of them.
        example: LayerPath,
        /// How it differs.
        what: Difference,
    },
    /// A manifest is that of the image, but not as the registry has it.
    #[error("{path} is not what the registry has under its name, which is {registry}")]
    Manifest {
        /// The document.
        path: RepositoryPath,
        /// Digest of the registry's.
        registry: Digest,
    },
    /// The image lacks a signature that it has to have.
    #[error("it is not signed as it has to be: {0}")]
    Unsigned(String),
    /// The tree of a layer is not what the layer's tar gives.
    #[error(
        "{tree} differs in {count} names from what the tar of layer {layer} gives, such as {example}: {what}"
    )]
    Layer {
        /// The tree.
        tree: RepositoryPath,
        /// The layer.
        layer: LayerDigest,
        /// In how many names.
        count: usize,
        /// One of them.
        example: LayerPath,
        /// How it differs.
        what: Difference,
    },
    /// Stored content of a tree cannot be read, or does not have the hash that the repository has noted.
    #[error("{count} files of {tree} are damaged, such as {example}: {reason}")]
    Damaged {
        /// The tree.
        tree: RepositoryPath,
        /// The layer whose tree it is; `None` for a root.
        layer: Option<LayerDigest>,
        /// How many.
        count: usize,
        /// One of them.
        example: LayerPath,
        /// What is wrong with it.
        reason: String,
    },
    /// A flat root lacks a file that Apptainer and Singularity need.
    #[error("{flat} lacks {file}, which Apptainer and Singularity need")]
    Singularity {
        /// The flat root.
        flat: RepositoryPath,
        /// The file.
        file: String,
    },
}

/// How a name differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// It is in a layer and not in the root.
    #[error("it is missing")]
    Missing,
    /// It is in the root and in no layer.
    #[error("it should not be there")]
    Surplus,
    /// It is something else, or has other content.
    #[error("its type or content differs")]
    Content,
    /// It has other attributes.
    #[error("its owner, mode, time or extended attributes differ")]
    Attributes,
}

impl Fault {
    /// A word for it, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Document { .. } => "document",
            Self::Link { .. } => "link",
            Self::Dangling { .. } => "dangling",
            Self::NoChains => "no-chains",
            Self::DiffId { .. } => "diff-id",
            Self::DuccForm { .. } => "ducc-form",
            Self::LiteralWhiteouts { .. } => "literal-whiteouts",
            Self::Tree { .. } => "tree",
            Self::Manifest { .. } => "manifest",
            Self::Unsigned(_) => "unsigned",
            Self::Layer { .. } => "layer",
            Self::Damaged { .. } => "damaged",
            Self::Singularity { .. } => "singularity",
        }
    }
}

fn recorded(diff_id: &Option<DiffId>) -> String {
    diff_id.map_or_else(|| "no DiffID".to_owned(), |diff_id| format!("DiffID {diff_id}"))
}
