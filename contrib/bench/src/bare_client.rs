//! The least that comparing images with their registry can cost: a `HEAD` request for each manifest, and nothing else.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use http::header::{ACCEPT, HeaderMap, HeaderValue};

/// As in `ducc`.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Asks for all URLs in a file, one on each line, `at_a_time` of them at a time over as many connections.
pub(crate) fn run(urls: &Path, at_a_time: usize) -> Result<()> {
    // Fails only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let urls: Arc<[String]> = std::fs::read_to_string(urls)?.lines().map(str::to_owned).collect();
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]);
    let client = reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .retry(reqwest::retry::never())
        .default_headers(headers)
        .build()?;
    let next = Arc::new(AtomicUsize::new(0));
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..at_a_time {
            let (client, urls, next) = (client.clone(), Arc::clone(&urls), Arc::clone(&next));
            clients.spawn(async move {
                while let Some(url) = urls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let response = client.head(url).send().await?.error_for_status()?;
                    let digest = response.headers().get("docker-content-digest");
                    ensure!(digest.context("no digest")?.len() > 7, "{url}: no digest");
                }
                Ok(())
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        Ok(())
    })
}
