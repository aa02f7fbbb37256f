//! Pushing to registries that are peculiar or broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use layer_layout::RegistryReference;

use super::fixture::{Fixture, noise, options, text};
use super::server::{Answer, Received, Server};
use crate::source::{Credentials, Options, push_thin};

fn fixture() -> Fixture {
    Fixture::with_layers(vec![noise(1, 1000)])
}

fn reference(server: &Server) -> RegistryReference {
    format!("http://{}/a/b:thin", server.address).parse().unwrap()
}

/// An empty registry that sends uploads to `location`.
fn accept(location: &str, fixture: &Fixture, request: &Received) -> Answer {
    match request.method.as_str() {
        "HEAD" => Answer::new(404, ""),
        "POST" => Answer::new(202, "").header("Location", location),
        "PUT" => Answer::new(201, ""),
        _ => Answer::new(200, fixture.manifest.as_slice()),
    }
}

#[tokio::test]
async fn the_location_of_an_upload_is_followed() {
    let fixture = fixture();
    let digest = fixture.pushable().blobs[0].digest.to_string().replace(':', "%3A");
    for (location, target) in [
        (
            "/v2/a/b/blobs/uploads/1?_state=a%2Fb%3D%3D",
            "/v2/a/b/blobs/uploads/1?_state=a%2Fb%3D%3D&digest=",
        ),
        ("/elsewhere", "/elsewhere?digest="),
        ("2", "/v2/a/b/blobs/uploads/2?digest="),
        ("?x=y", "/v2/a/b/blobs/uploads/?x=y&digest="),
    ] {
        let whole = fixture.clone();
        let server = Server::start(move |request, _| accept(location, &whole, request)).await;
        let pushed = push_thin(&reference(&server), &fixture.pushable(), &options()).await.unwrap();
        assert!(pushed.pushed);
        assert_eq!(pushed.blobs, 2);
        let sizes = fixture.config.len() + 1000 + fixture.manifest.len();
        assert_eq!(pushed.bytes, sizes as u64);
        let puts: Vec<_> = server.log().into_iter().filter(|r| r.method == "PUT").collect();
        assert_eq!(puts[0].target, format!("{target}{digest}"), "{location}");
        assert_eq!(puts[0].body, fixture.layers[0]);
        assert_eq!(puts[2].target, "/v2/a/b/manifests/thin");
        assert_eq!(puts[2].body, fixture.manifest);
        assert_eq!(puts[2].header("content-type"), Some(fixture.pushable().media_type));
    }
}

