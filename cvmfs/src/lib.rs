//! CernVM-FS repositories, read and written in their storage: content-addressed objects and signed SQLite
//! catalogs in a directory or an S3 bucket. No mount, no union file system, no root.
//!
//! | room | what it is for |
//! |---|---|
//! | [`fqrn`], [`hash`], [`path`], [`entry`], [`xattr`], [`link_target`] | the format's values |
//! | [`compression`] | how objects are stored |
//! | [`storage`] | where a repository is stored: a directory or a bucket |
//! | [`objects`] | file content on its way into the storage |
//! | [`catalog`] | the databases that hold the tree |
//! | [`manifest`], [`whitelist`], [`keys`] | what makes a revision trustworthy |
//! | [`history`], [`reflog`] | tags, and the objects that garbage collection starts from |
//! | [`snapshot`], [`publication`] | a revision to read, and edits that become a new one |
//! | [`check`], [`collector`] | finding damage, and removing what nothing refers to |
//! | [`server_conf`] | stock servers on the same machine |
//! | [`scratch`], [`crew`] | temporary files; threads that do the same to many things |
//!
//! [`Repository`] brings them together.
//!
//! The crate knows nothing of containers.

mod administration;
mod auto_tags;
mod backoff;
pub mod catalog;
pub mod check;
mod classic;
pub mod collector;
pub mod compression;
mod creation;
pub mod crew;
mod database;
pub mod entry;
mod error;
pub mod fqrn;
mod generation;
pub mod hash;
pub mod history;
pub mod keys;
mod last_seen;
pub mod link_target;
pub mod manifest;
mod marks;
pub mod objects;
pub mod path;
pub mod publication;
mod recent;
pub mod reflog;
mod reliance;
mod repository;
pub mod scratch;
pub mod server_conf;
mod signed_file;
pub mod snapshot;
pub mod storage;
mod turn;
mod unix_time;
pub mod whitelist;
pub mod xattr;

pub use auto_tags::AutoTags;
pub use creation::Creation;
pub use error::{Activity, CollectionStop, Distrust, Error, Result, TagError};
pub use last_seen::{LastSeen, Progress};
pub use repository::{Repository, Session};
pub use turn::Turn;
