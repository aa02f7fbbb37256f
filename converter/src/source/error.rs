//! Why an image could not be had from where it should come from.

use std::fmt;
use std::path::PathBuf;

use layer_layout::{Digest, LayerDigest, Platform};

use super::credentials;
use super::failure::Failure;

/// The result of this room's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A part of an image, as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The image index or manifest list.
    Index,
    /// The manifest of one platform.
    Manifest,
    /// The configuration.
    Config,
    /// A layer.
    Layer(LayerDigest),
    /// A blob that is pushed.
    Blob(Digest),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("the index"),
            Self::Manifest => f.write_str("the manifest"),
            Self::Config => f.write_str("the configuration"),
            Self::Layer(digest) => write!(f, "layer {digest}"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
        }
    }
}

/// Why an image or a part of it could not be had, or not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A registry did not give what it was asked for.
    #[error("cannot fetch {part} of {image}")]
    Fetch {
        /// The image as its user named it.
        image: String,
        /// What was asked for.
        part: Part,
        /// What happened.
        #[source]
        cause: Box<Failure>,
    },
    /// A registry did not take what it was given.
    #[error("cannot push {part} to {image}")]
    Push {
        /// Where it should go.
        image: String,
        /// What should have been pushed.
        part: Part,
        /// What happened.
        #[source]
        cause: Box<Failure>,
    },
    /// Content is not what its descriptor says: broken or forged on its way.
    #[error(
        "{part} of {image} has digest {got}, expected {expected}: the content is damaged or forged"
    )]
    DigestMismatch {
        /// The image as its user named it.
        image: String,
        /// Which content.
        part: Part,
        /// The digest that was promised.
        expected: Box<Digest>,
        /// The digest of what came.
        got: Box<Digest>,
    },
    /// Content is longer or shorter than its descriptor says.
    #[error("{part} of {image} has {got} bytes{}, expected {expected}", if got > expected { " or more" } else { "" })]
    SizeMismatch {
        /// The image as its user named it.
        image: String,
        /// Which content.
        part: Part,
        /// The size that was promised, in bytes.
        expected: u64,
        /// What came, in bytes. Nothing is read beyond `expected`, so a larger number is a lower bound.
        got: u64,
    },
    /// A document is larger than any honest one.
    #[error("{part} of {image} is larger than {limit} bytes, the limit for such a document")]
    TooLarge {
        /// The image as its user named it.
        image: String,
        /// Which document.
        part: Part,
        /// The limit in bytes.
        limit: u64,
    },
    /// A document is not one of an image, or contradicts itself.
    #[error("{part} of {image} is not usable: {reason}")]
    Document {
        /// The image as its user named it.
        image: String,
        /// Which document.
        part: Part,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The index has no image for the wanted platform.
    #[error("{image} has no image for {wanted}; it has {}", list(available))]
    Platform {
        /// The image as its user named it.
        image: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<Platform>,
    },
    /// A layer is of a kind that cannot be unpacked.
    #[error("layer {layer} of {image} has media type {media_type:?}: {reason}")]
    LayerType {
        /// The image as its user named it.
        image: String,
        /// Which layer.
        layer: LayerDigest,
        /// The media type of its descriptor.
        media_type: String,
        /// Why that is no good, and what to do.
        reason: &'static str,
    },
    /// A layout or archive holds several images and none was chosen.
    #[error("{image} holds several images: {}; {hint}", list(candidates))]
    Ambiguous {
        /// The layout or archive.
        image: String,
        /// What it holds.
        candidates: Vec<String>,
        /// How to name one.
        hint: &'static str,
    },
    /// A layout or archive lacks something that it should hold.
    #[error("{image} has no {what}{}", if candidates.is_empty() { String::new() } else { format!("; it has {}", list(candidates)) })]
    Missing {
        /// The layout or archive.
        image: String,
        /// What is not there.
        what: String,
        /// What there is instead, if that helps.
        candidates: Vec<String>,
    },
    /// A file of a layout or archive could not be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// Credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// What is asked for makes no sense for this reference.
    #[error("{image}: {reason}")]
    Reference {
        /// The reference.
        image: String,
        /// What is wrong with it, and what to write instead.
        reason: String,
    },
    /// The HTTP client could not be set up, for instance because of a broken CA certificate.
    #[error("cannot set up the connection to {registry}: {reason}")]
    Setup {
        /// Host name and port of the registry.
        registry: String,
        /// Why not.
        reason: String,
    },
    /// The program is being shut down.
    #[error("the transfer of {part} of {image} was interrupted")]
    Interrupted {
        /// The image as its user named it.
        image: String,
        /// What was under way.
        part: Part,
    },
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl From<Error> for std::io::Error {
    /// For readers: the error can be had back with [`std::io::Error::downcast`].
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}
