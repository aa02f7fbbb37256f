//! The tags of a repository, page by page, and when an image was made.

use layer_layout::RegistryReference;
use serde_json::json;

use super::fixture::{Fixture, descriptor, options, served, text};
use super::server::{Answer, Received, Server};
use crate::source::{Error, Part, Result, created, list_tags, media_type};

fn page(tags: &[&str]) -> Answer {
    Answer::new(200, json!({"name": "a/b", "tags": tags}).to_string())
}

fn reference(server: &Server) -> RegistryReference {
    format!("http://{}/a/b:1.*", server.address).parse().unwrap()
}

/// Lists the tags of a registry whose nth page is `answer(n, address)`.
async fn list(
    answer: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static,
) -> (Server, Result<Vec<String>>) {
    let server = Server::start(move |request, nth| answer(nth, request)).await;
    let tags = list_tags(&reference(&server), &options()).await;
    (server, tags)
}

#[tokio::test]
async fn pages() {
    let hex = "0".repeat(64);
    let signature = format!("sha256-{hex}.sig");
    let (server, tags) = list(move |nth, request| {
        let host = request.header("host").unwrap();
        match nth {
            0 => page(&["1.0", "1.1"])
                .header("Link", "</v2/a/b/tags/list?last=1.1&n=2>; rel=\"next\""),
            1 => page(&["1.1", "2.0"]).header("Link", "<?last=2.0>; rel=next"),
            2 => {
                let next = format!("<http://{host}/v2/a/b/tags/list?last=x>; rel=\"next\"");
                page(&[&signature, "-broken"]).header("Link", next)
            }
            _ => page(&["latest"]).header("Link", "</v2/a/b/tags/list>; rel=\"prev\""),
        }
    })
    .await;
    assert_eq!(tags.unwrap(), ["1.0", "1.1", "2.0", "latest"]);
    let targets: Vec<String> = server.log().into_iter().map(|request| request.target).collect();
    let expected = ["?n=1000", "?last=1.1&n=2", "?last=2.0", "?last=x"];
    assert_eq!(targets, expected.map(|query| format!("/v2/a/b/tags/list{query}")));
}

#[tokio::test]
async fn no_tags() {
    for body in [r#"{"name":"a/b","tags":null}"#, r#"{"name":"a/b","tags":[]}"#] {
        let (_, tags) = list(move |_, _| Answer::new(200, body)).await;
        assert_eq!(tags.unwrap(), Vec::<String>::new());
    }
}

/// What is not the whole list is an error, never a shorter list.
#[tokio::test]
async fn lists_that_cannot_be_had() {
    type Page = fn(usize, &Received) -> Answer;
    let cases: [(&str, Page, usize, &str); 9] = [
        (
            "unknown",
            |_, _| Answer::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
            1,
            "NAME_UNKNOWN",
        ),
        ("denied", |_, _| Answer::new(403, ""), 1, "access denied"),
        ("broken", |_, _| Answer::new(503, ""), 3, "gave up"),
        ("not a list", |_, _| Answer::new(200, r#"{"errors":[]}"#), 1, "not a list of tags"),
        ("not JSON", |_, _| Answer::new(200, "<html>"), 1, "not a list of tags"),
        (
            "second page fails",
            |nth, _| match nth {
                0 => page(&["1"]).header("Link", "<?last=1>; rel=\"next\""),
                _ => Answer::new(404, ""),
            },
            2,
            "404",
        ),
        (
            "a loop",
            |_, _| page(&["1"]).header("Link", "<?last=1>; rel=\"next\""),
            2,
            "does not come to an end",
        ),
        (
            "another host",
            |_, _| {
                page(&["1"]).header("Link", "<http://127.0.0.2:1/v2/a/b/tags/list>; rel=\"next\"")
            },
            1,
            "at another place, http://127.0.0.2:1",
        ),
        (
            "another scheme",
            |_, request| {
                let host = request.header("host").unwrap();
                page(&["1"])
                    .header("Link", format!("<https://{host}/v2/a/b/tags/list>; rel=\"next\""))
            },
            1,
            "at another place",
        ),
    ];
    for (name, answer, requests, part) in cases {
        let (server, tags) = list(answer).await;
        let error = tags.unwrap_err();
        assert!(matches!(error, Error::Fetch { part: Part::Tags, .. }), "{name}: {error:?}");
        let message = text(&error);
        let repository = format!("http://{}/a/b", server.address);
        assert!(message.contains(part) && message.contains(&repository), "{name}: {message}");
        assert_eq!(server.log().len(), requests, "{name}");
    }
}

#[tokio::test]
async fn when_an_image_was_made() {
    let config = |time: &str| json!({"os": "linux", "architecture": "amd64", "created": time});
    for (time, expected) in
        [("2024-02-03T04:05:06Z", Some("2024-02-03T04:05:06Z")), ("whenever", None)]
    {
        let config = config(time).to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, &config),
            "layers": [],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut entry = descriptor(media_type::OCI_MANIFEST, &manifest);
        // Not that of the options: any will do.
        entry["platform"] = json!({"os": "linux", "architecture": "s390x"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();
        let server = Server::start(move |request, _| match request.path() {
            "/v2/a/b/manifests/1" => served(&manifest, media_type::OCI_MANIFEST),
            "/v2/a/b/manifests/index" => served(&index, media_type::OCI_INDEX),
            path if path.contains("/manifests/") => served(&manifest, media_type::OCI_MANIFEST),
            _ => Answer::new(200, config.as_slice()),
        })
        .await;
        for (tag, requests) in [("1", 2), ("index", 4)] {
            let before = server.log().len();
            let reference = format!("http://{}/a/b:{tag}", server.address).parse().unwrap();
            let time = created(&reference, &options()).await.unwrap();
            assert_eq!(time.map(|time| time.to_string()).as_deref(), expected);
            assert_eq!(server.log().len() - before, requests, "{tag}");
        }
    }
    let fixture = Fixture::new();
    let server = fixture.registry(|_, _| Some(Answer::new(404, ""))).await;
    let gone = format!("http://{}/a/b:1", server.address).parse().unwrap();
    assert!(created(&gone, &options()).await.is_err());
}
