//! Layers from a registry that breaks off, lies and stalls.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use layer_layout::Digest;

use super::fixture::{Fixture, impatient, noise, open, options, read, text};
use super::server::{Answer, End, Server};
use crate::source::{Error, Options, Part, Result};

/// Turns the right answer for a layer into a wrong one, given the layer's content.
type Fault = fn(Answer, &[u8]) -> Answer;

const HALF: usize = 1_500_000;

/// Downloads the big layer from a registry of which the first answers for it are faulty.
async fn download(
    fixture: &Fixture,
    faulty: usize,
    fault: Fault,
) -> (Server, Result<Vec<u8>>, u64) {
    download_with(&options(), fixture, faulty, fault).await
}

async fn download_with(
    options: &Options,
    fixture: &Fixture,
    faulty: usize,
    fault: Fault,
) -> (Server, Result<Vec<u8>>, u64) {
    let (path, whole) = (fixture.layer_path(), fixture.clone());
    let fault = move |request: &super::server::Received, nth: usize| {
        (request.path() == path && nth < faulty)
            .then(|| fault(whole.serve(request), &whole.layers[1]))
    };
    let server = fixture.registry(fault).await;
    let source = open(&server, ":1", options).await;
    let (content, count) = read(&source, &fixture.layer()).await;
    (server, content, count)
}

/// Whether a case of this name ends only by a time limit.
fn waits(name: &str) -> bool {
    matches!(name, "stalled" | "silent")
}

#[tokio::test]
async fn what_passes_is_survived() {
    let rest = Some("bytes=1500000-");
    let cases: [(&str, Option<&str>, Fault); 10] = [
        ("closed", rest, |answer, _| answer.only(HALF, End::Close)),
        ("closed, length untold", rest, |answer, _| answer.without_length().only(HALF, End::Close)),
        ("closed, chunked", rest, |answer, _| answer.chunked().only(HALF, End::Close)),
        ("ended, chunked", rest, |answer, _| answer.chunked().only(HALF, End::Proper)),
        ("stalled", rest, |answer, _| answer.only(HALF, End::Stall)),
        ("silent", None, |answer, _| answer.only(0, End::Stall)),
        ("500", None, |_, _| Answer::new(500, "oops")),
        ("503", None, |_, _| Answer::new(503, "<html>").header("Content-Type", "text/html")),
        ("429", None, |_, _| Answer::new(429, "").header("Retry-After", 0)),
        ("408", None, |_, _| Answer::new(408, "")),
    ];
    let fixture = Fixture::new();
    for (name, range, fault) in cases {
        let options = if waits(name) { impatient() } else { options() };
        let (server, content, count) = download_with(&options, &fixture, 1, fault).await;
        assert!(content.unwrap() == fixture.layers[1], "{name}");
        assert_eq!(count, fixture.layer().size, "{name}");
        let requests = server.requests_to(&fixture.layer_path());
        assert_eq!(requests.len(), 2, "{name}");
        assert_eq!(requests[0].header("range"), None, "{name}");
        assert_eq!(requests[1].header("range"), range, "{name}");
    }
}

/// A reset may destroy what was under way, so where the rest begins is not certain.
#[tokio::test]
async fn a_reset_is_survived() {
    let fixture = Fixture::new();
    let (server, content, count) =
        download(&fixture, 1, |answer, _| answer.only(HALF, End::Reset)).await;
    assert!(content.unwrap() == fixture.layers[1]);
    assert_eq!(count, fixture.layer().size);
    assert_eq!(server.requests_to(&fixture.layer_path()).len(), 2);
}

/// Everything has arrived; that the peer does not end the transfer properly is no reason to start again.
#[tokio::test]
async fn a_missing_end_is_no_matter() {
    let fixture = Fixture::new();
    for end in [End::Close, End::Stall] {
        let fault: Fault = match end {
            End::Close => |answer, _| answer.chunked().end(End::Close),
            _ => |answer, _| answer.chunked().end(End::Stall),
        };
        let (server, content, _) = download_with(&impatient(), &fixture, 1, fault).await;
        assert!(content.unwrap() == fixture.layers[1]);
        assert_eq!(server.requests_to(&fixture.layer_path()).len(), 1);
    }
}

/// Every attempt brings the download forward, so there may be more of them than the limit.
#[tokio::test]
async fn progress_is_no_failure() {
    let fixture = Fixture::with_layers(vec![noise(1, 10), noise(3, 8 << 20)]);
    let (path, whole) = (fixture.layer_path(), fixture.clone());
    let server = fixture
        .registry(move |request, _| {
            (request.path() == path).then(|| whole.serve(request).only(3 << 19, End::Close))
        })
        .await;
    let source = open(&server, ":1", &options()).await;
    let (content, _) = read(&source, &fixture.layer()).await;
    assert!(content.unwrap() == fixture.layers[1]);
    assert_eq!(server.requests_to(&fixture.layer_path()).len(), 6);
}

