//! What the images of a run share.

use std::sync::atomic::Ordering;
use std::time::Duration;

use layer_layout::{Digest, ImageReference};

use super::authentication::{Guarded, token};
use super::fixture::{Fixture, open, options, text};
use super::server::{Answer, Server};
use crate::source::{Credentials, Options, Source};

/// The image `1` of one of many repositories.
async fn nth(server: &Server, number: usize, options: &Options) -> Source {
    let reference = format!("http://{}/images/{number}:1", server.address);
    Source::open(&reference.parse::<ImageReference>().unwrap(), options).await.unwrap()
}

/// A registry that has the fixture's image in every repository.
async fn everywhere(fixture: &Fixture, delay: Duration) -> Server {
    let fixture = fixture.clone();
    Server::start_slow(delay, move |request, _| {
        let mut request = request.clone();
        let rest = request.target.split("/manifests/").nth(1).unwrap_or_default();
        request.target = format!("/v2/a/b/manifests/{rest}");
        fixture.serve(&request)
    })
    .await
}

#[tokio::test]
async fn connections_are_used_again() {
    let fixture = Fixture::new();
    for (shared, connections) in [(true, 1), (false, 20)] {
        let server = everywhere(&fixture, Duration::ZERO).await;
        let run = options();
        for number in 0..20 {
            let own = if shared { run.clone() } else { options() };
            nth(&server, number, &own).await.current_digest().await.unwrap();
        }
        assert_eq!(server.connections(), connections);
        assert_eq!(server.log().len(), 20);
    }
}

/// An unchanged round: one request for each image, over a few connections.
#[tokio::test]
async fn a_long_list() {
    const IMAGES: usize = 1500;
    let fixture = Fixture::new();
    let server = everywhere(&fixture, Duration::ZERO).await;
    let (run, digest) = (options(), Digest::of(&fixture.manifest));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..IMAGES {
        if tasks.len() >= 50 {
            tasks.join_next().await.unwrap().unwrap();
        }
        let source = nth(&server, number, &run).await;
        tasks.spawn(async move { assert_eq!(source.current_digest().await.unwrap(), digest) });
    }
    tasks.join_all().await;
    assert_eq!(server.log().len(), IMAGES);
    assert!(server.most_waiting() <= 8);
    assert!(server.connections() <= 16, "{}", server.connections());
}

/// The first repository of a host is refused, and that is enough to know how the host wants to be asked.
#[tokio::test]
async fn one_refusal_is_enough() {
    let fixture = Fixture::new();
    let whole = fixture.clone();
    let server = Server::start(move |request, nth| {
        if request.path() == "/token" {
            return token(nth + 1);
        }
        if request.header("authorization").is_none() {
            let realm = format!("http://{}/token", request.header("host").unwrap());
            let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
            return Answer::new(401, "").header("WWW-Authenticate", challenge);
        }
        let mut request = request.clone();
        request.target = "/v2/a/b/manifests/1".to_owned();
        whole.serve(&request)
    })
    .await;
    let run = options();
    let mut requests = 0;
    for (round, expected) in [
        // The first is refused, and gets a token as all others.
        (0..10, 1 + 2 * 10),
        // In the next round they still have theirs.
        (0..10, 10),
        (10..11, 2),
    ] {
        for number in round {
            nth(&server, number, &run).await.current_digest().await.unwrap();
        }
        assert_eq!(server.log().len() - requests, expected);
        requests = server.log().len();
    }
    let tokens = server.requests_to("/token");
    for (number, request) in tokens.iter().enumerate() {
        let scope = format!("/token?service=s&scope=repository%3Aimages%2F{number}%3Apull");
        assert_eq!(request.target, scope);
    }
}

/// That a token cannot be had for one repository does not close the others, which may be open to all.
#[tokio::test]
async fn a_guess_is_not_final() {
    let fixture = Fixture::new();
    let whole = fixture.clone();
    let server = Server::start(move |request, _| {
        if request.path() == "/token" {
            return Answer::new(403, "");
        }
        if request.path().contains("/images/1/") {
            let realm = format!("http://{}/token", request.header("host").unwrap());
            let challenge = format!("Bearer realm=\"{realm}\"");
            return Answer::new(401, "").header("WWW-Authenticate", challenge);
        }
        assert_eq!(request.header("authorization"), None);
        let mut request = request.clone();
        request.target = "/v2/a/b/manifests/1".to_owned();
        whole.serve(&request)
    })
    .await;
    let run = options();
    nth(&server, 1, &run).await.current_digest().await.unwrap_err();
    nth(&server, 2, &run).await.current_digest().await.unwrap();
}

/// Two accounts for one repository do not mix.
#[tokio::test]
async fn a_token_is_for_one_login() {
    let fixture = Fixture::new();
    let guarded = Guarded::start(&fixture, token, |_, _| None).await;
    let registry = guarded.server.address.to_string();
    let run = options();
    let of = |user: &str| Options {
        credentials: Credentials::default().with_login(&registry, user, "secret"),
        ..run.clone()
    };
    for (user, tokens) in [("one", 1), ("one", 1), ("two", 2)] {
        guarded.valid.store(tokens, Ordering::SeqCst);
        open(&guarded.server, ":1", &of(user)).await.current_digest().await.unwrap();
        assert_eq!(guarded.tokens(), tokens, "{user}");
    }
}

/// Thousands of images behind a host that is down do not wait for it one after another.
#[tokio::test]
async fn a_registry_that_is_down() {
    let server = Server::start(|_, _| Answer::new(502, "")).await;
    let run = options();
    for (number, requests) in [(0, 3), (1, 3), (2, 3), (3, 0), (4, 0)] {
        let before = server.log().len();
        let error = nth(&server, number, &run).await.current_digest().await.unwrap_err();
        let message = text(&error);
        let part = if requests > 0 { "502" } else { "does not answer" };
        assert!(message.contains(part), "{message}");
        assert!(message.contains(&format!("/images/{number}")), "{message}");
        assert_eq!(server.log().len() - before, requests, "{number}");
    }
    // Others are none the worse for it.
    let fixture = Fixture::new();
    let well = everywhere(&fixture, Duration::ZERO).await;
    nth(&well, 1, &run).await.current_digest().await.unwrap();
}
