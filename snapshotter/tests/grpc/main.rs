//! The real daemon on a private socket, driven through its own protocol, and real mounts of what it returns.
//!
//! `conformance` asserts what containerd's suite (`core/snapshots/testsuite`) asserts; the other modules test
//! what that suite leaves out. All tests need root, because they mount.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod check;
mod client;
mod codes;
mod conformance;
mod daemon;
mod faults;
mod faulty;
mod hung;
mod lifecycle;
mod lookup;
mod lowers;
mod manager;
mod mount;
mod races;
mod remote;
mod repository;
mod space;
mod status;
mod tree;
mod unreachable;
