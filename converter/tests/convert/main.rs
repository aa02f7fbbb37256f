//! Whole conversions through the public interface: an OCI layout in, a repository out.
//!
//! They need root, as owners and devices do.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod batch;
mod cancelling;
mod flat;
mod image;
mod oddities;
mod parents;
#[path = "../rounds/place.rs"]
mod place;
mod proxy;
mod stub;
mod turns;
