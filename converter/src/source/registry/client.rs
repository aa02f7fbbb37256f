//! Requests to one repository: authentication, time limits, repetition.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use reqwest::Response;
use url::Url;

use super::endpoint::Endpoint;
use super::retry::Retry;
use crate::source::error::{Error, ReferenceError, Result};
use crate::source::failure::{Failure, show, tls_error};
use crate::source::hosts::{Authenticator, Host, Scope, is_loopback};
use crate::source::options::Options;

/// Docker Hub's registry, which is not at the address that its images are named after.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// To read from a repository.
pub(super) const PULL: &str = "pull";

/// To read from a repository and to write to it.
pub(super) const PUSH: &str = "pull,push";

/// How often a mirror is tried; the registry itself may be the better place to wait for.
const MIRROR_ATTEMPTS: u32 = 2;

/// One repository of one host.
///
/// A reference that begins with `http://` is accessed over plain HTTP, any other over HTTPS. Only for a
/// registry on this machine itself (`localhost`, 127.0.0.0/8, `[::1]`) is there a fallback from HTTPS to
/// plain HTTP, and only if it answers the TLS handshake with something other than TLS; a refused connection
/// or a certificate error is final. For a host that `registries.conf` calls insecure, certificates do not matter,
/// and plain HTTP is tried, too, if nothing listens on the port of HTTPS.
#[derive(Debug)]
pub(super) struct RegistryClient {
    /// `…/v2/<repository>/`, with the scheme as written.
    base: Url,
    host: Arc<Host>,
    auth: Arc<Authenticator>,
    retry: Retry,
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
    /// `actions` is what the repository is needed for: [`PULL`] or [`PUSH`]. `image` is for messages.
    pub(super) fn open(
        image: &str,
        endpoint: &Endpoint,
        actions: &'static str,
        options: &Options,
    ) -> Result<Self> {
        let Endpoint { scheme, host, repository, insecure, is_mirror } = endpoint;
        let address = match host.as_str() {
            "docker.io" | "index.docker.io" => DOCKER_HUB,
            other => other,
        };
        let base = format!("{scheme}://{address}/v2/{repository}/");
        let base = base.parse::<Url>().map_err(|cause| Error::Reference {
            image: image.to_owned(),
            reason: ReferenceError::Url { url: base, cause },
        })?;
        let host = options.registries.host(host, &options.host_settings(*insecure))?;
        let scope = Scope { repository: repository.clone(), actions };
        let auth = options.registries.authenticator(&host, scope, &options.credentials);
        let attempts = match is_mirror {
            true => options.attempts.min(MIRROR_ATTEMPTS),
            false => options.attempts,
        };
        let retry = Retry {
            attempts: attempts.max(1),
            first: options.first_pause,
            longest: options.longest_pause,
        };
        Ok(Self { base, host, auth, retry })
    }

    /// The host that is asked.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// The URL of something in the repository.
    pub(super) fn url(&self, target: &str) -> Result<Url, Failure> {
        let mut base = self.base.clone();
        if self.host.is_plain() {
            // Cannot fail: a URL's scheme can be changed from HTTPS to HTTP.
            let _always = base.set_scheme("http");
        }
        base.join(target)
            .map_err(|error| Failure::protocol(&self.base, format!("bad URL {target:?}: {error}")))
    }

