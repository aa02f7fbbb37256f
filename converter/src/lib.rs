//! The publisher: turns container images into directories in a repository.
//!
//! Data flows one way:
//!
//! ```text
//! source ──▶ layer ──▶ tree ──▶ repository
//! ```
//!
//! and [`wish`] says which images.
//!
//! | room | what it is for |
//! |---|---|
//! | [`source`] | where an image comes from: manifests, configurations, verified blobs |
//! | [`layer`] | a layer tar as a stream of checked entries; no file system |
//! | [`tree`] | the overlay rule: what is seen where layers lie on each other |
//! | [`singularity`] | the files that Apptainer and Singularity expect in a root file system |
//! | [`repository`] | where content goes, and how an image appears all at once |
//! | [`convert`] | images from their sources into a repository |
//! | [`aliases`] | links that lead clients to the directories of their platforms |
//! | [`attempts`] | how often something is done again when others are faster |
//! | [`round`] | all images of a repository, compared with their registries and converted where they differ |
//! | [`state`] | what is remembered between rounds |
//! | [`notification`] | what happens, told to other programs |
//! | [`wish`] | which images somebody wants in which repository |
//! | [`inventory`] | what is in a repository, and what refers to what |
//! | [`removal`] | what is not needed any more: since when, and how it goes |
//! | [`verify`] | what is wrong with published images |

pub mod aliases;
pub mod attempts;
pub mod convert;
mod error;
pub mod image_config;
pub mod inventory;
pub mod layer;
pub mod notification;
pub mod progress;
pub mod removal;
pub mod report;
pub mod repository;
pub mod round;
#[cfg(test)]
mod scripts;
pub mod singularity;
pub mod source;
pub mod state;
pub mod tree;
pub mod verify;
pub mod wish;

pub use error::{Error, Result};
