//! Requests to one repository: authentication, time limits, repetition.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use layer_layout::{RegistryReference, Scheme};
use reqwest::Response;
use url::Url;

use super::auth::Authenticator;
use super::challenge::Scope;
use super::http::{Http, is_loopback};
use super::retry::Retry;
use crate::source::error::{Error, ReferenceError, Result};
use crate::source::failure::{Failure, show, tls_error};
use crate::source::options::Options;

/// Docker Hub's registry, which is not at the address that its images are named after.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// To read from a repository.
pub(super) const PULL: &str = "pull";

/// To read from a repository and to write to it.
pub(super) const PUSH: &str = "pull,push";

/// One repository of one registry.
///
/// A reference that begins with `http://` is accessed over plain HTTP, any other over HTTPS. Only for a
/// registry on this machine itself (`localhost`, 127.0.0.0/8, `[::1]`) is there a fallback from HTTPS to
/// plain HTTP, and only if it answers the TLS handshake with something other than TLS; a refused connection
/// or a certificate error is final.
#[derive(Debug)]
pub(super) struct RegistryClient {
    /// `…/v2/<repository>/`, with the scheme as written.
    base: Url,
    plain: AtomicBool,
    http: Http,
    auth: Authenticator,
    stall_timeout: Duration,
    pub(super) retry: Retry,
}

/// A request without its authentication.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Relative to the repository, or an absolute URL (for uploads).
    pub(super) target: &'a str,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Option<Bytes>,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, target: &'a str) -> Self {
        Self { method, target, headers: Vec::new(), body: None }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn body(mut self, body: Bytes) -> Self {
        self.body = Some(body);
        self
    }
}

impl RegistryClient {
    /// `actions` is what the repository is needed for: [`PULL`] or [`PUSH`].
    pub(super) fn open(
        reference: &RegistryReference,
        actions: &'static str,
        options: &Options,
    ) -> Result<Self> {
        // A mirror only passes on what it fetches, so pushes go to the registry itself.
        let mirror = options.credentials.mirror(reference.registry());
        let mirror = mirror.filter(|_| actions == PULL);
        let host = mirror.map_or(reference.registry(), |mirror| &mirror.host);
        let repository = match mirror.map(|mirror| mirror.path.as_str()) {
            Some(path) if !path.is_empty() => format!("{path}/{}", reference.repository()),
            _ => reference.repository().to_owned(),
        };
        let address = match host {
            "docker.io" | "index.docker.io" => DOCKER_HUB,
            other => other,
        };
        let base = format!("{}://{address}/v2/{repository}/", reference.scheme());
        let base = base.parse::<Url>().map_err(|cause| Error::Reference {
            image: reference.to_string(),
            reason: ReferenceError::Url { url: base, cause },
        })?;
        let http = Http::new(host, options.connect_timeout, &options.certificate_directories)?;
        let scope = Scope { repository, actions };
        let credentials = options.credentials.clone();
        let auth =
            Authenticator::new(host, scope, credentials, http.clone(), options.stall_timeout);
        Ok(Self {
            base,
            plain: AtomicBool::new(reference.scheme() == Scheme::Http),
            http,
            auth,
            stall_timeout: options.stall_timeout,
            retry: Retry {
                attempts: options.attempts.max(1),
                first: options.first_pause,
                longest: options.longest_pause,
            },
        })
    }

    /// The URL of something in the repository.
    pub(super) fn url(&self, target: &str) -> Result<Url, Failure> {
        let mut base = self.base.clone();
        if self.plain.load(Ordering::Relaxed) {
            // Cannot fail: a URL's scheme can be changed from HTTPS to HTTP.
            let _always = base.set_scheme("http");
        }
        base.join(target)
            .map_err(|error| Failure::protocol(&self.base, format!("bad URL {target:?}: {error}")))
    }

