//! HTTP clients.
//!
//! - Trusted are the CA certificates of the system's trust store (through rustls' platform verifier, so
//!   `SSL_CERT_FILE` works, too) and those that Docker and Podman keep for this registry in `certs.d`. The
//!   latter are also trusted for the registry's token server and for redirects, as with Docker; so is the
//!   client certificate shown to those that ask for one. See `certificates.rs`.
//! - `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured, except for this machine itself.
//! - HTTP/1.1 only. Over HTTP/2 all downloads would share one connection and its flow control: one layer that
//!   is unpacked slowly would fill the window and stall the others.
//! - `Authorization` never follows a redirect to another scheme, host or port.

use std::time::Duration;

use http::HeaderValue;
use http::header::{ACCEPT_ENCODING, HeaderMap};
use reqwest::Client;
use reqwest::redirect::Policy;
use url::{Host, Url};

use super::certificates::Certificates;
use super::settings::HostSettings;
use crate::source::error::{Error, Result, SetupError};

/// Registries redirect once, to an object store or a CDN, and rarely twice.
const MAX_REDIRECTS: usize = 5;

/// How long an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// The HTTP clients for one host with certificates of its own, or for all that have none. Cloning is cheap and
/// shares connections.
#[derive(Debug, Clone)]
pub(in crate::source) struct Http {
    proxied: Client,
    direct: Client,
}

impl Http {
    /// `registry` is for messages.
    pub(super) fn new(
        registry: &str,
        settings: &HostSettings,
        certificates: &Certificates,
    ) -> Result<Self> {
        let Certificates { authorities, client } = certificates;
        // This fails only if a provider has been installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No content coding: digests are computed over the bytes on the wire.
        let identity =
            HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let builder = || {
            let builder = Client::builder()
                .user_agent(concat!("ducc/", env!("CARGO_PKG_VERSION")))
                .default_headers(identity.clone())
                .http1_only()
                .connect_timeout(settings.connect_timeout)
                .pool_idle_timeout(IDLE)
                .redirect(Policy::limited(MAX_REDIRECTS))
                .referer(false)
                .retry(reqwest::retry::never())
                .tls_danger_accept_invalid_certs(settings.insecure)
                .tls_certs_merge(authorities.clone());
            match client {
                Some(identity) => builder.identity(identity.clone()),
                None => builder,
            }
        };
        let setup = |error: reqwest::Error| Error::Setup {
            registry: registry.to_owned(),
            reason: SetupError::Client(error),
        };
        Ok(Self {
            proxied: builder().build().map_err(setup)?,
            direct: builder().no_proxy().build().map_err(setup)?,
        })
    }

    /// The client for a URL.
    pub(in crate::source) fn client(&self, url: &Url) -> &Client {
        if is_loopback(url) { &self.direct } else { &self.proxied }
    }
}

/// Whether a URL leads to this machine itself: `localhost`, 127.0.0.0/8 or `[::1]`.
pub(in crate::source) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_this_machine() {
        for (url, loopback) in [
            ("http://localhost:5000/", true),
            ("https://LOCALHOST/", true),
            ("http://127.0.0.1/", true),
            ("http://127.8.9.1:5000/", true),
            ("http://[::1]:5000/", true),
            ("http://localhost.example.org/", false),
            ("http://127.0.0.1.example.org/", false),
            ("http://128.0.0.1/", false),
            ("http://[::2]/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), loopback, "{url}");
        }
    }
}
