//! Authentication for one repository: Basic, and the distribution project's Bearer tokens.
//!
//! Nothing is sent before a host asks for it with a 401, so a password reaches only a host that wants one.
//! What it asked for once is taken to hold for its other repositories: their first request is not refused
//! again, which halves the requests of a long list. A token is kept until it expires (`expires_in`) or the
//! registry refuses it, perhaps in the middle of a conversion; then a new one is fetched. All requests share one
//! token, and only one request fetches a new one.
//!
//! A login that the token server refuses is no reason to fail: the image may be public. So it is tried without, with a
//! warning. Only what is written needs a login.
//!
//! The token server's host may differ from the registry's (`auth.docker.io`); tokens are designed that way. But
//! credentials for a registry that is accessed over HTTPS never go to a token server over plain HTTP.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use super::challenge::{Bearer, Challenge, Scope};
use super::host::Host;
use super::http::is_loopback;
use super::token::Token;
use crate::source::coding::Coding;
use crate::source::credentials::{Credential, Credentials, Found};
use crate::source::failure::{Failure, show};

/// The name of this program for OAuth 2 token servers.
const CLIENT_ID: &str = "ducc";

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
    /// When the header should no longer be used, and where to get a new one.
    expires: Option<(Instant, Bearer)>,
    /// Whether what the host asked for elsewhere has been tried here.
    guessed: bool,
    /// Whether the header has been made of such a guess, and not been accepted yet.
    is_guess: bool,
    login: Login,
}

