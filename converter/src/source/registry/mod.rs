//! Images in registries (OCI distribution-spec).
//!
//! Why not `oci-client`: version 0.18 requests `/v2/` before each image, fetches one token per run and does
//! not renew it when a download outlives it, drops the headers of error answers (`Retry-After`), has no time
//! limit for a stalled peer, maps `docker.io` by rules that differ from DUCC's, and its streams neither
//! resume nor tell whether the server honoured a `Range`. Everything that matters here would have to be built
//! around it. So requests are made with `reqwest` directly.
//!
//! | module | what it is for |
//! |---|---|
//! | [`pull`] | an image's documents and layers out of a repository |
//! | [`platforms`] | the images of an index |
//! | [`signatures`] | what has to be signed |
//! | [`tags`], [`link`] | the tags of a repository, page by page |
//! | [`push`], [`referrers`] | a thin image into a repository, so that it is found from the full one |
//! | [`document`] | small answers, read as a whole |
//! | [`endpoint`], [`endpoints`] | mirrors, and the registry itself |
//! | [`client`] | requests to one repository: authentication, time limits, repetition |
//! | [`retry`] | how often and after which pause something is tried again |
//! | [`download`], [`content_range`] | a blob as a stream that survives broken connections |

mod client;
mod content_range;
mod document;
mod download;
mod endpoint;
mod endpoints;
mod link;
mod platforms;
mod pull;
mod push;
mod referrers;
mod retry;
mod signatures;
mod tags;

pub(super) use pull::Registry;
pub use push::{Pushed, push_thin};
pub(crate) use retry::Retry;
pub use tags::list_tags;
