//! How many requests a host gets at a time, and pauses that hold for all of them.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::lock;
use super::rate_limit::{Pause, Waits};

/// Limits the requests to one host. A request holds a slot until its answer begins.
#[derive(Debug)]
pub(in crate::source) struct Limiter {
    host: String,
    slots: Semaphore,
    /// The pause after a refusal that does not say how long to wait.
    untold: Duration,
    /// The longest pause, whatever the host asks for.
    longest: Duration,
    closed: Mutex<Closed>,
}

/// Until when requests wait.
#[derive(Debug, Default)]
struct Closed {
    all: Option<Instant>,
    counted: Option<Instant>,
}

impl Limiter {
    /// `at_a_time` is the number of slots; 0 means no limit.
    pub(super) fn new(host: &str, at_a_time: usize, untold: Duration, longest: Duration) -> Self {
        let slots = match at_a_time {
            0 => Semaphore::MAX_PERMITS,
            number => number.min(Semaphore::MAX_PERMITS),
        };
        Self {
            host: host.to_owned(),
            slots: Semaphore::new(slots),
            untold: untold.min(longest),
            longest,
            closed: Mutex::default(),
        }
    }

    /// Waits for a slot and for the end of pauses. `counted` is whether the host counts such a request against
    /// a quota: Docker Hub, for one, does not count HEAD, which is how rounds ask. Such a request waits for one
    /// pause only, since every other answer may begin the next one; then the host has to say what it thinks of it.
    pub(in crate::source) async fn enter(&self, mut counted: bool) -> Option<SemaphorePermit<'_>> {
        loop {
            // Nobody closes the semaphore.
            let slot = self.slots.acquire().await.ok();
            let now = Instant::now();
            let until = {
                let closed = lock(&self.closed);
                if counted { closed.all.max(closed.counted) } else { closed.all }
            };
            match until.and_then(|until| until.checked_duration_since(now)) {
                Some(left) if !left.is_zero() => {
                    drop(slot);
                    tokio::time::sleep(left).await;
                    counted = false;
                }
                _ => return slot,
            }
        }
    }

    /// Looks at an answer of the host, and makes its other requests wait if it asks for that.
    pub(in crate::source) fn observe(&self, status: StatusCode, headers: &HeaderMap) {
        let Some(Pause { who, how_long }) = Pause::asked(status, headers, SystemTime::now()) else {
            return;
        };
        let how_long = how_long.unwrap_or(self.untold).min(self.longest);
        let now = Instant::now();
        let mut closed = lock(&self.closed);
        let until = match who {
            Waits::All => &mut closed.all,
            Waits::Counted => &mut closed.counted,
        };
        let was_open = until.is_none_or(|until| until <= now);
        *until = (*until).max(Some(now + how_long));
        if was_open {
            tracing::info!(
                registry = self.host,
                seconds = how_long.as_secs_f32(),
                %status,
                "the registry limits requests; those to it wait"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            http::HeaderValue::from_static(value),
        )])
    }

    async fn waited(limiter: &Limiter, counted: bool) -> Duration {
        let begin = Instant::now();
        limiter.enter(counted).await;
        begin.elapsed()
    }

    #[tokio::test]
    async fn a_pause_is_for_all_and_bounded() {
        let limit = Duration::from_millis(150);
        let limiter = Limiter::new("registry.example", 2, Duration::from_millis(1), limit);
        assert!(waited(&limiter, true).await < limit);
        limiter.observe(StatusCode::TOO_MANY_REQUESTS, &headers("retry-after", "3600"));
        // A shorter one does not end it.
        limiter.observe(StatusCode::TOO_MANY_REQUESTS, &headers("retry-after", "0"));
        let (a, b, c) =
            tokio::join!(waited(&limiter, true), waited(&limiter, false), waited(&limiter, true));
        for waited in [a, b, c] {
            assert!(
                (limit - Duration::from_millis(20)..20 * limit).contains(&waited),
                "{waited:?}"
            );
        }
        assert!(waited(&limiter, true).await < limit);
    }

    #[tokio::test]
    async fn an_empty_quota_holds_only_what_counts() {
        let limit = Duration::from_millis(150);
        let limiter = Limiter::new("registry.example", 2, Duration::from_millis(1), limit);
        limiter.observe(StatusCode::OK, &headers("ratelimit-remaining", "0;w=21600"));
        assert!(waited(&limiter, false).await < limit);
        assert!(waited(&limiter, true).await > limit / 2);
    }

    /// HEAD goes on while GET waits, and every answer says again that nothing is left.
    #[tokio::test]
    async fn nothing_waits_for_ever() {
        let limit = Duration::from_millis(100);
        let limiter = Limiter::new("registry.example", 2, Duration::from_millis(1), limit);
        let empty = headers("ratelimit-remaining", "0");
        limiter.observe(StatusCode::OK, &empty);
        let heads = async {
            loop {
                limiter.enter(false).await;
                limiter.observe(StatusCode::OK, &headers("ratelimit-remaining", "0;w=60"));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let get = tokio::time::timeout(20 * limit, limiter.enter(true));
        tokio::select! {
            () = heads => {}
            entered = get => assert!(entered.is_ok()),
        }
    }

    #[tokio::test]
    async fn slots() {
        let limiter = Limiter::new("r", 2, Duration::ZERO, Duration::ZERO);
        let (first, _second) = (limiter.enter(true).await, limiter.enter(true).await);
        let third = tokio::time::timeout(Duration::from_millis(50), limiter.enter(true)).await;
        assert!(third.is_err());
        drop(first);
        assert!(limiter.enter(true).await.is_some());
    }
}
