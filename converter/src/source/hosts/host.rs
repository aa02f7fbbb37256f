//! One host of a registry.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::availability::Availability;
use super::challenge::Challenge;
use super::http::Http;
use super::limiter::Limiter;
use super::lock;
use super::settings::HostSettings;

/// One host, `name[:port]`, with what all images behind it share.
#[derive(Debug)]
pub(in crate::source) struct Host {
    /// `name[:port]`, as references write it.
    pub(in crate::source) name: String,
    pub(in crate::source) http: Http,
    pub(in crate::source) limiter: Limiter,
    pub(in crate::source) availability: Availability,
    pub(in crate::source) stall_timeout: Duration,
    pub(in crate::source) insecure: bool,
    /// What tells this host from another one of the same name with other settings.
    pub(super) number: u64,
    /// How it wanted requests to be authenticated when it last refused one.
    challenge: Mutex<Option<Challenge>>,
    plain: AtomicBool,
    /// Whether it has been asked which login it wants, although nothing that was asked for needed one. The lock is held while
    /// it is asked.
    pub(in crate::source) was_asked: tokio::sync::Mutex<bool>,
}

impl Host {
    pub(super) fn new(name: &str, settings: &HostSettings, http: Http, number: u64) -> Self {
        let HostSettings { max_requests, first_pause, longest_pause, .. } = *settings;
        Self {
            name: name.to_owned(),
            http,
            availability: Availability::default(),
            limiter: Limiter::new(name, max_requests, first_pause, longest_pause),
            stall_timeout: settings.stall_timeout,
            insecure: settings.insecure,
            number,
            challenge: Mutex::default(),
            plain: AtomicBool::new(false),
            was_asked: tokio::sync::Mutex::default(),
        }
    }

    /// How the host wants requests to be authenticated, if it has ever refused one. With this, the first
    /// request for the next repository need not be refused, too.
    pub(super) fn challenge(&self) -> Option<Challenge> {
        lock(&self.challenge).clone()
    }

    /// Remembers a challenge without what was particular to its repository.
    pub(super) fn remember(&self, challenge: &Challenge) {
        *lock(&self.challenge) = Some(challenge.general());
    }

    /// Whether the host turned out to speak plain HTTP where HTTPS was tried.
    pub(in crate::source) fn is_plain(&self) -> bool {
        self.plain.load(Ordering::Relaxed)
    }

    pub(in crate::source) fn set_plain(&self) {
        self.plain.store(true, Ordering::Relaxed);
    }
}
