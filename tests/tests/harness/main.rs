//! The harness itself, shown to work with containerd's built-in snapshotter and unpacked directories: what fails here is
//! a fault of the harness or of the machine, not of the programs under test.

mod image;
mod node;
mod registry;
mod runtimes;