    /// Sends a request, and sends it again with authentication if the registry lacks that. Any answer in the
    /// end that is not a success is a failure. There is no waiting and trying again: see [`Self::repeat`].
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, Failure> {
        if let Some(left) = self.host.availability.left_alone() {
            let url = show(&self.url(request.target)?);
            return Err(Failure::LeftAlone { url, seconds: left.as_secs() + 1 });
        }
        let mut authenticated = false;
        loop {
            let url = self.url(request.target)?;
            // Credentials go only to the registry, not to another host to which it directs uploads.
            let own = url.origin() == self.url("")?.origin();
            let authorization = if own { self.auth.header(&url).await? } else { None };
            let sent = self.send_once(request, &url, own, authorization.as_ref());
            let response = match sent.await {
                Err(Failure::Transport { cause, .. }) if self.speaks_plain(&url, &cause) => {
                    tracing::debug!(url = show(&url), "no TLS, continuing with HTTP");
                    self.host.set_plain();
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
            if from_registry && !authenticated {
                let (status, headers) = (response.status(), response.headers());
                authenticated = self.authenticate(&url, status, headers, &authorization).await?;
                if authenticated {
                    continue;
                }
            }
            let status = response.status();
            return Err(match Failure::status(response, self.host.stall_timeout).await {
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

    /// Gets what a refused request lacked, if that is a login. Most registries ask for it with 401; some hide that there is
    /// something behind 404, or answer 403, and tell what they want only if they are asked for their base
    /// (OCI distribution-spec, "Determining Support"). They are, if there is a login that could help.
    async fn authenticate(
        &self,
        url: &Url,
        status: StatusCode,
        headers: &HeaderMap,
        used: &Option<HeaderValue>,
    ) -> Result<bool, Failure> {
        let is_told = headers.contains_key(WWW_AUTHENTICATE);
        match status {
            StatusCode::UNAUTHORIZED if is_told => {
                self.auth.answer(url, headers, used.as_ref()).await?;
                return Ok(true);
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {}
            _ => return Ok(false),
        }
        if used.is_some() || !self.auth.may_help().await {
            return Ok(false);
        }
        // What comes of this explains nothing about the request, which has its own answer.
        let met = if is_told {
            self.auth.answer(url, headers, None).await.map(|()| true)
        } else {
            self.ask_for_challenge().await?;
            self.auth.answer_known(url).await
        };
        Ok(met.unwrap_or_else(|failure| {
            tracing::debug!(%failure, registry = self.host.name, "continuing without a login");
            false
        }))
    }

    /// Asks the registry at its base which login it wants, unless that has been done.
    async fn ask_for_challenge(&self) -> Result<(), Failure> {
        let mut was_asked = self.host.was_asked.lock().await;
        if !*was_asked {
            let base = self.url("/v2/")?;
            let request = Request::new(Method::GET, "/v2/");
            let response = self.send_once(&request, &base, true, None).await?;
            if response.status() == StatusCode::UNAUTHORIZED
                && response.url().origin() == base.origin()
            {
                self.auth.learn(response.headers());
            }
            *was_asked = true;
        }
        Ok(())
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        url: &Url,
        own: bool,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut headers = HeaderMap::from_iter(request.headers.iter().cloned());
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let mut builder = self
            .host
            .http
            .client(url)
            .request(request.method.clone(), url.clone())
            .headers(headers);
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let limiter = &self.host.limiter;
        // Quotas are for what costs something, and HEAD is how registries want to be asked for news.
        let slot = if own { limiter.enter(request.method != Method::HEAD).await } else { None };
        let response = tokio::time::timeout(self.host.stall_timeout, builder.send())
            .await
            .map_err(|_| Failure::Stalled { url: show(url), after: self.host.stall_timeout })?
            .map_err(|cause| Failure::transport(url, cause))?;
        drop(slot);
        // After a redirect the answer is that of an object store.
        if own && response.url().origin() == url.origin() {
            limiter.observe(response.status(), response.headers());
            if !response.status().is_server_error() {
                self.host.availability.answered();
            }
        }
        Ok(response)
    }

    /// Whether a failed exchange shows that the peer does not speak TLS, where that is allowed.
    fn speaks_plain(&self, url: &Url, cause: &reqwest::Error) -> bool {
        let insecure = self.host.insecure;
        if url.scheme() != "https" || !(insecure || is_loopback(url)) {
            return false;
        }
        match tls_error(cause) {
            Some(rustls::Error::InvalidMessage(_)) => true,
            Some(_) => false,
            None => insecure && url.port().is_none() && cause.is_connect(),
        }
    }

    /// The next piece of an answer's content; `None` at its end.
    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        match tokio::time::timeout(self.host.stall_timeout, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(cause)) => Err(Failure::transport(response.url(), cause)),
            Err(_) => {
                Err(Failure::Stalled { url: show(response.url()), after: self.host.stall_timeout })
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
            if failure.is_silence() {
                self.host.availability.gave_up();
            }
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
