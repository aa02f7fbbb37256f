//! The contract between the converter (`ducc`) and the snapshotter (`cvmfs-snapshotter`).
//!
//! The two programs never talk to each other. What they share is the layout of a repository, the JSON files in it,
//! the labels that containerd passes to a snapshotter, and the thin image. All of it is defined here and nowhere else:
//!
//! | module | what it fixes |
//! |---|---|
//! | [`digest`] | content digests, DiffIDs and ChainIDs (OCI image-spec) |
//! | [`reference`] | how an image is named on the command line and in a wish list |
//! | [`platform`] | operating system, architecture and variant |
//! | [`name`] | the public name of an image inside a repository |
//! | [`path`] | every path of a repository |
//! | [`record`] | the JSON records of a repository |
//! | [`label`] | snapshot labels and layer annotations |
//! | [`layer_path`] | paths inside a layer |
//! | [`overlay`] | how a whiteout and an opaque directory are stored |
//! | [`text`] | how texts from outside are shown |
//! | [`thin`] | `thin.json`, placeholder layers and the thin manifest |

pub mod digest;
mod error;
mod grammar;
pub mod label;
pub mod layer_path;
pub mod name;
pub mod overlay;
pub mod path;
pub mod platform;
pub mod record;
pub mod reference;
pub mod text;
pub mod thin;

pub use digest::{ChainId, ConfigDigest, DiffId, Digest, LayerDigest};
pub use error::{Error, Result};
pub use layer_path::LayerPath;
pub use name::PublicName;
pub use path::{Architecture, ImagePlace, RepositoryPath};
pub use platform::Platform;
pub use reference::{ImageReference, RegistryReference, Scheme};
