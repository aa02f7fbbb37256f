//! What the subcommands do.

pub(crate) mod advice;
pub(crate) mod check_image_syntax;
pub(crate) mod convert_single_image;
pub(crate) mod create_podman_store;
pub(crate) mod delete_image;
pub(crate) mod documentation;
pub(crate) mod download_manifest;
pub(crate) mod expand_wildcard;
pub(crate) mod garbage_collection;
mod list_troubles;
pub(crate) mod prune_images;
mod removal_report;
pub(crate) mod repository;
pub(crate) mod round_report;
pub(crate) mod rounds;
pub(crate) mod signals;
mod source_options;
pub(crate) mod status;
pub(crate) mod verify;
pub(crate) mod version;
mod wanted;
pub(crate) mod wishlist;