    /// Sends a request, and sends it again with authentication if the registry answers 401. Any answer in the
    /// end that is not a success is a failure. There is no waiting and trying again: see [`Self::repeat`].
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, Failure> {
        let mut authenticated = false;
        loop {
            let url = self.url(request.target)?;
            // Credentials go only to the registry, not to another host to which it directs uploads.
            let own = url.origin() == self.url("")?.origin();
            let authorization = if own { self.auth.header(&url).await? } else { None };
            let response = match self.send_once(request, &url, authorization.as_ref()).await {
                Err(Failure::Transport { cause, .. }) if self.speaks_plain(&url, &cause) => {
                    tracing::debug!(
                        url = show(&url),
                        "not TLS on this machine, continuing with HTTP"
                    );
                    self.plain.store(true, Ordering::Relaxed);
                    if self.url(request.target)? == url {
                        return Err(Failure::transport(&url, cause));
                    }
                    continue;
                }
                other => other?,
            };
            if response.status().is_success() {
                return Ok(response);
            }
            let from_registry = own && response.url().origin() == url.origin();
            if response.status() == StatusCode::UNAUTHORIZED && from_registry && !authenticated {
                authenticated = true;
                self.auth.answer(&url, response.headers(), authorization.as_ref()).await?;
                continue;
            }
            let status = response.status();
            return Err(match Failure::status(response, self.stall_timeout).await {
                Failure::Status { url, message, .. }
                    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
                {
                    let message = if message.is_empty() { status.to_string() } else { message };
                    Failure::Denied { url, message, hint: self.auth.hint_now().await }
                }
                other => other,
            });
        }
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut headers = HeaderMap::from_iter(request.headers.iter().cloned());
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let mut builder =
            self.http.client(url).request(request.method.clone(), url.clone()).headers(headers);
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let response = tokio::time::timeout(self.stall_timeout, builder.send())
            .await
            .map_err(|_| Failure::Stalled { url: show(url), after: self.stall_timeout })?
            .map_err(|cause| Failure::transport(url, cause))?;
        match response.headers().get(CONTENT_ENCODING) {
            Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
                let reason =
                    format!("unrequested content coding {coding:?}, perhaps by a proxy in between");
                Err(Failure::protocol(response.url(), reason))
            }
            _ => Ok(response),
        }
    }

    /// Whether a failed TLS handshake shows that the peer is on this machine and does not speak TLS.
    fn speaks_plain(&self, url: &Url, cause: &reqwest::Error) -> bool {
        url.scheme() == "https"
            && is_loopback(url)
            && matches!(tls_error(cause), Some(rustls::Error::InvalidMessage(_)))
    }

    /// The next piece of an answer's content; `None` at its end.
    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        match tokio::time::timeout(self.stall_timeout, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(cause)) => Err(Failure::transport(response.url(), cause)),
            Err(_) => {
                Err(Failure::Stalled { url: show(response.url()), after: self.stall_timeout })
            }
        }
    }

    /// Runs an operation until it succeeds, fails for good, or has failed too often.
    pub(super) async fn repeat<T, F>(&self, mut operation: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut failures = 0;
        loop {
            match operation().await {
                Ok(value) => return Ok(value),
                Err(failure) => self.pause(&mut failures, failure).await?,
            }
        }
    }

    /// Counts a failure and waits until it is time for another attempt.
    ///
    /// # Errors
    /// If another attempt would be pointless, or there have been enough.
    pub(super) async fn pause(&self, failures: &mut u32, failure: Failure) -> Result<(), Failure> {
        *failures += 1;
        if !failure.may_pass() {
            return Err(failure);
        }
        if *failures >= self.retry.attempts {
            return Err(Failure::GaveUp { attempts: *failures, cause: Box::new(failure) });
        }
        let pause = self.retry.pause(*failures, failure.retry_after());
        tracing::warn!(
            attempt = *failures,
            attempts = self.retry.attempts,
            pause_seconds = pause.as_secs_f32(),
            reason = %failure,
            cause = std::error::Error::source(&failure).map(tracing::field::display),
            "will try again"
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
