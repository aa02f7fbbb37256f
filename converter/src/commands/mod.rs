//! What the subcommands do.

pub(crate) mod advice;
pub(crate) mod convert;
pub(crate) mod repository;
