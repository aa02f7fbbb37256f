//! The end-to-end harness: the crate `harness` and what only tests use. Real registries, real container runtimes and real
//! programs, each in private directories and torn down even after a failure.
//!
//! A test does what a user does: build an [`image`], push it to a [`registry::Registry`], publish it with
//! [`ducc`], start a [`containerd::Containerd`] on a [`node::Node`] with our [`snapshotter`], and look at what the
//! container prints and what was requested from the registry.
//!
//! Everything here needs root (mounts, namespaces, device nodes). Without it a test fails with one line; it is never
//! skipped, because a skipped end-to-end test looks exactly like a passed one. `cargo xtask test` installs everything
//! that the tests need.

pub mod busybox;
pub mod cases;
pub mod check_out;
mod connections;
pub mod cri;
pub mod cvmfs_ducc;
pub mod docker;
pub mod engine_cases;
pub mod faulty_registry;
pub mod golden;
pub mod kill_points;
pub mod native;
pub mod overlay;
pub mod paged_registry;
pub mod podman;
pub mod rounds;
pub mod runc;
pub mod site;
pub mod small_disk;
pub mod target;
pub mod tree;
pub mod tree_diff;
pub mod umoci;

pub use anyhow::{Context, Error, Result, bail, ensure};
pub use harness::{
    access_log, apptainer, cgroup, cold_start, containerd, debian, ducc, image, node, process,
    registry, registry_auth, snapshotter, tools,
};
