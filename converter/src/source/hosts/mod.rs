//! The hosts of registries, and what all images of a run share there.
//!
//! A publisher has thousands of images behind a few hosts. What a host needs once is made once: HTTP clients
//! with their connections and trust, logins and tokens, the knowledge of how it wants to be asked, and the
//! limits that hold for all images together. [`Registries`] holds all of it and stays small.
//!
//! | module | what it is for |
//! |---|---|
//! | [`registries`] | all hosts of a run |
//! | [`host`], [`settings`] | one host, and how it is to be talked to |
//! | [`limiter`], [`rate_limit`] | how many requests at a time, and pauses that a host asks for |
//! | [`availability`] | whether it is worth asking |
//! | [`http`], [`certificates`] | HTTP clients: trust, client certificates, proxies, redirects |
//! | [`auth`], [`challenge`], [`token`] | Basic and Bearer authentication for one repository |
//! | [`recent`] | a map that forgets what has not been used for long |

mod auth;
mod availability;
mod certificates;
mod challenge;
mod host;
mod http;
mod limiter;
mod rate_limit;
mod recent;
mod registries;
mod settings;
mod token;

pub(super) use auth::Authenticator;
pub(super) use challenge::Scope;
pub(super) use host::Host;
pub(super) use http::is_loopback;
pub use registries::Registries;
pub(super) use settings::HostSettings;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks what is consistent after each statement, so that a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
