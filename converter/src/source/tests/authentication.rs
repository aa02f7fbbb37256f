//! Logging in, staying logged in, and not telling anybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fixture::{Fixture, impatient, noise, open, options, read, text};
use super::server::{Answer, End, Received, Server};
use crate::source::{Credentials, Options, Source};

pub(super) const PASSWORD: &str = "very secret";

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("user:{PASSWORD}")))
}

pub(super) fn with_login(server: &Server) -> Options {
    let registry = server.address.to_string();
    let credentials = Credentials::default().with_login(&registry, "user", PASSWORD);
    Options { credentials, ..options() }
}

/// A registry that wants tokens, with its token server at `/token`, which gives `t1`, `t2`, …
pub(super) struct Guarded {
    pub(super) server: Server,
    /// The number of the only token that is valid.
    pub(super) valid: Arc<AtomicUsize>,
}

impl Guarded {
    pub(super) async fn start(
        fixture: &Fixture,
        token: impl Fn(usize) -> Answer + Send + Sync + 'static,
        fault: impl Fn(&Received, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(fixture, move |_, nth| token(nth + 1), fault).await
    }

    /// As [`Self::start`], with a token server that looks at what it is asked.
    pub(super) async fn start_with(
        fixture: &Fixture,
        token: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static,
        fault: impl Fn(&Received, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let valid = Arc::new(AtomicUsize::new(1));
        let now_valid = Arc::clone(&valid);
        let server = fixture
            .registry(move |request, nth| {
                if request.path() == "/token" {
                    return Some(token(request, nth));
                }
                let expected = format!("Bearer t{}", now_valid.load(Ordering::SeqCst));
                if request.header("authorization") == Some(&expected) {
                    return fault(request, nth);
                }
                let realm = format!("http://{}/token", request.header("host").unwrap());
                let challenge = format!(
                    r#"Bearer realm="{realm}",service="s, \"x\"",scope="repository:a/b:pull",error="invalid_token""#
                );
                let basic = "Basic realm=\"never mind\"";
                let answer = Answer::new(401, "").header("WWW-Authenticate", basic);
                Some(answer.header("WWW-Authenticate", challenge))
            })
            .await;
        Self { server, valid }
    }

    pub(super) fn tokens(&self) -> usize {
        self.server.requests_to("/token").len()
    }
}

pub(super) fn token(number: usize) -> Answer {
    Answer::new(200, format!(r#"{{"token":"t{number}","expires_in":300}}"#))
}

async fn everything(source: &Source) {
    let image = source.resolve(None).await.unwrap();
    source.config(&image).await.unwrap();
    for layer in &image.layers {
        read(source, layer).await.0.unwrap();
    }
}

#[tokio::test]
async fn a_token_is_fetched_once() {
    let fixture = Fixture::new();
    for form in ["token", "access_token"] {
        let answer = move |n| Answer::new(200, format!(r#"{{"{form}":"t{n}"}}"#));
        let guarded = Guarded::start(&fixture, answer, |_, _| None).await;
        everything(&open(&guarded.server, ":1", &options()).await).await;
        let requests = guarded.server.requests_to("/token");
        assert_eq!(requests.len(), 1, "{form}");
        let query = "/token?service=s%2C+%22x%22&scope=repository%3Aa%2Fb%3Apull";
        assert_eq!(requests[0].target, query);
        assert_eq!(requests[0].header("authorization"), None);
        // The first request, the token, the first request again, configuration, two layers.
        assert_eq!(guarded.server.log().len(), 6, "{form}");
    }
    let guarded = Guarded::start(&fixture, token, |_, _| None).await;
    everything(&open(&guarded.server, ":1", &with_login(&guarded.server)).await).await;
    for request in guarded.server.log() {
        let authorization = request.header("authorization");
        match request.path() {
            "/token" => assert_eq!(authorization, Some(basic().as_str())),
            _ => assert_ne!(authorization, Some(basic().as_str())),
        }
    }
}

/// The registry takes the token no longer when the rest of a layer is asked for.
#[tokio::test]
async fn a_token_that_expires_in_the_midst_is_renewed() {
    let fixture = Fixture::new();
    let (path, whole) = (fixture.layer_path(), fixture.clone());
    let guarded = Guarded::start(&fixture, token, move |request, nth| {
        (request.path() == path && nth == 0)
            .then(|| whole.serve(request).only(1_000_000, End::Stall))
    })
    .await;
    let source = open(&guarded.server, ":1", &impatient()).await;
    source.resolve(None).await.unwrap();
    let valid = Arc::clone(&guarded.valid);
    let expire = tokio::spawn(async move {
        tokio::time::sleep(impatient().stall_timeout / 2).await;
        valid.store(2, Ordering::SeqCst);
    });
    let (content, count) = read(&source, &fixture.layer()).await;
    expire.await.unwrap();
    assert!(content.unwrap() == fixture.layers[1]);
    assert_eq!(count, fixture.layer().size);
    assert_eq!(guarded.tokens(), 2);
    let requests = guarded.server.requests_to(&fixture.layer_path());
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[2].header("authorization"), Some("Bearer t2"));
    assert_eq!(requests[2].header("range"), Some("bytes=1000000-"));
}

#[tokio::test]
async fn many_downloads_share_one_new_token() {
    let fixture = Fixture::with_layers((0..9).map(|seed| noise(seed, 1000)).collect());
    let guarded = Guarded::start(&fixture, token, |_, _| None).await;
    let options = Options { max_concurrent_downloads: 0, ..options() };
    let source = Arc::new(open(&guarded.server, ":1", &options).await);
    let image = source.resolve(None).await.unwrap();
    guarded.valid.store(2, Ordering::SeqCst);
    let mut tasks = tokio::task::JoinSet::new();
    for layer in image.layers {
        let source = Arc::clone(&source);
        tasks.spawn(async move { read(&source, &layer).await.0.unwrap() });
    }
    assert_eq!(tasks.join_all().await.len(), 9);
    assert_eq!(guarded.tokens(), 2);
}

/// `expires_in` is known, so no request is wasted on a token that has expired.
#[tokio::test]
async fn a_short_lived_token_is_renewed_in_time() {
    let fixture = Fixture::new();
    let valid = Arc::new(AtomicUsize::new(0));
    let given = Arc::clone(&valid);
    let answer = move |n| {
        given.store(n, Ordering::SeqCst);
        Answer::new(200, format!(r#"{{"token":"t{n}","expires_in":1e-9}}"#))
    };
    let whole = fixture.clone();
    let server = Server::start(move |request, nth| {
        if request.path() == "/token" {
            return answer(nth + 1);
        }
        let expected = format!("Bearer t{}", valid.load(Ordering::SeqCst));
        if request.header("authorization") == Some(&expected) {
            return whole.serve(request);
        }
        let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
        Answer::new(401, "").header("WWW-Authenticate", realm)
    })
    .await;
    let source = open(&server, ":1", &options()).await;
    let image = source.resolve(None).await.unwrap();
    source.config(&image).await.unwrap();
    // One refusal, then each request with a token of its own.
    assert_eq!(server.log().len(), 1 + 2 * 3 - 1);
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let fixture = Fixture::new();
    let guarded = Guarded::start(&fixture, token, |_, _| None).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let content = format!(
        r#"{{"auths":{{"{}":{{"identitytoken":"refresh & me"}}}}}}"#,
        guarded.server.address
    );
    std::fs::write(&file, content).unwrap();
    let options = Options { credentials: Credentials::default().with_file(&file), ..options() };
    open(&guarded.server, ":1", &options).await.resolve(None).await.unwrap();
    let request = &guarded.server.requests_to("/token")[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/token"));
    let form = "grant_type=refresh_token&refresh_token=refresh+%26+me&client_id=ducc\
                &scope=repository%3Aa%2Fb%3Apull&service=s%2C+%22x%22";
    assert_eq!(String::from_utf8_lossy(&request.body), form);
}

#[tokio::test]
async fn token_servers_fail() {
    let fixture = Fixture::new();
    type Token = fn(usize) -> Answer;
    let cases: [(&str, Token, usize, &[&str]); 6] = [
        (
            "denied",
            |_| Answer::new(401, r#"{"details":"wrong, wrong"}"#),
            // With the login, and without.
            2,
            &["access denied: wrong, wrong", "the given user name \"user\""],
        ),
        ("no token", |_| Answer::new(200, "{}"), 1, &["has no token"]),
        ("no JSON", |_| Answer::new(200, "t1"), 1, &["not the JSON of a token"]),
        ("control", |_| Answer::new(200, r#"{"token":"a\nb"}"#), 1, &["control characters"]),
        ("stalled", |_| Answer::new(200, "{").chunked().end(End::Stall), 3, &["gave up after 3"]),
        ("busy", |_| Answer::new(503, ""), 3, &["gave up after 3", "/token", "503"]),
    ];
    for (name, token, requests, parts) in cases {
        let guarded = Guarded::start(&fixture, token, |_, _| None).await;
        let mut options = with_login(&guarded.server);
        if name == "stalled" {
            options.stall_timeout = impatient().stall_timeout;
        }
        let source = open(&guarded.server, ":1", &options).await;
        let message = text(&source.resolve(None).await.unwrap_err());
        for part in parts {
            assert!(message.contains(part), "{name}: {part:?} is not in {message}");
        }
        assert!(!message.contains(PASSWORD), "{message}");
        assert_eq!(guarded.tokens(), requests, "{name}");
    }

    // Not for ever.
    let token = |n| if n == 1 { Answer::new(503, "") } else { token(1) };
    let guarded = Guarded::start(&fixture, token, |_, _| None).await;
    open(&guarded.server, ":1", &options()).await.resolve(None).await.unwrap();
}

/// A registry that is not content with the token that it sent us for is not asked for ever.
#[tokio::test]
async fn a_useless_token_is_no_loop() {
    let fixture = Fixture::new();
    let guarded = Guarded::start(&fixture, token, |_, _| None).await;
    guarded.valid.store(99, Ordering::SeqCst);
    let source = open(&guarded.server, ":1", &options()).await;
    let message = text(&source.resolve(None).await.unwrap_err());
    assert!(message.contains("access denied: 401 Unauthorized"), "{message}");
    assert_eq!(guarded.server.log().len(), 3);
}

#[tokio::test]
async fn challenges_that_cannot_be_met() {
    let fixture = Fixture::new();
    for (challenge, parts) in [
        ("Negotiate", &["unknown authentication (Negotiate)"][..]),
        ("Basic realm=\"x\"", &["a login is needed", "docker login", "DUCC_AUTH_REGISTRIES"]),
        ("Bearer realm=\"ftp://x/\"", &["not an HTTP URL"]),
        ("Bearer realm=\"/token\"", &["not a URL"]),
    ] {
        let server = fixture
            .registry(move |_, _| Some(Answer::new(401, "").header("WWW-Authenticate", challenge)))
            .await;
        let message = text(&open(&server, ":1", &options()).await.resolve(None).await.unwrap_err());
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
        assert_eq!(server.log().len(), 1, "{challenge}");
    }
}

#[tokio::test]
async fn basic_authentication() {
    let fixture = Fixture::new();
    let server = fixture
        .registry(|request, _| {
            let challenge = "Basic realm=\"x\"";
            (request.header("authorization") != Some(&basic()))
                .then(|| Answer::new(401, "").header("WWW-Authenticate", challenge))
        })
        .await;
    everything(&open(&server, ":1", &with_login(&server)).await).await;
    // Only the first request goes without.
    assert_eq!(server.log().len(), 5);

    let registry = server.address.to_string();
    let credentials = Credentials::default().with_login(&registry, "user", "wrong");
    let options = Options { credentials, ..options() };
    let before = server.log().len();
    let error = open(&server, ":1", &options).await.resolve(None).await.unwrap_err();
    let message = text(&error);
    assert!(message.contains("the given user name \"user\""), "{message}");
    assert_eq!(server.log().len() - before, 2);
    let shown = format!("{error:?} {options:?}");
    assert!(!shown.contains("wrong") && !shown.contains(&STANDARD.encode("user:wrong")), "{shown}");
}

/// Registries redirect to object stores, which must get no credentials and must not ask for any.
#[tokio::test]
async fn a_redirect_takes_no_credentials_along() {
    let fixture = Fixture::new();
    for greedy in [false, true] {
        let content = fixture.layers[1].clone();
        let store = Server::start(move |request, _| {
            if greedy {
                return Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"mine\"");
            }
            assert_eq!(request.target, "/object?signature=secret");
            Answer::new(200, content.as_slice())
        })
        .await;
        let (path, target) = (fixture.layer_path(), store.address);
        let guarded = Guarded::start(&fixture, token, move |request, _| {
            let location = format!("http://{target}/object?signature=secret");
            (request.path() == path).then(|| Answer::new(307, "").header("Location", location))
        })
        .await;
        let credentials = Credentials::default()
            .with_login(&guarded.server.address.to_string(), "user", PASSWORD)
            .with_login(&store.address.to_string(), "user", PASSWORD);
        let options = Options { credentials, ..options() };
        let source = open(&guarded.server, ":1", &options).await;
        let (content, _) = read(&source, &fixture.layer()).await;
        if greedy {
            let message = text(&content.unwrap_err());
            assert!(message.contains("access denied"), "{message}");
            assert!(message.contains("/object") && !message.contains("signature"), "{message}");
        } else {
            assert!(content.unwrap() == fixture.layers[1]);
        }
        assert_eq!(store.log().len(), 1);
        for header in ["authorization", "referer", "cookie"] {
            assert_eq!(store.log()[0].header(header), None, "{header}");
        }
    }
}

/// Harbor's robot accounts have a `$` in their names, and projects a `+`. Nothing may mistake them for variables
/// or encode them.
#[tokio::test]
async fn robot_accounts() {
    const ROBOT: &str = "robot$library+publisher";
    const SECRET: &str = "p$1:'\\ %24{HOME}";
    let expected = format!("Basic {}", STANDARD.encode(format!("{ROBOT}:{SECRET}")));
    let fixture = Fixture::new();
    let directory = tempfile::tempdir().unwrap();
    for bearer in [false, true] {
        let (whole, login) = (fixture.clone(), expected.clone());
        let server = Server::start(move |request, _| {
            let authorization = request.header("authorization");
            if request.path() == "/service/token" {
                return match authorization == Some(login.as_str()) {
                    true => token(1),
                    false => Answer::new(401, ""),
                };
            }
            let wanted = if bearer { "Bearer t1" } else { &login };
            if authorization == Some(wanted) {
                return whole.serve(request);
            }
            let realm = format!("http://{}/service/token", request.header("host").unwrap());
            let challenge = match bearer {
                true => format!("Bearer realm=\"{realm}\",service=\"harbor-registry\""),
                false => "Basic realm=\"harbor\"".to_owned(),
            };
            Answer::new(401, "").header("WWW-Authenticate", challenge)
        })
        .await;
        let registry = server.address.to_string();
        let file = directory.path().join("auth.json");
        let auth = STANDARD.encode(format!("{ROBOT}:{SECRET}"));
        std::fs::write(&file, format!(r#"{{"auths":{{"{registry}":{{"auth":"{auth}"}}}}}}"#))
            .unwrap();
        let environment = Credentials::from_variables(|name| {
            let value = match name {
                "DUCC_AUTH_REGISTRIES" => "HARBOR",
                "DUCC_HARBOR_IDENT" => registry.as_str(),
                "DUCC_HARBOR_USER" => ROBOT,
                "DUCC_HARBOR_PASS" => SECRET,
                _ => return None,
            };
            Some(value.into())
        })
        .unwrap();
        for credentials in [
            Credentials::default().with_file(&file),
            Credentials::default().with_login(&registry, ROBOT, SECRET),
            environment.clone(),
            environment.named("HARBOR", &registry).unwrap(),
        ] {
            let options = Options { credentials, ..options() };
            everything(&open(&server, ":1", &options).await).await;
        }
    }
}
