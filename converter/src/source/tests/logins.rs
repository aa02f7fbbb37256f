//! Logins that registries do not ask for, and logins that they refuse.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::authentication::{Guarded, PASSWORD, token, with_login};
use super::fixture::{Fixture, open, options, text};
use super::server::{Answer, Received, Server};
use crate::source::{Credentials, Options};

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("user:{PASSWORD}")))
}

/// A registry that does not say at its repositories that it wants a login, but `hides` them; at its base it gives
/// `challenge`.
async fn hidden(fixture: &Fixture, hides: fn() -> Answer, challenge: fn(&str) -> String) -> Server {
    fixture
        .registry(move |request, _| {
            let host = request.header("host").unwrap();
            let authorization = request.header("authorization");
            match request.path() {
                "/token" if authorization == Some(&basic()) => Some(token(1)),
                "/token" => Some(Answer::new(401, "")),
                "/v2/" => match challenge(host).as_str() {
                    "" => Some(Answer::new(200, "{}")),
                    challenge => Some(Answer::new(401, "").header("WWW-Authenticate", challenge)),
                },
                _ if authorization == Some(&basic()) || authorization == Some("Bearer t1") => None,
                _ => Some(hides()),
            }
        })
        .await
}

#[tokio::test]
async fn a_registry_that_hides_what_is_private() {
    let fixture = Fixture::new();
    let bearer = |host: &str| format!("Bearer realm=http://{host}/token,service=registry");
    let hiding: [fn() -> Answer; 4] = [
        || Answer::new(404, "no such image"),
        || Answer::new(403, "go away"),
        || Answer::new(401, "who are you"),
        || Answer::new(403, "").header("WWW-Authenticate", "Basic realm=x"),
    ];
    for (number, hides) in hiding.into_iter().enumerate() {
        for challenge in [bearer, |_: &str| "Basic realm=\"x, y\"".to_owned()] {
            let server = hidden(&fixture, hides, challenge).await;
            let source = open(&server, ":1", &with_login(&server)).await;
            let image = source.resolve(None).await.unwrap();
            assert_eq!(source.config(&image).await.unwrap(), fixture.config);
            // The answer that has a challenge is enough, and what is known is not asked again.
            let asked = server.requests_to("/v2/").len();
            assert_eq!(asked, usize::from(number != 3), "{number}");
        }
    }
}

/// Several images at once: one question is enough, and all wait for its answer.
#[tokio::test]
async fn a_hiding_registry_is_asked_once() {
    let fixture = Fixture::new();
    let server = hidden(
        &fixture,
        || Answer::new(404, ""),
        |host| format!("Bearer realm=\"http://{host}/token\""),
    )
    .await;
    let options = with_login(&server);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let source = open(&server, ":1", &options).await;
        tasks.spawn(async move { source.resolve(None).await.map(|_| ()) });
    }
    for result in tasks.join_all().await {
        result.unwrap();
    }
    assert_eq!(server.requests_to("/v2/").len(), 1);
    assert_eq!(server.requests_to("/token").len(), 1);
}

