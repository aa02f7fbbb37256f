//! Sources against registries that fail, and against the real one.

mod authentication;
mod download;
mod fixture;
mod image;
mod push;
mod real_registry;
mod server;
