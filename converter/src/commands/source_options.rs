//! How images are fetched, from the command line, the environment and the system's configuration.

use anyhow::Context;
use ducc::source::{Credentials, Options, Policy, RegistriesConf};
use ducc::wish;
use layer_layout::Platform;

use crate::cli::DownloadOptions;

/// The options for images of this platform, or of this machine's.
pub(super) fn source_options(
    download: &DownloadOptions,
    platform: Option<Platform>,
) -> anyhow::Result<Options> {
    let registries_conf = match &download.registries_conf {
        Some(path) => RegistriesConf::from_file(path)?,
        None => RegistriesConf::from_system()?,
    };
    let policy = match &download.signature_key[..] {
        [] => None,
        keys => Some(Policy::from_files(keys).context("--signature-key")?),
    };
    Ok(Options {
        platform: platform.unwrap_or_else(Platform::host),
        max_concurrent_downloads: download.max_concurrent_downloads,
        max_requests_per_registry: download.max_requests_per_registry,
        attempts: download.attempts,
        stall_timeout: download.stall_timeout,
        credentials: Credentials::from_environment()?,
        registries_conf,
        policy,
        ..Options::default()
    })
}

/// How wish lists are read.
pub(super) fn list_options(download: &DownloadOptions) -> wish::source::Options {
    wish::source::Options { attempts: download.attempts, ..wish::source::Options::default() }
}
