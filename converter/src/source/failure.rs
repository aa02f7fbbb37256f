//! Why a registry did not do what it was asked, and whether trying again may help.
//!
//! Messages show URLs without their query: after a redirect to an object store it contains a signature with
//! which anybody can read the blob.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::Response;
use url::Url;

use super::coding::Coding;
use super::credentials;

/// The longest error text that is read from a peer, in bytes.
const MESSAGE_LIMIT: usize = 8 << 10;

/// The longest error text that is shown, in characters.
const MESSAGE_SHOWN: usize = 300;

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There was no connection, or it broke.
    #[error("{url}: the connection failed")]
    Transport {
        /// What was asked for.
        url: String,
        /// How it failed.
        #[source]
        cause: reqwest::Error,
    },
    /// The peer's certificate is not trusted.
    #[error(
        "{url}: the registry's certificate is not trusted: {reason}; put its CA into the system's trust store \
         or as ca.crt into /etc/docker/certs.d/<registry>/"
    )]
    Certificate {
        /// What was asked for.
        url: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The peer sent nothing for too long.
    #[error("{url}: the peer sent nothing for {} seconds", after.as_secs_f32())]
    Stalled {
        /// What was asked for.
        url: String,
        /// For how long.
        after: Duration,
    },
    /// The transfer ended early.
    #[error("{url}: the transfer ended after {got} of {expected} bytes")]
    Truncated {
        /// What was asked for.
        url: String,
        /// Bytes that arrived.
        got: u64,
        /// Bytes that should have arrived.
        expected: u64,
    },
    /// The peer answered with an error.
    #[error("{url}: the registry answered {status}{}{}", separator(message), message)]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// What the registry says about it; may be empty.
        message: String,
        /// How long the registry asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The registry denies access, or hides that there is no such repository.
    #[error("{url}: access denied{}{message}; {hint}", separator(message))]
    Denied {
        /// What was asked for.
        url: String,
        /// What the registry says about it; may be empty.
        message: String,
        /// What can be done.
        hint: String,
    },
    /// The peer violated the protocol.
    #[error("{url}: {reason}")]
    Protocol {
        /// What was asked for.
        url: String,
        /// How.
        reason: String,
    },
    /// Credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// The host is not asked, because it has not answered lately.
    #[error("{url}: the registry does not answer, and is left alone for {seconds} seconds more")]
    LeftAlone {
        /// What would have been asked for.
        url: String,
        /// For how long.
        seconds: u64,
    },
    /// Trying again did not help.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// Attempts in a row that made no progress.
        attempts: u32,
        /// Why the last one failed.
        #[source]
        cause: Box<Failure>,
    },
}

fn separator(message: &str) -> &'static str {
    if message.is_empty() { "" } else { ": " }
}

impl Failure {
    /// A failed exchange. Certificate errors are recognized.
    pub(super) fn transport(url: &Url, cause: reqwest::Error) -> Self {
        let url = show(url);
        if let Some(rustls::Error::InvalidCertificate(reason)) = tls_error(&cause) {
            return Self::Certificate { url, reason: reason.to_string() };
        }
        if cause.is_redirect() {
            return Self::Protocol { url, reason: "too many redirects".to_owned() };
        }
        Self::Transport { url, cause: cause.without_url() }
    }

    pub(super) fn protocol(url: &Url, reason: impl Into<String>) -> Self {
        Self::Protocol { url: show(url), reason: reason.into() }
    }

    /// Reads an error answer, waiting at most `deadline` for each piece of it.
    pub(super) async fn status(response: Response, deadline: Duration) -> Self {
        let (url, status) = (show(response.url()), response.status());
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
        Self::Status { url, status, message: message(response, deadline).await, retry_after }
    }

    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Stalled { .. } | Self::Truncated { .. } => true,
            Self::Status { status, .. } => {
                (status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED)
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            _ => false,
        }
    }

    /// Whether this says something about the host as a whole, not about what it was asked for.
    pub(super) fn is_of_the_host(&self) -> bool {
        matches!(
            self,
            Self::Transport { .. }
                | Self::Certificate { .. }
                | Self::Stalled { .. }
                | Self::LeftAlone { .. }
                | Self::GaveUp { .. }
        )
    }

    /// Whether there was no answer of the registry itself: nothing at all, or that of a proxy before it.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => matches!(
                *status,
                StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
            _ => false,
        }
    }

    /// How long the peer asks us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the answer had this status.
    pub(super) fn is_status(&self, wanted: StatusCode) -> bool {
        matches!(self, Self::Status { status, .. } if *status == wanted)
    }
}

/// A URL without secrets.
pub(super) fn show(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for URLs that cannot have a user.
    let _no_user = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

/// Reads a `Retry-After` header (RFC 9110, section 10.2.3): a number of seconds, or a date; a date in the past
/// means now.
pub(crate) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// What an error answer says: the first error in the JSON of the OCI distribution-spec ("Error Codes"), or else
/// the beginning of the text.
async fn message(mut response: Response, deadline: Duration) -> String {
    let html = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    let mut body = Vec::new();
    while body.len() < MESSAGE_LIMIT {
        match tokio::time::timeout(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            // The text so far has to do.
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    body.truncate(MESSAGE_LIMIT);
    if html {
        return String::new();
    }
    let coding = Coding::of(response.headers());
    message_of(&coding.text(body.into(), MESSAGE_LIMIT as u64))
}

fn message_of(body: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let error = json.pointer("/errors/0").unwrap_or(&json);
    let member = |name: &str| error.get(name).and_then(serde_json::Value::as_str);
    let text = match (member("code"), member("message").or(member("details"))) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => String::from_utf8_lossy(body).into_owned(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MESSAGE_SHOWN).collect()
}

/// The TLS error behind another error.
pub(super) fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(error);
        }
        // An I/O error skips the error it wraps when asked for its source.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| tls_error(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:38 GMT", Some(1)),
            ("Sun Nov  6 08:49:39 1994", Some(2)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn messages_of_registries() {
        let long = "x".repeat(1000);
        for (body, shown) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no  access\n","detail":{}}]}"#,
                "DENIED: no access",
            ),
            (r#"{"errors":[{"code":"DENIED"}]}"#, "DENIED"),
            (r#"{"errors":[]}"#, r#"{"errors":[]}"#),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            ("404 page not found\n", "404 page not found"),
            ("", ""),
            (&long, &long[..MESSAGE_SHOWN]),
        ] {
            assert_eq!(message_of(body.as_bytes()), shown);
        }
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        let url = "https://user:pass@s3.example/blob?X-Amz-Signature=abc#d".parse().unwrap();
        assert_eq!(show(&url), "https://s3.example/blob");
    }
}
