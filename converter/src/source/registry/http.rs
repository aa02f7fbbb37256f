//! HTTP clients for one registry.
//!
//! - Trusted are the CA certificates of the system's trust store (through rustls' platform verifier, so
//!   `SSL_CERT_FILE` works, too) and those that Docker and Podman keep for this registry in `certs.d`. The
//!   latter are also trusted for the registry's token server and for redirects, as with Docker.
//! - `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured, except for this machine itself.
//! - HTTP/1.1 only. Over HTTP/2 all downloads would share one connection and its flow control: one layer that
//!   is unpacked slowly would fill the window and stall the others.
//! - `Authorization` never follows a redirect to another scheme, host or port.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use http::header::{ACCEPT_ENCODING, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use url::{Host, Url};

use crate::source::error::{Error, Result, SetupError};

/// Registries redirect once, to an object store or a CDN, and rarely twice.
const MAX_REDIRECTS: usize = 5;

/// How long an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// The HTTP clients for one registry, which share nothing with those for others.
#[derive(Debug, Clone)]
pub(super) struct Http {
    proxied: Client,
    direct: Client,
}

impl Http {
    pub(super) fn new(
        registry: &str,
        connect_timeout: Duration,
        certificate_directories: &[PathBuf],
    ) -> Result<Self> {
        let certificates = certificates(registry, certificate_directories)?;
        // This fails only if a provider has been installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No content coding: digests are computed over the bytes on the wire.
        let identity =
            HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let builder = || {
            Client::builder()
                .user_agent(concat!("ducc/", env!("CARGO_PKG_VERSION")))
                .default_headers(identity.clone())
                .http1_only()
                .connect_timeout(connect_timeout)
                .pool_idle_timeout(IDLE)
                .redirect(Policy::limited(MAX_REDIRECTS))
                .referer(false)
                .retry(reqwest::retry::never())
                .tls_certs_merge(certificates.clone())
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
    pub(super) fn client(&self, url: &Url) -> &Client {
        if is_loopback(url) { &self.direct } else { &self.proxied }
    }
}

/// Whether a URL leads to this machine itself: `localhost`, 127.0.0.0/8 or `[::1]`.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The CA certificates for a registry, `<directory>/<host[:port]>/*.crt`.
fn certificates(registry: &str, directories: &[PathBuf]) -> Result<Vec<Certificate>> {
    let mut certificates = Vec::new();
    for directory in directories.iter().map(|directory| directory.join(registry)) {
        let failed = |reason: SetupError| Error::Setup { registry: registry.to_owned(), reason };
        let unread = |path: &Path, cause| failed(SetupError::Read { path: path.to_owned(), cause });
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                continue;
            }
            Err(error) => return Err(unread(&directory, error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| unread(&directory, error))?.path();
            if path.extension().is_none_or(|extension| extension != "crt") {
                continue;
            }
            let pem = std::fs::read(&path).map_err(|error| unread(&path, error))?;
            let bundle = Certificate::from_pem_bundle(&pem)
                .map_err(|cause| failed(SetupError::Certificate { path: path.clone(), cause }))?;
            if bundle.is_empty() {
                return Err(failed(SetupError::NoCertificate(path)));
            }
            certificates.extend(bundle);
        }
    }
    Ok(certificates)
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

    #[test]
    fn certificates_of_a_registry() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("registry.example:5000");
        std::fs::create_dir(&own).unwrap();
        let key = rcgen::generate_simple_self_signed(["registry.example".to_owned()]).unwrap();
        std::fs::write(own.join("ca.crt"), key.cert.pem()).unwrap();
        std::fs::write(own.join("client.key"), "not a certificate").unwrap();
        let directories = [directory.path().to_owned(), directory.path().join("none")];
        let count = |registry: &str| certificates(registry, &directories).map(|list| list.len());
        assert_eq!(count("registry.example:5000").unwrap(), 1);
        assert_eq!(count("registry.example").unwrap(), 0);
        std::fs::write(own.join("broken.crt"), "no PEM").unwrap();
        let error = count("registry.example:5000").unwrap_err().to_string();
        assert!(error.contains("broken.crt"), "{error}");
    }
}
