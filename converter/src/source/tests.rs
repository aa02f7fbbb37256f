//! Sources against registries that fail, and against the real one.

mod authentication;
mod coding;
mod current;
mod download;
mod fixture;
mod image;
mod limits;
mod logins;
mod mirrors;
mod oddities;
mod platforms;
mod push;
mod real_registry;
mod referrers;
mod server;
mod sharing;
mod signatures;
pub(super) mod signer;
mod tags;
