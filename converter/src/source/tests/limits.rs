//! How many requests a registry gets, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::fixture::{Fixture, open, options};
use super::server::{Answer, Server};
use crate::source::Options;

async fn slow(fixture: &Fixture, delay: Duration) -> Server {
    let fixture = fixture.clone();
    Server::start_slow(delay, move |request, _| fixture.serve(request)).await
}

#[tokio::test]
async fn requests_at_a_time() {
    let fixture = Fixture::new();
    for (limit, most) in [(1, 1..=1), (3, 3..=3), (8, 8..=8), (0, 9..=30)] {
        let server = slow(&fixture, Duration::from_millis(if limit == 1 { 10 } else { 100 })).await;
        let run = Options { max_requests_per_registry: limit, ..options() };
        let mut tasks = JoinSet::new();
        for _ in 0..30 {
            let source = open(&server, ":index", &run).await;
            tasks.spawn(async move { source.current_digest().await.unwrap() });
        }
        assert_eq!(tasks.join_all().await.len(), 30);
        assert!(most.contains(&server.most_waiting()), "limit {limit}: {}", server.most_waiting());
        assert_eq!(server.log().len(), 30);
    }
}

/// One registry that is slow, or has enough, does not hold up the others.
#[tokio::test]
async fn registries_are_limited_each_for_itself() {
    let fixture = Fixture::new();
    let run = Options { max_requests_per_registry: 1, ..options() };
    let (slow, quick) =
        (slow(&fixture, Duration::from_secs(2)).await, slow(&fixture, Duration::ZERO).await);
    let waiting = open(&slow, ":1", &run).await;
    let waiting = tokio::spawn(async move { waiting.current_digest().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    open(&quick, ":1", &run).await.current_digest().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1));
    waiting.abort();
}

/// The pause that one request is told is a pause for all of them.
#[tokio::test]
async fn a_refusal_pauses_the_registry() {
    let fixture = Fixture::new();
    for (status, header, value) in [
        (429, "Retry-After", "3600"),
        (503, "Retry-After", "3600"),
        (429, "X-RateLimit-Reset", "3600"),
    ] {
        let server = fixture
            .registry(move |request, nth| {
                let refused = request.path().ends_with("/1") && nth == 0;
                refused.then(|| {
                    Answer::new(status, "").header(header, value).header("X-RateLimit-Remaining", 0)
                })
            })
            .await;
        // No longer than the longest pause.
        let pause = Duration::from_millis(400);
        let run = Options { longest_pause: pause, ..options() };
        let refused = open(&server, ":1", &run).await;
        let refused = tokio::spawn(async move { refused.current_digest().await });
        while server.log().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let others: Vec<_> = [":index", ":index", ":index"].into_iter().collect();
        let mut tasks = JoinSet::new();
        for tag in others {
            let source = Arc::new(open(&server, tag, &run).await);
            tasks.spawn(async move { source.current_digest().await.unwrap() });
        }
        tasks.join_all().await;
        refused.await.unwrap().unwrap();
        let log = server.log();
        assert_eq!(log.len(), 5, "{status} {header}");
        let waited = log[1].at - log[0].at;
        assert!(waited > pause - Duration::from_millis(30), "{status} {header}: {waited:?}");
        assert!(waited < 10 * pause, "{status} {header}: {waited:?}");
    }
}

/// Docker Hub counts GET and not HEAD. When nothing is left, rounds still see what has changed.
#[tokio::test]
async fn an_empty_quota_holds_back_what_counts() {
    let fixture = Fixture::new();
    let whole = fixture.clone();
    let server = fixture
        .registry(move |request, _| {
            Some(whole.serve(request).header("ratelimit-remaining", "0;w=21600"))
        })
        .await;
    let pause = Duration::from_millis(400);
    let run = Options { longest_pause: pause, ..options() };
    let source = open(&server, ":1", &run).await;
    source.resolve(None).await.unwrap();
    let begin = Instant::now();
    for _ in 0..5 {
        source.current_digest().await.unwrap();
    }
    assert!(begin.elapsed() < pause, "{:?}", begin.elapsed());
    source.resolve(None).await.unwrap();
    assert!(begin.elapsed() > pause / 2, "{:?}", begin.elapsed());
}
