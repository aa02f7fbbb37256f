//! The harness: real registries, real container runtimes, real programs, each in private directories and torn down also
//! after a failure.
//!
//! It reads as what a user does: build an [`image`], push it to a [`registry::Registry`], publish it with [`ducc`],
//! start a [`containerd::Containerd`] on a [`node::Node`] with our [`snapshotter`], and look at what the container
//! prints and at what the registry was asked for.
//!
//! What the demo and the benchmarks use is here; what only tests use, and what it takes to compile, is in `e2e`.

pub mod access_log;
pub mod apptainer;
pub mod cgroup;
pub mod cold_start;
pub mod containerd;
pub mod debian;
pub mod ducc;
pub mod image;
pub mod node;
pub mod process;
pub mod registry;
pub mod registry_auth;
pub mod snapshotter;
pub mod tools;
