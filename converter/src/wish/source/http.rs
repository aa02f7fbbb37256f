//! A list from a web server, with conditional requests (RFC 9110, section 13).
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured, certificates are checked against the system's
//! trust store, and nothing leads from HTTPS to HTTP.

use std::time::SystemTime;

use http::StatusCode;
use http::header::{
    ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use url::Url;

use super::error::FetchError;
use super::{Fetched, Options, Version};
use crate::source::retry_after;

const MAX_REDIRECTS: usize = 5;

pub(super) async fn fetch(
    url: &Url,
    known: Option<&Version>,
    options: &Options,
) -> Result<Fetched, FetchError> {
    // This fails only if a provider has been installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .user_agent(concat!("ducc/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::custom(|attempt| {
            let secure = |url: &Url| url.scheme() == "https";
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("too many redirects")
            } else if attempt.previous().last().is_some_and(secure) && !secure(attempt.url()) {
                attempt.error("a redirect from HTTPS to HTTP")
            } else {
                attempt.follow()
            }
        }))
        .referer(false)
        .build()
        .map_err(FetchError::Client)?;
    let connection = |cause: reqwest::Error| FetchError::Connection(cause.without_url());

    let mut request = client.get(url.clone());
    let known = known.map(|version| (version.etag.as_ref(), version.last_modified.as_ref()));
    let mut conditional = false;
    if let Some((etag, last_modified)) = known {
        for (header, value) in [(IF_NONE_MATCH, etag), (IF_MODIFIED_SINCE, last_modified)] {
            if let Some(value) = value {
                request = request.header(header, value);
                conditional = true;
            }
        }
    }
    let mut response = request.send().await.map_err(connection)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if conditional => return Ok(Fetched::Unchanged),
        StatusCode::NOT_MODIFIED => return Err(FetchError::NotModified),
        status => {
            let retry_after = header(&response, RETRY_AFTER)
                .and_then(|text| retry_after(&text, SystemTime::now()));
            return Err(FetchError::Status { status, retry_after });
        }
    }
    let version = Version {
        etag: header(&response, ETAG),
        last_modified: header(&response, LAST_MODIFIED),
        commit: None,
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(connection)? {
        if bytes.len() as u64 + chunk.len() as u64 > options.size_limit {
            return Err(FetchError::TooLong { limit: options.size_limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Fetched::New(bytes, version))
}

fn header(response: &Response, name: HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}
