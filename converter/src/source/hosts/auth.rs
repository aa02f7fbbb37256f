//! Authentication for one repository: Basic, and the distribution project's Bearer tokens.
//!
//! Nothing is sent before a host asks for it with a 401, so a password reaches only a host that wants one.
//! What it asked for once is taken to hold for its other repositories: their first request is not refused
//! again, which halves the requests of a long list. A token is kept until it expires (`expires_in`) or the
//! registry refuses it, perhaps in the middle of a conversion; then a new one is fetched. All requests share one
//! token, and only one request fetches a new one.
//!
//! The token server's host may differ from the registry's (`auth.docker.io`); tokens are designed that way. But
//! credentials for a registry that is accessed over HTTPS never go to a token server over plain HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use super::challenge::{Bearer, Challenge, Scope};
use super::host::Host;
use super::http::is_loopback;
use crate::source::credentials::{Credential, Credentials, Found};
use crate::source::failure::{Failure, show};

/// The name of this program for OAuth 2 token servers.
const CLIENT_ID: &str = "ducc";

/// Lifetime of a token that comes without one (token specification of the distribution project).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// The largest answer of a token server that is read, in bytes. Tokens have a few kilobytes.
const TOKEN_LIMIT: usize = 1 << 20;

/// Authenticates requests to one repository of one registry.
#[derive(Debug)]
pub(in crate::source) struct Authenticator {
    host: Arc<Host>,
    scope: Scope,
    credentials: Credentials,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    header: Option<HeaderValue>,
    /// Where the credentials in the header come from, for messages.
    origin: Option<String>,
    /// When the header should no longer be used, and where to get a new one.
    expires: Option<(Instant, Bearer)>,
    /// Whether what the host asked for elsewhere has been tried here.
    guessed: bool,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authenticator {
    pub(super) fn new(host: Arc<Host>, scope: Scope, credentials: Credentials) -> Self {
        Self { host, scope, credentials, held: Mutex::default() }
    }

    /// What to send with a request to `url`; `None` if the host has not asked for anything yet.
    pub(in crate::source) async fn header(
        &self,
        url: &Url,
    ) -> Result<Option<HeaderValue>, Failure> {
        let mut held = self.held.lock().await;
        if let Some((expires, bearer)) = &held.expires
            && *expires <= Instant::now()
        {
            let bearer = bearer.clone();
            self.fetch(&mut held, url, bearer).await?;
        }
        if held.header.is_none()
            && !held.guessed
            && let Some(challenge) = self.host.challenge()
        {
            held.guessed = true;
            // Not final: this repository may be open to all.
            if let Err(failure) = self.meet(&mut held, url, challenge, None).await {
                tracing::debug!(%failure, registry = self.host.name, "continuing without a login");
            }
        }
        Ok(held.header.clone())
    }

    /// Responds to the challenge in a 401 from `url`, to a request that was sent with `used`. If this succeeds,
    /// [`Self::header`] gives something other than `used` afterwards.
    pub(in crate::source) async fn answer(
        &self,
        url: &Url,
        headers: &HeaderMap,
        used: Option<&HeaderValue>,
    ) -> Result<(), Failure> {
        let mut held = self.held.lock().await;
        if held.header.as_ref() != used {
            // Another request has already got a new header.
            return Ok(());
        }
        // Now it is known, and need not be guessed.
        held.guessed = true;
        match Challenge::choose(headers) {
            Ok(challenge) => {
                self.host.remember(&challenge);
                self.meet(&mut held, url, challenge, used).await
            }
            Err(offered) => Err(Failure::Denied {
                url: show(url),
                message: format!("the registry wants an unknown authentication ({offered})"),
                hint: "only Basic and Bearer tokens are supported".to_owned(),
            }),
        }
    }

    /// Gets what a challenge asks for; `used` is what was refused.
    async fn meet(
        &self,
        held: &mut Held,
        url: &Url,
        challenge: Challenge,
        used: Option<&HeaderValue>,
    ) -> Result<(), Failure> {
        let Challenge::Bearer(bearer) = challenge else {
            return self.log_in(held, url, used).await;
        };
        self.fetch(held, url, bearer).await
    }

    /// Finds user name and password.
    async fn log_in(
        &self,
        held: &mut Held,
        url: &Url,
        used: Option<&HeaderValue>,
    ) -> Result<(), Failure> {
        let denied = |message: &str, hint: String| {
            Err(Failure::Denied { url: show(url), message: message.to_owned(), hint })
        };
        let found = self.find(url).await?;
        let Some(Found { credential, origin }) = found else {
            return denied("a login is needed", self.hint(None));
        };
        let Credential::Password { username, password } = credential else {
            let hint = format!("{origin} holds an identity token; log in with a password");
            return denied("the registry wants user name and password", hint);
        };
        let header = basic(&username, password.expose());
        if used == Some(&header) {
            return denied("wrong user name or password", self.hint(Some(&origin)));
        }
        held.header = Some(header);
        held.origin = Some(origin);
        held.expires = None;
        Ok(())
    }

    /// What a user can do about a refusal.
    pub(in crate::source) async fn hint_now(&self) -> String {
        let held = self.held.lock().await;
        self.hint(held.origin.as_deref())
    }

    fn hint(&self, origin: Option<&str>) -> String {
        match origin {
            Some(origin) => format!(
                "the login for {} came from {origin}; check it and its rights, and the image's name",
                self.host.name
            ),
            None => format!(
                "no login for {} in {}; log in with `docker login` or `podman login`, and check the image's name",
                self.host.name,
                self.credentials.places()
            ),
        }
    }

    /// The credentials for the registry, which will be sent to `url`.
    async fn find(&self, url: &Url) -> Result<Option<Found>, Failure> {
        let found = self.credentials.find(&self.host.name, &self.scope.repository).await?;
        if found.is_some() && url.scheme() == "http" && !is_loopback(url) {
            tracing::warn!(
                url = show(url),
                "a login is sent over plain HTTP, where anybody in between can read it"
            );
        }
        Ok(found)
    }

    /// Fetches a token.
    async fn fetch(&self, held: &mut Held, url: &Url, bearer: Bearer) -> Result<(), Failure> {
        let bad_realm = |reason: &str| {
            Failure::protocol(url, format!("token server {:?}: {reason}", bearer.realm))
        };
        let mut realm: Url = bearer.realm.parse().map_err(|_| bad_realm("not a URL"))?;
        if !matches!(realm.scheme(), "https" | "http") || !realm.has_host() {
            return Err(bad_realm("not an HTTP URL"));
        }
        let found = self.find(&realm).await?;
        let downgrade = url.scheme() == "https" && realm.scheme() == "http" && !is_loopback(&realm);
        if found.is_some() && downgrade {
            return Err(bad_realm("credentials do not go from HTTPS to plain HTTP"));
        }

        let scopes = bearer.scopes_with(&self.scope);
        let client = self.host.http.client(&realm);
        let request = match found.as_ref().map(|found| &found.credential) {
            Some(Credential::IdentityToken(token)) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token");
                form.append_pair("refresh_token", token.expose());
                form.append_pair("client_id", CLIENT_ID);
                form.append_pair("scope", &scopes.join(" "));
                if let Some(service) = &bearer.service {
                    form.append_pair("service", service);
                }
                client
                    .post(realm.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.finish())
            }
            other => {
                let mut query = realm.query_pairs_mut();
                if let Some(service) = &bearer.service {
                    query.append_pair("service", service);
                }
                for scope in &scopes {
                    query.append_pair("scope", scope);
                }
                drop(query);
                let request = client.get(realm.clone());
                match other {
                    Some(Credential::Password { username, password }) => {
                        request.header(AUTHORIZATION, basic(username, password.expose()))
                    }
                    _ => request,
                }
            }
        };
        let origin = found.map(|found| found.origin);
        let answer = self.token(&realm, request, origin.as_deref()).await?;
        let token =
            answer.token.or(answer.access_token).filter(|token| !token.is_empty()).ok_or_else(
                || Failure::protocol(&realm, "the token server's answer has no token"),
            )?;
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Failure::protocol(&realm, "the token holds control characters"))?;
        header.set_sensitive(true);
        let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
        // A tenth early, so that it does not expire on the way. An absurd lifetime counts as unlimited.
        let expires = Instant::now().checked_add(lifetime - lifetime / 10);
        let expires = expires.map(|expires| (expires, bearer));
        held.header = Some(header);
        held.origin = origin;
        held.expires = expires;
        Ok(())
    }

    async fn token(
        &self,
        realm: &Url,
        request: reqwest::RequestBuilder,
        origin: Option<&str>,
    ) -> Result<TokenAnswer, Failure> {
        let deadline = self.host.stall_timeout;
        let stalled = |_| Failure::Stalled { url: show(realm), after: deadline };
        let broken = |error| Failure::transport(realm, error);
        let limited = |future| tokio::time::timeout(deadline, future);
        let slot = self.host.limiter.enter(true).await;
        let mut response = limited(request.send()).await.map_err(stalled)?.map_err(broken)?;
        drop(slot);
        self.host.limiter.observe(response.status(), response.headers());
        if !response.status().is_success() {
            let refused = matches!(response.status().as_u16(), 400 | 401 | 403);
            let failure = Failure::status(response, deadline).await;
            return Err(match failure {
                Failure::Status { url, message, .. } if refused => {
                    Failure::Denied { url, message, hint: self.hint(origin) }
                }
                other => other,
            });
        }
        let mut body = Vec::new();
        let chunk = tokio::time::timeout(deadline, async {
            while let Some(chunk) = response.chunk().await? {
                body.extend_from_slice(&chunk);
                if body.len() > TOKEN_LIMIT {
                    break;
                }
            }
            Ok(())
        });
        chunk.await.map_err(stalled)?.map_err(broken)?;
        // The parser's message could quote the token.
        serde_json::from_slice(&body).map_err(|_| {
            Failure::protocol(realm, "the token server's answer is not the JSON of a token")
        })
    }
}

/// The header for Basic authentication (RFC 7617).
fn basic(username: &str, password: &str) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    let mut header = HeaderValue::try_from(format!("Basic {encoded}"))
        .expect("Base64 has no character that a header cannot hold");
    header.set_sensitive(true);
    header
}
