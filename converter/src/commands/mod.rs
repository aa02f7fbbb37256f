//! What the subcommands do.

pub(crate) mod advice;
pub(crate) mod check_image_syntax;
pub(crate) mod convert;
pub(crate) mod download_manifest;
pub(crate) mod expand_wildcard;
pub(crate) mod repository;
pub(crate) mod version;
pub(crate) mod wishlist;
