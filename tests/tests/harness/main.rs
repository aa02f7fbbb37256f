//! Tests of the harness itself, with containerd's built-in snapshotter and unpacked directories: a failure here is a
//! fault of the harness or of the machine, not of the programs under test.

mod image;
mod node;
mod registry;
mod runtimes;