/// No error says that there is no login if nobody has looked, or that there is one if it was not sent.
#[tokio::test]
async fn what_is_said_if_it_does_not_help() {
    let fixture = Fixture::new();
    let no_challenge = |_: &str| String::new();
    let odd = |_: &str| "Negotiate".to_owned();
    type Case = (u16, bool, fn(&str) -> String, usize, &'static str);
    let cases: [Case; 6] = [
        (404, false, no_challenge, 0, "404"),
        (404, true, no_challenge, 1, "404"),
        (403, false, no_challenge, 0, "; no login for 127.0.0.1"),
        (
            403,
            true,
            no_challenge,
            1,
            "; the registry does not ask for a login, so that from the given user name",
        ),
        (401, false, odd, 0, "; no login for 127.0.0.1"),
        (401, true, odd, 1, "; the registry does not ask for a login"),
    ];
    for (status, has_login, challenge, asked, part) in cases {
        let hides: fn() -> Answer = match status {
            401 => || Answer::new(401, ""),
            403 => || Answer::new(403, ""),
            _ => || Answer::new(404, ""),
        };
        let server = hidden(&fixture, hides, challenge).await;
        let options = if has_login { with_login(&server) } else { options() };
        for _ in 0..2 {
            let error = open(&server, ":1", &options).await.resolve(None).await.unwrap_err();
            let message = text(&error);
            assert!(message.contains(part), "{status} {has_login}: {message}");
            assert!(!message.contains(PASSWORD), "{message}");
        }
        assert_eq!(server.requests_to("/v2/").len(), asked, "{status} {has_login}");
    }
}

/// A registry, and a token server that gives `public` tokens to whom it does not know and refuses our login with `status`.
async fn without_us(fixture: &Fixture, status: u16, is_public: bool) -> Guarded {
    let refuse = move |request: &Received, _: usize| {
        let is_login = request.header("authorization").is_some() || request.method == "POST";
        match (is_login, is_public) {
            (true, _) => Answer::new(status, r#"{"details":"incorrect username or password"}"#),
            (false, true) => token(1),
            (false, false) => Answer::new(401, "who are you"),
        }
    };
    Guarded::start_with(fixture, refuse, |_, _| None).await
}

#[tokio::test]
async fn a_refused_login_is_not_needed_for_what_is_public() {
    let fixture = Fixture::new();
    for status in [400, 401, 403] {
        for identity_token in [false, true] {
            let guarded = without_us(&fixture, status, true).await;
            let directory = tempfile::tempdir().unwrap();
            let options = if identity_token {
                with_identity_token(&guarded.server, directory.path())
            } else {
                with_login(&guarded.server)
            };
            let source = open(&guarded.server, ":1", &options).await;
            let image = source.resolve(None).await.unwrap();
            assert_eq!(source.config(&image).await.unwrap(), fixture.config);
            assert_eq!(guarded.tokens(), 2, "{status}");

            // Where it is needed, it is named.
            let guarded = without_us(&fixture, status, false).await;
            let source = open(&guarded.server, ":1", &with_login(&guarded.server)).await;
            let message = text(&source.resolve(None).await.unwrap_err());
            assert!(message.contains("incorrect username or password"), "{message}");
            assert!(message.contains("came from the given user name \"user\""), "{message}");
        }
    }
    // The token that everybody gets is good for nothing here: the login is at fault.
    let guarded = without_us(&fixture, 401, true).await;
    guarded.valid.store(99, std::sync::atomic::Ordering::SeqCst);
    let source = open(&guarded.server, ":1", &with_login(&guarded.server)).await;
    let message = text(&source.resolve(None).await.unwrap_err());
    assert!(
        message.contains("the given user name \"user\", is refused; log in again"),
        "{message}"
    );
}

fn with_identity_token(server: &Server, directory: &Path) -> Options {
    let file = directory.join("config.json");
    let auths = format!(r#"{{"auths":{{"{}":{{"identitytoken":"old"}}}}}}"#, server.address);
    std::fs::write(&file, auths).unwrap();
    Options { credentials: Credentials::default().with_file(file), ..options() }
}

/// One repository wants user name and password, another does not, and the password is wrong.
#[tokio::test]
async fn a_wrong_password_is_not_needed_for_what_is_public() {
    let fixture = Fixture::new();
    let whole = fixture.clone();
    let server = Server::start(move |request, _| {
        let is_private = request.path().starts_with("/v2/private/");
        // Wrong passwords are refused everywhere.
        if is_private || request.header("authorization").is_some() {
            return Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        whole.serve(request)
    })
    .await;
    let options = with_login(&server);
    let private = format!("http://{}/private/b:1", server.address).parse().unwrap();
    let private = crate::source::Source::open(&private, &options).await.unwrap();
    let message = text(&private.resolve(None).await.unwrap_err());
    assert!(message.contains("the login for 127.0.0.1"), "{message}");
    assert!(message.contains("came from the given user name \"user\"; check it"), "{message}");

    let public = open(&server, ":1", &options).await;
    let image = public.resolve(None).await.unwrap();
    assert_eq!(public.config(&image).await.unwrap(), fixture.config);
    let log = server.requests_to("/v2/a/b/manifests/1");
    let sent: Vec<bool> =
        log.iter().map(|request| request.header("authorization").is_some()).collect();
    assert_eq!(sent, [true, false]);
}
