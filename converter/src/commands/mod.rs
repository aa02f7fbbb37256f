//! What the subcommands do.

pub(crate) mod advice;
pub(crate) mod convert;
pub(crate) mod delete_image;
pub(crate) mod garbage_collection;
pub(crate) mod prune_images;
mod removal_report;
pub(crate) mod repository;
pub(crate) mod verify;
mod wanted;
