//! Whole conversions through the public interface: an OCI layout in, a repository out.
//!
//! They need root, as owners and devices do.

mod cancelling;
mod image;
mod parents;
mod stub;
