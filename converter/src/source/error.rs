//! Why an image could not be read from its source, or not be pushed.

use std::fmt;
use std::path::PathBuf;

use layer_layout::{Digest, LayerDigest, Platform};

use super::credentials;
use super::failure::Failure;
pub use super::manifest::DocumentError;
use super::manifest::Unfit;
use super::media_type::LayerRefusal;
use super::policy::Refusal;

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
    /// A blob that is pushed, or one with a signature.
    Blob(Digest),
    /// The list of a repository's tags.
    Tags,
    /// What refers to an image: signatures, thin images.
    Referrers,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("the index"),
            Self::Manifest => f.write_str("the manifest"),
            Self::Config => f.write_str("the configuration"),
            Self::Layer(digest) => write!(f, "layer {digest}"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Tags => f.write_str("the list of tags"),
            Self::Referrers => f.write_str("the list of referrers"),
        }
    }
}

/// Why an image or a part of it could not be read from its source, or not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A registry did not serve what it was asked for.
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
    /// A registry did not accept what it was sent.
    #[error("cannot push {part} to {image}")]
    Push {
        /// Where it was to be pushed.
        image: String,
        /// What should have been pushed.
        part: Part,
        /// What happened.
        #[source]
        cause: Box<Failure>,
    },
    /// Content does not have the digest in its descriptor: it was damaged or forged on the way.
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
        /// The digest of what arrived.
        got: Box<Digest>,
    },
    /// Content does not have the size in its descriptor.
    #[error("{part} of {image} has {got} bytes{}, expected {expected}", if got > expected { " or more" } else { "" })]
    SizeMismatch {
        /// The image as its user named it.
        image: String,
        /// Which content.
        part: Part,
        /// The size that was promised, in bytes.
        expected: u64,
        /// What arrived, in bytes. Nothing is read beyond `expected`, so a larger number is a lower bound.
        got: u64,
    },
    /// A document is larger than any legitimate one.
    #[error("{part} of {image} is larger than {limit} bytes, the limit for such a document")]
    TooLarge {
        /// The image as its user named it.
        image: String,
        /// Which document.
        part: Part,
        /// The limit in bytes.
        limit: u64,
    },
    /// A document does not describe an image, or contradicts itself.
    #[error("{part} of {image} is not usable: {reason}")]
    Document {
        /// The image as its user named it.
        image: String,
        /// Which document.
        part: Part,
        /// What is wrong with it, and what to do.
        reason: Box<DocumentError>,
    },
    /// The index has no image for the wanted platform.
    #[error("{image} has no image for {wanted}; it has {}", list(available))]
    Platform {
        /// The image as its user named it.
        image: String,
        /// The wanted platform.
        wanted: Box<Platform>,
        /// The platforms that it has images for.
        available: Vec<Platform>,
    },
    /// A layer has a media type that cannot be unpacked.
    #[error("layer {layer} of {image} has media type {media_type:?}: {reason}")]
    LayerType {
        /// The image as its user named it.
        image: String,
        /// Which layer.
        layer: LayerDigest,
        /// The media type of its descriptor.
        media_type: String,
        /// Why it cannot be unpacked, and what to do.
        reason: LayerRefusal,
    },
    /// A layout or archive holds several images and none was chosen.
    #[error("{image} holds several images: {}; {hint}", list(candidates))]
    Ambiguous {
        /// The layout or archive.
        image: String,
        /// What it holds.
        candidates: Vec<String>,
        /// How to choose one.
        hint: String,
    },
    /// A layout or archive lacks something that it should contain.
    #[error("{image} has no {what}{}", if candidates.is_empty() { String::new() } else { format!("; it has {}", list(candidates)) })]
    Missing {
        /// The layout or archive.
        image: String,
        /// What is not there.
        what: Missing,
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
    /// A reference cannot be used for what was asked.
    #[error("{image}: {reason}")]
    Reference {
        /// The reference.
        image: String,
        /// What is wrong with it, and what to write instead.
        reason: ReferenceError,
    },
    /// The HTTP client could not be set up, for instance because of a broken CA certificate.
    #[error("cannot set up the connection to {registry}: {reason}")]
    Setup {
        /// Host name and port of the registry.
        registry: String,
        /// Why not.
        reason: SetupError,
    },
    /// The image is not signed as the policy demands.
    #[error("{image} is refused: {reason}")]
    Unsigned {
        /// The image as its user named it.
        image: String,
        /// Why.
        reason: Box<Refusal>,
    },
    /// The program is being shut down.
    #[error("the transfer of {part} of {image} was interrupted")]
    Interrupted {
        /// The image as its user named it.
        image: String,
        /// What was being transferred.
        part: Part,
    },
}

/// Why a reference cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It stands for many images where one is needed.
    #[error("a wildcard stands for many images; name one")]
    Wildcard,
    /// It stands for many images where one is to be pushed.
    #[error("a wildcard cannot be pushed to; name one tag")]
    PushToWildcard,
    /// It names a digest, and the image to push has another one.
    #[error("the thin image has digest {own}, not {named}; name a tag instead")]
    PushToDigest {
        /// The digest of the image.
        own: Digest,
        /// The digest in the reference.
        named: Digest,
    },
    /// Registry and repository do not make a URL.
    #[error("{url:?} is not a URL: {cause}")]
    Url {
        /// What they make.
        url: String,
        /// Why that is not a URL.
        cause: url::ParseError,
    },
    /// The administrator forbids it.
    #[error("{} blocks it", .0.display())]
    Blocked(PathBuf),
    /// A file sends it to a place that cannot be one.
    #[error("{} sends it to {location:?}, which names no repository", file.display())]
    NoRepository {
        /// The file, `registries.conf` or one beside it.
        file: PathBuf,
        /// What the file makes of it.
        location: String,
    },
    /// It names a registry where a layout or archive is needed.
    #[error("this is in a registry, not in a file")]
    NotAFile,
}

/// What a layout or archive lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A file of its own, by name.
    #[error("{0}")]
    File(String),
    /// A layer of its image.
    #[error("layer {0}")]
    Layer(LayerDigest),
    /// Any image.
    #[error("image")]
    Image,
    /// An image with this tag.
    #[error("image tagged {0:?}")]
    Tag(String),
    /// An image with this number.
    #[error("image number {0:?}")]
    Number(String),
}

/// Why an HTTP client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A CA certificate, or the directory with those of the registry, could not be read.
    #[error("{}: {cause}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// A file contains something other than certificates.
    #[error("{}: {}", path.display(), chain(cause))]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: reqwest::Error,
    },
    /// A client certificate without its key, or a key without its certificate.
    #[error("{}.cert and .key belong together, and one of them is missing", .0.display())]
    HalfAPair(PathBuf),
    /// A file holds no certificate at all.
    #[error("{}: no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// The HTTP library refuses its settings.
    #[error("{}", chain(.0))]
    Client(reqwest::Error),
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Error {
    /// The error for a document of `image` that cannot be used.
    pub(super) fn unfit(image: &str, part: Part, unfit: impl Into<Unfit>) -> Self {
        let image = image.to_owned();
        match unfit.into() {
            Unfit::Document(reason) => Self::Document { image, part, reason: Box::new(reason) },
            Unfit::Layer { layer, media_type, reason } => {
                Self::LayerType { image, layer, media_type, reason }
            }
            Unfit::ConfigTooLarge(limit) => Self::TooLarge { image, part: Part::Config, limit },
        }
    }
}

impl From<Error> for std::io::Error {
    /// For readers. [`std::io::Error::downcast`] gives the error back.
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}
