//! How a source is to be used.

use std::path::PathBuf;
use std::time::Duration;

use layer_layout::Platform;

use super::credentials::Credentials;

/// What is common to all sources of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which image of an index is wanted. The default is this machine's.
    pub platform: Platform,
    /// How many layers of one image are downloaded at a time; 0 means no limit. The default is 3, as with
    /// containerd and Docker: more are seldom faster, and many registries limit the rate of requests.
    pub max_concurrent_downloads: usize,
    /// How long a peer may stay silent before the attempt counts as failed. The default is one minute.
    pub stall_timeout: Duration,
    /// How long connecting may take, TLS handshake included. The default is 30 seconds.
    pub connect_timeout: Duration,
    /// How often something is tried before it fails; at least 1. The default is 6. An attempt that
    /// transferred a mebibyte or more of a layer is not counted.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each further one. The default is one second; see
    /// `registry/retry.rs`.
    pub first_pause: Duration,
    /// The longest pause, even if a registry asks for a longer one. The default is two minutes.
    pub longest_pause: Duration,
    /// Logins for registries.
    pub credentials: Credentials,
    /// Directories with CA certificates by registry, `<directory>/<host[:port]>/*.crt` (PEM), on top of the
    /// system's trust store. The defaults are those of Docker and Podman.
    pub certificate_directories: Vec<PathBuf>,
}

impl Default for Options {
    /// Without credentials: see [`Credentials::from_environment`].
    fn default() -> Self {
        Self {
            platform: Platform::host(),
            max_concurrent_downloads: 3,
            stall_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(30),
            attempts: 6,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(120),
            credentials: Credentials::default(),
            certificate_directories: vec![
                PathBuf::from("/etc/docker/certs.d"),
                PathBuf::from("/etc/containers/certs.d"),
            ],
        }
    }
}
