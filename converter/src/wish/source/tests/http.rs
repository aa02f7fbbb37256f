//! Web servers that answer, do not change, lie, stall and never end.

use std::sync::{Arc, Mutex};

use super::server::{Answer, End, Server};
use super::*;

/// A server whose answer can be changed, and the list on it.
async fn serve(answer: Answer) -> (Server, Arc<Mutex<Answer>>, ListSource) {
    let answer = Arc::new(Mutex::new(answer));
    let given = Arc::clone(&answer);
    let server = Server::start(move |request, _| {
        let answer = given.lock().unwrap().clone();
        match request.path() {
            "/list.yaml" => answer,
            "/moved.yaml" => Answer::new(302, "").header("Location", "/list.yaml"),
            "/loop.yaml" => Answer::new(302, "").header("Location", "/loop.yaml"),
            _ => Answer::new(404, "not here"),
        }
    })
    .await;
    let list = source(&format!("http://{}/list.yaml", server.address));
    (server, answer, list)
}

#[tokio::test]
async fn an_unchanged_list_is_one_conditional_request() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let good = Answer::new(200, GOOD).header("ETag", "\"x\"").header("Last-Modified", date);
    let (server, answer, list) = serve(good).await;
    let mut kept = None;
    assert_eq!(read(&list, &mut kept, &options()).await, "new: r.io/a:1 with 0 faults");
    *answer.lock().unwrap() = Answer::new(304, "");
    for _ in 0..2 {
        assert_eq!(read(&list, &mut kept, &options()).await, "unchanged: r.io/a:1 with 0 faults");
    }
    let requests = server.requests_to("/list.yaml");
    let conditions: Vec<_> = requests
        .iter()
        .map(|request| (request.header("if-none-match"), request.header("if-modified-since")))
        .collect();
    let asked = (Some("\"x\""), Some(date));
    assert_eq!(conditions, [(None, None), asked, asked]);
}

#[tokio::test]
async fn a_server_without_conditions_is_compared_by_content() {
    let (server, answer, list) = serve(Answer::new(200, GOOD)).await;
    let mut kept = None;
    assert_eq!(read(&list, &mut kept, &options()).await, "new: r.io/a:1 with 0 faults");
    assert_eq!(read(&list, &mut kept, &options()).await, "unchanged: r.io/a:1 with 0 faults");
    assert_eq!(server.requests_to("/list.yaml")[1].header("if-none-match"), None);
    *answer.lock().unwrap() = Answer::new(304, "");
    let text = read(&list, &mut kept, &options()).await;
    assert!(text.starts_with("stale (") && text.contains("without being asked"), "{text}");
}

/// The tag of a broken version is not kept, so that the next one is compared with the good one.
#[tokio::test]
async fn a_broken_version_keeps_the_last_good_one() {
    let (server, answer, list) = serve(Answer::new(200, GOOD).header("ETag", "\"good\"")).await;
    let mut kept = None;
    read(&list, &mut kept, &options()).await;
    *answer.lock().unwrap() = Answer::new(200, BROKEN).header("ETag", "\"broken\"");
    for _ in 0..2 {
        let text = read(&list, &mut kept, &options()).await;
        assert!(
            text.starts_with("stale (") && text.ends_with("): r.io/a:1 with 0 faults"),
            "{text}"
        );
        assert!(text.contains("/list.yaml:3:1: unknown key \"inputs\""), "{text}");
    }
    *answer.lock().unwrap() = Answer::new(200, BETTER).header("ETag", "\"better\"");
    assert_eq!(read(&list, &mut kept, &options()).await, "new: r.io/a:2 with 1 faults");
    let tags: Vec<_> = server
        .requests_to("/list.yaml")
        .iter()
        .map(|request| request.header("if-none-match").map(str::to_owned))
        .collect();
    let good = Some("\"good\"".to_owned());
    assert_eq!(tags, [None, good.clone(), good.clone(), good]);
}

#[tokio::test]
async fn what_servers_do_wrong() {
    let hasty = Options { timeout: Duration::from_millis(500), ..options() };
    for (answer, part) in [
        (Answer::new(404, "no"), "404 Not Found"),
        (Answer::new(500, "no"), "500"),
        (Answer::new(200, "<html>Sign in</html>"), "has to be a mapping"),
        (Answer::new(200, GOOD).only(5, End::Stall), "within 0.5 seconds"),
        (Answer::new(200, GOOD).only(5, End::Close), "the connection failed"),
        (Answer::new(200, GOOD).only(5, End::Reset), "the connection failed"),
        (Answer::new(200, "").chunked().end(End::Endless), "more than 4194304 bytes"),
    ] {
        let (_server, served, list) = serve(Answer::new(200, GOOD)).await;
        let mut kept = None;
        read(&list, &mut kept, &options()).await;
        *served.lock().unwrap() = answer.clone();
        let options = if part.contains("0.5") { &hasty } else { &options() };
        let error = read(&list, &mut None, options).await;
        assert!(error.starts_with("error: ") && error.contains(part), "{answer:?}: {error}");
        let stale = read(&list, &mut kept, options).await;
        assert!(stale.ends_with("): r.io/a:1 with 0 faults"), "{answer:?}: {stale}");
    }
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever() {
    let (server, _answer, _list) = serve(Answer::new(200, GOOD)).await;
    let list = |path: &str| source(&format!("http://u:secret@{}/{path}", server.address));
    let moved = read(&list("moved.yaml"), &mut None, &options()).await;
    assert_eq!(moved, "new: r.io/a:1 with 0 faults");
    let error = read(&list("loop.yaml?token=secret"), &mut None, &options()).await;
    assert!(error.contains("too many redirects") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_before_the_last_good_version_counts() {
    let good = Answer::new(200, GOOD);
    let patient = Options { attempts: 3, first_pause: Duration::from_millis(1), ..options() };
    for (failures, answer, works) in [
        (1, Answer::new(503, ""), true),
        (1, Answer::new(429, "").header("Retry-After", "0"), true),
        (2, Answer::new(200, GOOD).only(5, End::Reset), true),
        (3, Answer::new(500, ""), false),
        // This will not pass, and the last one not soon enough.
        (1, Answer::new(404, ""), false),
        (1, Answer::new(503, "").header("Retry-After", "3600"), false),
    ] {
        let (first, then) = (answer.clone(), good.clone());
        let server = Server::start(
            move |_, before| {
                if before < failures { first.clone() } else { then.clone() }
            },
        )
        .await;
        let list = source(&format!("http://{}/list.yaml", server.address));
        let mut kept = Some(Kept {
            id: list.id(),
            text: BETTER.to_owned(),
            version: Version::default(),
            since: 1,
        });
        let read = read(&list, &mut kept, &patient).await;
        let expected = if works { "new: r.io/a:1" } else { "stale (" };
        assert!(read.starts_with(expected), "{answer:?}: {read}");
    }
}
