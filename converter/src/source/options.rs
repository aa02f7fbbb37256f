//! How a source is to be used.

use std::path::PathBuf;
use std::time::Duration;

use layer_layout::Platform;

use super::credentials::Credentials;
use super::hosts::{HostSettings, Registries};
use super::policy::Policy;
use super::registries_conf::RegistriesConf;

/// How a source is to be used. For the images of one run, change a clone: what can be shared is shared
/// through `registries`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which image of an index is wanted. The default is this machine's.
    pub platform: Platform,
    /// How many layers of all images together are downloaded at a time; 0 means no limit. The default is 3, as
    /// with containerd and Docker: more are seldom faster, and many registries limit the rate of requests.
    pub max_concurrent_downloads: usize,
    /// How many requests may wait for the answer of one registry at a time; 0 means no limit. The default is 8.
    /// A layer counts until its content begins to arrive.
    pub max_requests_per_registry: usize,
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
    /// Mirrors, and other places for images.
    pub registries_conf: RegistriesConf,
    /// Directories with certificates by registry, `<directory>/<host[:port]>/`: CA certificates `*.crt` on top of
    /// the system's trust store, and a client certificate `<name>.cert` with `<name>.key` (all PEM). The defaults
    /// are those of Docker and Podman.
    pub certificate_directories: Vec<PathBuf>,
    /// Whose signatures an image needs; `None` takes any image.
    pub policy: Option<Policy>,
    /// What the images of a run share.
    pub registries: Registries,
}

impl Options {
    /// The settings for a host; `insecure` is whether any certificate will do.
    pub(super) fn host_settings(&self, insecure: bool) -> HostSettings {
        HostSettings {
            connect_timeout: self.connect_timeout,
            stall_timeout: self.stall_timeout,
            max_requests: self.max_requests_per_registry,
            first_pause: self.first_pause,
            longest_pause: self.longest_pause,
            certificate_directories: self.certificate_directories.clone(),
            insecure,
        }
    }
}

impl Default for Options {
    /// Without credentials and mirrors: see [`Credentials::from_environment`] and
    /// [`RegistriesConf::from_system`].
    fn default() -> Self {
        Self {
            platform: Platform::host(),
            max_concurrent_downloads: 3,
            max_requests_per_registry: 8,
            stall_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(30),
            attempts: 6,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(120),
            credentials: Credentials::default(),
            registries_conf: RegistriesConf::default(),
            certificate_directories: vec![
                PathBuf::from("/etc/docker/certs.d"),
                PathBuf::from("/etc/containers/certs.d"),
            ],
            policy: None,
            registries: Registries::default(),
        }
    }
}