/// An upload may go to another host, but our password may not.
#[tokio::test]
async fn credentials_stay_with_the_registry() {
    let fixture = fixture();
    let store = Server::start(|_, _| Answer::new(201, "")).await;
    let (whole, location) = (fixture.clone(), format!("http://{}/upload", store.address));
    let server = Server::start(move |request, _| {
        if request.header("authorization").is_none() {
            return Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        accept(&location, &whole, request)
    })
    .await;
    let credentials = Credentials::default().with_login(&server.address.to_string(), "u", "p");
    let options = Options { credentials, ..options() };
    push_thin(&reference(&server), &fixture.pushable(), &options).await.unwrap();
    assert_eq!(store.log().len(), 2);
    assert!(store.log().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn failures() {
    let fixture = fixture();
    type Fault = fn(&Received, usize) -> Option<Answer>;
    let cases: [(&str, Fault, Option<&str>); 11] = [
        ("no HEAD", |request, _| (request.method == "HEAD").then(|| Answer::new(405, "")), None),
        ("HEAD fails", |request, _| (request.method == "HEAD").then(|| Answer::new(500, "")), None),
        (
            "HEAD is denied",
            |request, _| (request.method == "HEAD").then(|| Answer::new(403, "")),
            None,
        ),
        (
            "HEAD fails once",
            |request, nth| (request.method == "HEAD" && nth == 0).then(|| Answer::new(503, "")),
            None,
        ),
        (
            "upload fails once",
            |request, nth| (request.path() == "/upload" && nth == 0).then(|| Answer::new(500, "")),
            None,
        ),
        (
            "manifest fails once",
            |request, nth| {
                (request.method == "PUT" && request.path().contains("/manifests/") && nth == 0)
                    .then(|| Answer::new(429, ""))
            },
            None,
        ),
        (
            "refused",
            |request, _| (request.method == "POST").then(|| Answer::new(403, "")),
            Some("cannot push blob"),
        ),
        (
            "no location",
            |request, _| (request.method == "POST").then(|| Answer::new(202, "")),
            Some("no Location"),
        ),
        (
            "says another digest",
            |request, _| {
                let zeros = format!("sha256:{}", "0".repeat(64));
                (request.method == "PUT" && request.path().contains("/manifests/"))
                    .then(|| Answer::new(201, "").header("Docker-Content-Digest", zeros))
            },
            Some("stored manifest sha256:000"),
        ),
        (
            "stores something else",
            |request, _| (request.method == "GET").then(|| Answer::new(200, "{}")),
            Some("instead of"),
        ),
        (
            "stores nothing",
            |request, _| (request.method == "GET").then(|| Answer::new(404, "")),
            Some("404"),
        ),
    ];
    for (name, fault, failure) in cases {
        let whole = fixture.clone();
        let server = Server::start(move |request, nth| {
            fault(request, nth).unwrap_or_else(|| accept("/upload", &whole, request))
        })
        .await;
        let result = push_thin(&reference(&server), &fixture.pushable(), &options()).await;
        match failure {
            None => assert!(result.unwrap().pushed, "{name}"),
            Some(part) => {
                let message = text(&result.unwrap_err());
                assert!(message.contains(part), "{name}: {message}");
                assert!(message.contains("/a/b:thin"), "{name}: {message}");
            }
        }
    }
}

#[tokio::test]
async fn references_that_cannot_be_pushed_to() {
    let image = fixture().pushable();
    let other = layer_layout::Digest::of(b"other");
    for name in ["r.example/a:*".to_owned(), format!("r.example/a@{other}")] {
        let error = push_thin(&name.parse().unwrap(), &image, &options()).await.unwrap_err();
        assert!(matches!(error, crate::source::Error::Reference { .. }), "{error:?}");
    }
}

/// The token is refused between the parts of a push, as when it is a long one.
#[tokio::test]
async fn a_token_that_expires_in_the_midst_is_renewed() {
    let fixture = fixture();
    for part in ["POST /v2/a/b/blobs/uploads/", "PUT /upload", "PUT /v2/a/b/manifests/thin"] {
        let valid = Arc::new(AtomicUsize::new(1));
        let (now_valid, whole) = (Arc::clone(&valid), fixture.clone());
        let server = Server::start(move |request, nth| {
            if request.path() == "/token" {
                return Answer::new(200, format!(r#"{{"token":"t{}"}}"#, nth + 1));
            }
            if nth == 0 && part == format!("{} {}", request.method, request.path()) {
                now_valid.store(2, Ordering::SeqCst);
            }
            let expected = format!("Bearer t{}", now_valid.load(Ordering::SeqCst));
            if request.header("authorization") != Some(&expected) {
                let realm = format!("http://{}/token", request.header("host").unwrap());
                let challenge = format!("Bearer realm=\"{realm}\"");
                return Answer::new(401, "").header("WWW-Authenticate", challenge);
            }
            accept("/upload", &whole, request)
        })
        .await;
        let pushed = push_thin(&reference(&server), &fixture.pushable(), &options()).await.unwrap();
        assert!(pushed.pushed && pushed.blobs == 2, "{part}");
        assert_eq!(server.requests_to("/token").len(), 2, "{part}");
        // What was refused has been sent again as a whole.
        let log = server.log();
        let last = log.iter().rfind(|it| part == format!("{} {}", it.method, it.path())).unwrap();
        assert_eq!(last.header("authorization"), Some("Bearer t2"), "{part}");
        assert_eq!(last.body.is_empty(), part.starts_with("POST"), "{part}");
    }
}
