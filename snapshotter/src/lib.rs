//! A containerd snapshotter that serves image layers from CernVM-FS repositories.
//!
//! containerd asks over gRPC for directories to mount and mounts them itself. A layer that is in a configured
//! repository becomes a committed snapshot whose directory is a symbolic link into that repository; any other
//! layer is unpacked by containerd as with its built-in overlayfs snapshotter. The daemon has no mounts of
//! its own, so it can stop, crash or be replaced under running containers.
//!
//! A request passes through [`service`] (gRPC) and [`snapshots`] (what each call does) to [`store`] (records),
//! [`directories`] (what is on disk) and [`repository`] (what the repositories have); [`mounts`] turns a chain of
//! layers into what containerd mounts. [`metrics`] counts, and [`status`] tells monitoring; [`check`] is a command of its own. The paths of a repository, its JSON files and the names of labels come from
//! `layer-layout`.

pub mod check;
pub mod config;
pub mod directories;
pub mod error;
pub mod filter;
pub mod idmap;
pub mod kernel;
pub mod log;
pub mod metrics;
pub mod mounts;
pub mod proto;
pub mod repository;
pub mod server;
pub mod service;
pub mod snapshot;
pub mod snapshots;
pub mod status;
pub mod store;

pub use error::{Error, Result};