/// What is known of the login for the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Login {
    /// Nobody has looked for one.
    #[default]
    Untold,
    /// There is none.
    None,
    /// It came from here, and was sent.
    Sent(String),
    /// It is here, and was not sent.
    Unsent(String),
    /// It came from here, and was refused.
    Refused(String),
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
            held.is_guess = true;
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
        let was_guess = std::mem::take(&mut held.is_guess);
        // Now it is known, and need not be guessed.
        held.guessed = true;
        match Challenge::choose(headers) {
            Ok(challenge) => {
                self.host.remember(&challenge);
                let met = self.meet(&mut held, url, challenge, used).await;
                match (&held.login, met) {
                    // Nobody has said that this repository needs a login.
                    (Login::Refused(origin), Err(Failure::Denied { .. }))
                        if was_guess && self.is_for_reading() =>
                    {
                        self.warn(origin);
                        held.header = None;
                        Ok(())
                    }
                    (_, met) => met,
                }
            }
            Err(offered) => {
                let message = match offered.as_str() {
                    "" => "the registry does not say which authentication it wants".to_owned(),
                    _ => format!("the registry wants an unknown authentication ({offered})"),
                };
                let hint = "only Basic and Bearer tokens are supported".to_owned();
                Err(Failure::Denied { url: show(url), message, hint })
            }
        }
    }

    /// Remembers what a host asks for, if that is understood.
    pub(in crate::source) fn learn(&self, headers: &HeaderMap) {
        if let Ok(challenge) = Challenge::choose(headers) {
            self.host.remember(&challenge);
        }
    }

    /// Gets what the host is known to ask for; false if it has never asked for anything.
    pub(in crate::source) async fn answer_known(&self, url: &Url) -> Result<bool, Failure> {
        let mut held = self.held.lock().await;
        if held.header.is_some() {
            return Ok(true);
        }
        let Some(challenge) = self.host.challenge() else { return Ok(false) };
        (held.guessed, held.is_guess) = (true, true);
        self.meet(&mut held, url, challenge, None).await.map(|()| true)
    }

    /// Whether a request that was sent without authentication might succeed with it: it has been got meanwhile, or there is
    /// a login that has not been sent, because nobody asked for it.
    pub(in crate::source) async fn may_help(&self) -> bool {
        let mut held = self.held.lock().await;
        self.look(&mut held).await;
        held.header.is_some() || matches!(held.login, Login::Unsent(_))
    }

    /// Looks for a login, unless that has been done.
    async fn look(&self, held: &mut Held) {
        if held.login != Login::Untold {
            return;
        }
        match self.credentials.find(&self.host.name, &self.scope.repository).await {
            Ok(found) => held.login = found.map_or(Login::None, |it| Login::Unsent(it.origin)),
            Err(error) => tracing::warn!(%error, "continuing without a login"),
        }
    }

    fn is_for_reading(&self) -> bool {
        self.scope.actions == "pull"
    }

    fn warn(&self, origin: &str) {
        tracing::warn!(
            registry = self.host.name,
            "the login from {origin} is refused, continuing without it; log in again, or log out"
        );
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
        let Some(Found { credential, origin }) = self.find(held, url).await? else {
            return denied("a login is needed", self.hint(&held.login));
        };
        let Credential::Password { username, password } = credential else {
            let hint = format!("{origin} holds an identity token; log in with a password");
            return denied("the registry wants user name and password", hint);
        };
        let header = basic(&username, password.expose());
        if used == Some(&header) {
            held.login = Login::Refused(origin);
            return denied("wrong user name or password", self.hint(&held.login));
        }
        held.header = Some(header);
        held.expires = None;
        Ok(())
    }

    /// What a user can do about a refusal.
    pub(in crate::source) async fn hint_now(&self) -> String {
        let mut held = self.held.lock().await;
        self.look(&mut held).await;
        self.hint(&held.login)
    }

    fn hint(&self, login: &Login) -> String {
        let registry = &self.host.name;
        match login {
            Login::Sent(origin) => format!(
                "the login for {registry} came from {origin}; check it and its rights, and the image's name"
            ),
            Login::Refused(origin) => {
                format!(
                    "the login for {registry}, which came from {origin}, is refused; log in again"
                )
            }
            Login::Unsent(origin) => format!(
                "the registry does not ask for a login, so that from {origin} was not sent; check the image's name"
            ),
            Login::None => format!(
                "no login for {registry} in {}; log in with `docker login` or `podman login`, and check the image's \
                 name",
                self.credentials.places()
            ),
            Login::Untold => "the logins could not be read; check the image's name".to_owned(),
        }
    }

    /// The credentials for the registry, which will be sent to `url`.
    async fn find(&self, held: &mut Held, url: &Url) -> Result<Option<Found>, Failure> {
        let found = self.credentials.find(&self.host.name, &self.scope.repository).await?;
        if found.is_some() && url.scheme() == "http" && !is_loopback(url) {
            tracing::warn!(
                url = show(url),
                "a login is sent over plain HTTP, where anybody in between can read it"
            );
        }
        let was_refused = matches!(held.login, Login::Refused(_));
        held.login = match &found {
            None => Login::None,
            // Until it turns out to be accepted.
            Some(Found { origin, .. }) if was_refused => Login::Refused(origin.clone()),
            Some(Found { origin, .. }) => Login::Sent(origin.clone()),
        };
        Ok(found)
    }

    /// Fetches a token.
    async fn fetch(&self, held: &mut Held, url: &Url, bearer: Bearer) -> Result<(), Failure> {
        let bad_realm = |reason: &str| {
            Failure::protocol(url, format!("token server {:?}: {reason}", bearer.realm))
        };
        let realm: Url = bearer.realm.parse().map_err(|_| bad_realm("not a URL"))?;
        if !matches!(realm.scheme(), "https" | "http") || !realm.has_host() {
            return Err(bad_realm("not an HTTP URL"));
        }
        let found = self.find(held, &realm).await?;
        let downgrade = url.scheme() == "https" && realm.scheme() == "http" && !is_loopback(&realm);
        if found.is_some() && downgrade {
            return Err(bad_realm("credentials do not go from HTTPS to plain HTTP"));
        }
        let credential = found.as_ref().map(|found| &found.credential);
        let with_login = self.token(held, self.request(&realm, &bearer, credential)).await;
        let token = match (with_login, found) {
            (Err(refusal @ Failure::Denied { .. }), Some(Found { origin, .. }))
                if self.is_for_reading() =>
            {
                let anonymous = self.token(held, self.request(&realm, &bearer, None)).await;
                // What is wrong with the login says more than that there has to be one.
                let token = anonymous.map_err(|_| refusal)?;
                if !matches!(held.login, Login::Refused(_)) {
                    self.warn(&origin);
                }
                held.login = Login::Refused(origin);
                token
            }
            (token, Some(Found { origin, .. })) => {
                let token = token?;
                held.login = Login::Sent(origin);
                token
            }
            (token, None) => token?,
        };
        let Token { text, lifetime } = token;
        let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
            .map_err(|_| Failure::protocol(&realm, "the token holds control characters"))?;
        header.set_sensitive(true);
        // A tenth early, so that it does not expire on the way. An absurd lifetime counts as unlimited.
        let expires = Instant::now().checked_add(lifetime - lifetime / 10);
        held.expires = expires.map(|expires| (expires, bearer));
        held.header = Some(header);
        Ok(())
    }

    /// The request for a token, as somebody or as nobody.
    fn request(
        &self,
        realm: &Url,
        bearer: &Bearer,
        credential: Option<&Credential>,
    ) -> (Url, reqwest::RequestBuilder) {
        let scopes = bearer.scopes_with(&self.scope);
        let client = self.host.http.client(realm);
        let mut realm = realm.clone();
        if let Some(Credential::IdentityToken(token)) = credential {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("refresh_token", token.expose());
            form.append_pair("client_id", CLIENT_ID);
            form.append_pair("scope", &scopes.join(" "));
            if let Some(service) = &bearer.service {
                form.append_pair("service", service);
            }
            let request = client
                .post(realm.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.finish());
            return (realm, request);
        }
        let mut query = realm.query_pairs_mut();
        if let Some(service) = &bearer.service {
            query.append_pair("service", service);
        }
        for scope in &scopes {
            query.append_pair("scope", scope);
        }
        drop(query);
        let request = client.get(realm.clone());
        let request = match credential {
            Some(Credential::Password { username, password }) => {
                request.header(AUTHORIZATION, basic(username, password.expose()))
            }
            _ => request,
        };
        (realm, request)
    }

    async fn token(
        &self,
        held: &Held,
        (realm, request): (Url, reqwest::RequestBuilder),
    ) -> Result<Token, Failure> {
        let realm = &realm;
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
                    Failure::Denied { url, message, hint: self.hint(&held.login) }
                }
                other => other,
            });
        }
        let coding = Coding::of(response.headers());
        let mut body = BytesMut::new();
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
        let answer = coding.text(body.freeze(), TOKEN_LIMIT as u64);
        Token::parse(&answer).map_err(|reason| Failure::protocol(realm, reason))
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
