//! Images in registries (OCI distribution-spec).
//!
//! Why not `oci-client`: version 0.18 requests `/v2/` before each image, fetches one token per run and does
//! not renew it when a download outlives it, drops the headers of error answers (`Retry-After`), has no time
//! limit for a stalled peer, maps `docker.io` by rules that differ from DUCC's, and its streams neither
//! resume nor tell whether the server honoured a `Range`. Everything that matters here would have to be built
//! around it. So requests are made with `reqwest` directly; documents are parsed with `oci-spec`, challenges
//! with `http-auth`.
//!
//! | module | what it is for |
//! |---|---|
//! | [`pull`] | an image's documents and layers out of a repository |
//! | [`push`] | a thin image into a repository |
//! | [`tags`] | the tags of a repository, page by page |
//! | [`document`] | small answers, read as a whole |
//! | [`client`] | requests to one repository: authentication, time limits, repetition |
//! | [`auth`], [`challenge`] | Basic and Bearer authentication |
//! | [`http`] | TLS trust, proxies, redirects |
//! | [`retry`] | how often and after which pause something is tried again |
//! | [`download`], [`content_range`] | a blob as a stream that survives broken connections |

mod auth;
mod challenge;
mod client;
mod content_range;
mod document;
mod download;
mod http;
mod pull;
mod push;
mod retry;
mod tags;

pub(super) use pull::Registry;
pub use push::{Pushed, push_thin};
pub use tags::list_tags;