#[tokio::test]
async fn a_server_that_ignores_range_is_read_past_what_is_there() {
    let fixture = Fixture::new();
    let (path, whole) = (fixture.layer_path(), fixture.clone());
    let server = fixture
        .registry(move |request, nth| {
            let answer = Answer::new(200, whole.layers[1].as_slice());
            let answer = if nth == 0 { answer.only(HALF, End::Close) } else { answer };
            (request.path() == path).then_some(answer)
        })
        .await;
    let source = open(&server, ":1", &options()).await;
    let (content, count) = read(&source, &fixture.layer()).await;
    assert!(content.unwrap() == fixture.layers[1]);
    assert_eq!(count, fixture.layer().size);
}

#[tokio::test]
async fn wrong_content_is_found() {
    let fixture = Fixture::new();
    let (digest, size) = (*fixture.layer().digest.digest(), fixture.layer().size);
    let flip = |content: &[u8]| {
        let mut content = content.to_vec();
        content[HALF] ^= 1;
        content
    };
    let flipped = Digest::of(&flip(&fixture.layers[1]));

    let (_, content, _) = download(&fixture, 9, |_, content| {
        let mut content = content.to_vec();
        content[HALF] ^= 1;
        Answer::new(200, content)
    })
    .await;
    let error = content.unwrap_err();
    assert!(
        matches!(&error, Error::DigestMismatch { expected, got, .. } if **expected == digest && **got == flipped)
    );
    let message = text(&error);
    for part in ["/a/b:1", &digest.to_string(), &flipped.to_string(), "layer"] {
        assert!(message.contains(part), "{message}");
    }

    // A server that continues with something else after a broken connection.
    let (server, content, _) = download(&fixture, 2, |answer, content| {
        let broken = answer.clone().only(HALF, End::Close);
        let changed = Answer::new(206, vec![0; content.len() - HALF]);
        let range = format!("bytes {HALF}-{}/{}", content.len() - 1, content.len());
        if answer.status() == 200 { broken } else { changed.header("Content-Range", range) }
    })
    .await;
    assert!(matches!(content, Err(Error::DigestMismatch { expected, .. }) if *expected == digest));
    assert_eq!(server.requests_to(&fixture.layer_path()).len(), 2);

    let cases: [(&str, u64, u64, Fault); 6] = [
        ("longer", size + 1, size + 1, |_, content| Answer::new(200, [content, b"x"].concat())),
        ("longer, chunked", size + 1, size + 1, |_, content| {
            Answer::new(200, [content, b"x"].concat()).chunked()
        }),
        ("endless", size + 1, size + (1 << 20), |answer, _| answer.chunked().end(End::Endless)),
        ("shorter", HALF as u64, HALF as u64, |_, content| Answer::new(200, &content[..HALF])),
        ("empty", 0, 0, |_, _| Answer::new(200, "")),
        // It has no rest, so it really is shorter.
        ("shorter, chunked", HALF as u64, HALF as u64, |answer, content| {
            let short = Answer::new(200, &content[..HALF]).chunked();
            if answer.status() == 200 { short } else { Answer::new(416, "") }
        }),
    ];
    for (name, least, most, fault) in cases {
        let (_, content, _) = download(&fixture, 9, fault).await;
        match content.unwrap_err() {
            Error::SizeMismatch { expected, got, part: Part::Layer(layer), image } => {
                assert_eq!(expected, size, "{name}");
                assert!((least..=most).contains(&got), "{name}: {got}");
                assert_eq!(layer, fixture.layer().digest, "{name}");
                assert!(image.ends_with("/a/b:1"), "{name}: {image}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_does_not_pass_is_told() {
    let fixture = Fixture::new();
    let cases: [(&str, usize, &[&str], Fault); 9] = [
        ("500", 3, &["gave up after 3 attempts", "500", "oops"], |_, _| Answer::new(500, "oops")),
        ("silent", 3, &["gave up after 3 attempts", "nothing for 0.4 seconds"], |answer, _| {
            answer.only(0, End::Stall)
        }),
        ("reset", 3, &["gave up after 3 attempts", "connection failed"], |_, _| {
            Answer::new(200, "").chunked().end(End::Reset)
        }),
        ("404", 1, &["404", "UNKNOWN: gone"], |_, _| {
            Answer::new(404, r#"{"errors":[{"code":"UNKNOWN","message":"gone"}]}"#)
        }),
        ("403", 1, &["access denied", "403 Forbidden", "no login for 127.0.0.1"], |_, _| {
            Answer::new(403, "")
        }),
        ("410", 1, &["410"], |_, _| Answer::new(410, "")),
        ("206 unasked", 1, &["unexpected answer 206"], |_, content| Answer::new(206, content)),
        ("coded", 1, &["content coding \"br\""], |_, _| {
            Answer::new(200, "coded").header("Content-Encoding", "br")
        }),
        ("wrong range", 2, &["rest from byte 1500000 of 3000000", "bytes 0-2999999/3000000"], {
            |answer, content| match answer.status() {
                200 => answer.only(HALF, End::Close),
                _ => Answer::new(206, content).header("Content-Range", "bytes 0-2999999/3000000"),
            }
        }),
    ];
    for (name, requests, parts, fault) in cases {
        let options = if waits(name) { impatient() } else { options() };
        let (server, content, _) = download_with(&options, &fixture, 9, fault).await;
        let message = text(&content.unwrap_err());
        for part in parts.iter().chain(&["/a/b:1", &fixture.layer().digest.to_string()[..]]) {
            assert!(message.contains(part), "{name}: {part:?} is not in {message}");
        }
        assert_eq!(server.requests_to(&fixture.layer_path()).len(), requests, "{name}: {message}");
    }
}

/// What a registry asks for is honoured, but not without limit.
#[tokio::test]
async fn retry_after_is_waited_for() {
    let fixture = Fixture::new();
    let begin = Instant::now();
    let (_, content, _) =
        download(&fixture, 1, |_, _| Answer::new(429, "").header("Retry-After", 3600)).await;
    assert!(content.is_ok());
    // The longest pause of these options is 0.2 s, the own one would be 4 ms.
    let waited = begin.elapsed();
    assert!((Duration::from_millis(200)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn a_dropped_or_stopped_reader_ends_the_download() {
    let fixture = Fixture::new();
    let path = fixture.layer_path();
    let server = fixture
        .registry(move |request, _| {
            (request.path() == path).then(|| Answer::new(200, "begin").chunked().end(End::Stall))
        })
        .await;
    let source = open(&server, ":1", &options()).await;
    let active = Arc::clone(&server.active);
    let gone = || async {
        for _ in 0..200 {
            if active.load(Ordering::SeqCst) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the download goes on");
    };

    let mut reader = source.layer(&fixture.layer(), Arc::new(|_| {})).await.unwrap();
    let reader = tokio::task::spawn_blocking(move || {
        assert_eq!(reader.read(&mut [0; 5]).unwrap(), 5);
        reader
    });
    drop(reader.await.unwrap());
    gone().await;

    let reader = source.layer(&fixture.layer(), Arc::new(|_| {})).await.unwrap();
    let stopper = reader.stopper();
    let waiting = tokio::task::spawn_blocking(move || reader.finish());
    tokio::time::sleep(Duration::from_millis(50)).await;
    stopper.stop();
    let error = waiting.await.unwrap().unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
    gone().await;
}

/// A reader that is slow is not a peer that stalls; and what nobody reads is not piled up in memory.
#[tokio::test]
async fn a_slow_reader_holds_the_peer_back() {
    let fixture = Fixture::with_layers(vec![noise(1, 10), noise(4, 64 << 20)]);
    let server = fixture.registry(|_, _| None).await;
    let source = open(&server, ":1", &impatient()).await;
    let reader = source.layer(&fixture.layer(), Arc::new(|_| {})).await.unwrap();
    tokio::time::sleep(3 * impatient().stall_timeout).await;
    // Ours are at most 4 MiB, the kernel's socket buffers some more.
    let sent = server.sent.load(Ordering::SeqCst);
    assert!((1..32 << 20).contains(&sent), "{sent}");
    let size = tokio::task::spawn_blocking(move || reader.finish()).await.unwrap().unwrap();
    assert_eq!(size, 64 << 20);
    assert_eq!(server.requests_to(&fixture.layer_path()).len(), 1);
}

#[tokio::test]
async fn downloads_are_limited_in_number() {
    let fixture = Fixture::with_layers((0..9).map(|seed| noise(seed, 1000)).collect());
    for (limit, most) in [(1, 1), (3, 3), (0, 9)] {
        let whole = fixture.clone();
        let delay = Duration::from_millis(100);
        let server = Server::start_slow(delay, move |request, _| whole.serve(request)).await;
        let options =
            Options { max_concurrent_downloads: limit, max_requests_per_registry: 0, ..options() };
        // All images of a run share the slots.
        let sources = [open(&server, ":1", &options).await, open(&server, ":1", &options).await];
        let sources = sources.map(Arc::new);
        let image = sources[0].resolve(None).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for (layer, source) in image.layers.into_iter().zip(sources.iter().cycle()) {
            let source = Arc::clone(source);
            tasks.spawn(async move { read(&source, &layer).await.0.unwrap() });
        }
        assert_eq!(tasks.join_all().await.len(), 9);
        assert_eq!(server.most_at_a_time(), most, "limit {limit}");
    }
}
