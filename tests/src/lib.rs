//! The end-to-end harness: real registries, real container runtimes, real programs, each in private directories and
//! torn down even after a failure.
//!
//! A test does what a user does: build an [`image`], push it to a [`registry::Registry`], publish it with
//! [`ducc`], start a [`containerd::Containerd`] on a [`node::Node`] with our [`snapshotter`], and look at what the
//! container prints and what was requested from the registry.
//!
//! Everything here needs root (mounts, namespaces, device nodes). Without it a test fails with one line; it is never
//! skipped, because a skipped end-to-end test looks exactly like a passed one. `cargo xtask test` installs everything
//! that the tests need.

pub mod access_log;
pub mod apptainer;
pub mod busybox;
pub mod cases;
pub mod cgroup;
pub mod cold_start;
pub mod containerd;
pub mod cri;
pub mod debian;
pub mod docker;
pub mod ducc;
pub mod faulty_registry;
pub mod image;
pub mod native;
pub mod node;
pub mod overlay;
pub mod podman;
pub mod process;
pub mod registry;
pub mod registry_auth;
pub mod runc;
pub mod site;
pub mod snapshotter;
pub mod tools;
pub mod tree;
pub mod tree_diff;
pub mod umoci;

pub use anyhow::{Context, Error, Result, bail, ensure};
