//! What an answer says about the rate of requests. Pure.
//!
//! - `Retry-After` (RFC 9110, section 10.2.3), with 429 or 503;
//! - `RateLimit-Remaining` and `RateLimit-Reset`, or all in one `RateLimit` (the successive drafts of
//!   `draft-ietf-httpapi-ratelimit-headers`), and their `X-` forms, which many registries and proxies send;
//! - Docker Hub's `ratelimit-remaining: 0;w=21600`, where `w` is the window in seconds, and `X-Retry-After`,
//!   a point in time as Unix time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::source::failure::retry_after;

/// Larger numbers are points in time, smaller ones are seconds from now: no window is 30 years long.
const POINT_IN_TIME: u64 = 1_000_000_000;

/// Which requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// All: the host refuses.
    All,
    /// Those that count against a quota: the host has answered, but says that nothing is left.
    Counted,
}

/// A pause that a host wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) who: Waits,
    /// `None` if the host does not say.
    pub(super) how_long: Option<Duration>,
}

impl Pause {
    /// The pause that an answer asks for.
    pub(super) fn asked(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let after = text(headers, RETRY_AFTER.as_str())
            .and_then(|text| retry_after(text, now))
            .or_else(|| from_number(text(headers, "x-retry-after")?.trim().parse().ok()?, now));
        let exhausted = exhausted(headers, now);
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                Some(Self { who: Waits::All, how_long: after.or(exhausted.flatten()) })
            }
            StatusCode::SERVICE_UNAVAILABLE if after.is_some() => {
                Some(Self { who: Waits::All, how_long: after })
            }
            _ => exhausted.map(|how_long| Self { who: Waits::Counted, how_long }),
        }
    }
}

/// Whether no request is left; if so, for how long, if that is told.
fn exhausted(headers: &HeaderMap, now: SystemTime) -> Option<Option<Duration>> {
    for prefix in ["ratelimit", "x-ratelimit"] {
        let Some(remaining) = text(headers, &format!("{prefix}-remaining")) else { continue };
        let mut parts = remaining.split(';').map(str::trim);
        if parts.next()?.parse::<u64>() != Ok(0) {
            continue;
        }
        let reset = text(headers, &format!("{prefix}-reset"))
            .and_then(|reset| reset.split(';').next()?.trim().parse().ok());
        let window = parts.find_map(|part| part.strip_prefix("w=")?.trim().parse().ok());
        return Some(reset.or(window).and_then(|number| from_number(number, now)));
    }
    combined(text(headers, "ratelimit")?, now)
}

/// `limit=100, remaining=0, reset=30`, or `"burst";r=0;t=30, "day";r=4000;t=40000`.
fn combined(header: &str, now: SystemTime) -> Option<Option<Duration>> {
    let number = |item: &str, names: [&str; 2]| {
        let mut parameters = item.split(';').filter_map(|part| part.trim().split_once('='));
        let value = parameters.find(|(name, _)| names.contains(&name.trim()));
        value.and_then(|(_, value)| value.trim().parse::<u64>().ok())
    };
    let items = || header.split(',');
    let empty = items().find(|item| number(item, ["r", "remaining"]) == Some(0))?;
    let of_another = || items().find_map(|item| number(item, ["reset", "reset"]));
    let reset = number(empty, ["t", "reset"]).or_else(of_another);
    Some(reset.and_then(|number| from_number(number, now)))
}

fn from_number(number: u64, now: SystemTime) -> Option<Duration> {
    if number < POINT_IN_TIME {
        return Some(Duration::from_secs(number));
    }
    let then = UNIX_EPOCH.checked_add(Duration::from_secs(number))?;
    Some(then.duration_since(now).unwrap_or(Duration::ZERO))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_a_pause() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let all = |seconds: u64| Some((Waits::All, Some(seconds)));
        let counted = |seconds: u64| Some((Waits::Counted, Some(seconds)));
        for (status, headers, expected) in [
            (200, vec![], None),
            (503, vec![], None),
            (500, vec![("retry-after", "5")], None),
            (503, vec![("retry-after", "5")], all(5)),
            (429, vec![("retry-after", "5")], all(5)),
            (429, vec![("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT")], all(10)),
            (429, vec![("x-retry-after", "1700000007")], all(7)),
            (
                429,
                vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000060")],
                all(60),
            ),
            (429, vec![], Some((Waits::All, None))),
            (429, vec![("retry-after", "soon")], Some((Waits::All, None))),
            // Docker Hub.
            (
                200,
                vec![("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "99;w=21600")],
                None,
            ),
            (200, vec![("ratelimit-remaining", "0;w=21600")], counted(21600)),
            // Drafts.
            (200, vec![("ratelimit-remaining", "0"), ("ratelimit-reset", "30")], counted(30)),
            (200, vec![("ratelimit-remaining", "1"), ("ratelimit-reset", "30")], None),
            (404, vec![("ratelimit", "limit=100, remaining=0, reset=30")], counted(30)),
            (200, vec![("ratelimit", r#""burst";r=0;t=5, "day";r=40;t=4000"#)], counted(5)),
            (200, vec![("ratelimit", r#""burst";r=1;t=5"#)], None),
            // GitHub, Harbor behind proxies, and others.
            (
                200,
                vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000012")],
                counted(12),
            ),
            (
                200,
                vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1600000000")],
                counted(0),
            ),
            (200, vec![("x-ratelimit-remaining", "0")], Some((Waits::Counted, None))),
            (200, vec![("x-ratelimit-remaining", "none")], None),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
                })
                .collect();
            let status = StatusCode::from_u16(status).unwrap();
            let pause = Pause::asked(status, &map, now);
            let pause = pause.map(|pause| (pause.who, pause.how_long.map(|time| time.as_secs())));
            assert_eq!(pause, expected, "{status} {headers:?}");
        }
    }
}
