//! Images in registries (OCI distribution-spec).
//!
//! Why not `oci-client`: version 0.18 asks `/v2/` before each image, fetches a token per run and does not
//! renew it when a download outlives it, drops the headers of error answers (`Retry-After`), has no time
//! limit for a peer that stalls, maps `docker.io` by rules that differ from DUCC's, and its streams neither
//! resume nor tell whether the server honoured a `Range`. Its tasks would all have to be done around it.
//! So requests are made with `reqwest` itself; documents are parsed with `oci-spec`, challenges with
//! `http-auth`.
//!
//! | module | what it is for |
//! |---|---|
//! | [`pull`] | an image's documents and layers out of a repository |
//! | [`push`] | a thin image into a repository |
//! | [`document`] | small answers as a whole |
//! | [`session`] | requests to one repository: authentication, time limits, repetition |
//! | [`auth`], [`challenge`] | Basic and Bearer |
//! | [`http`] | TLS trust, proxies, redirects |
//! | [`retry`] | how often and after which pause something is tried again |
//! | [`download`], [`content_range`] | a blob as a stream that survives broken connections |

mod auth;
mod challenge;
mod content_range;
mod document;
mod download;
mod http;
mod pull;
mod push;
mod retry;
mod session;

pub(super) use pull::Registry;
pub use push::{Pushed, push_thin};
