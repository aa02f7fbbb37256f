//! How a host is to be talked to.

use std::path::PathBuf;
use std::time::Duration;

/// How a host is to be talked to. What is set up for other settings is not shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::source) struct HostSettings {
    pub(in crate::source) connect_timeout: Duration,
    /// How long the host may stay silent.
    pub(in crate::source) stall_timeout: Duration,
    /// Requests that wait for their answer at a time; 0 means no limit.
    pub(in crate::source) max_requests: usize,
    pub(in crate::source) first_pause: Duration,
    pub(in crate::source) longest_pause: Duration,
    pub(in crate::source) certificate_directories: Vec<PathBuf>,
    /// Whether any certificate is accepted.
    pub(in crate::source) insecure: bool,
}
