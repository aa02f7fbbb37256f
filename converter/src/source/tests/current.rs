//! Whether a tag has moved.

use layer_layout::{Digest, ImageReference};

use super::fixture::{Fixture, open, options, text};
use super::server::{Answer, Received};
use crate::source::{Error, Part, Source};

/// What the registry does with HEAD; the rest it does well.
type Head = fn(Answer, &Fixture) -> Answer;

#[tokio::test]
async fn one_request_tells() {
    let fixture = Fixture::new();
    let server = fixture.registry(|_, _| None).await;
    for (tag, content) in [(":1", &fixture.manifest), (":index", &fixture.index)] {
        let before = server.log().len();
        let source = open(&server, tag, &options()).await;
        assert_eq!(source.current_digest().await.unwrap(), Digest::of(content));
        let log = server.log().split_off(before);
        assert_eq!(log.len(), 1, "{tag}");
        assert_eq!(log[0].method, "HEAD");
        assert!(log[0].header("accept").unwrap().contains("image.index.v1+json"));
        // What a full look says, too.
        let image = source.resolve(None).await.unwrap();
        let published = image.index.map_or(image.manifest.digest, |index| index.digest);
        assert_eq!(published, Digest::of(content));
    }
    // What has a digest does not move.
    let digest = Digest::of(&fixture.manifest);
    let before = server.log().len();
    let source = open(&server, &format!("@{digest}"), &options()).await;
    assert_eq!(source.current_digest().await.unwrap(), digest);
    assert_eq!(server.log().len(), before);
}

#[tokio::test]
async fn registries_that_do_not_like_head() {
    let fixture = Fixture::new();
    let cases: [(&str, Head); 6] = [
        ("no digest", |_, fixture| Answer::new(200, fixture.index.as_slice())),
        ("another kind of digest", |_, fixture| {
            let digest = format!("sha512:{}", "0".repeat(128));
            Answer::new(200, fixture.index.as_slice()).header("Docker-Content-Digest", digest)
        }),
        ("404", |_, _| Answer::new(404, "")),
        ("405", |_, _| Answer::new(405, "")),
        ("400", |_, _| Answer::new(400, "")),
        ("501", |_, _| Answer::new(501, "")),
    ];
    for (name, head) in cases {
        let whole = fixture.clone();
        let server = fixture
            .registry(move |request: &Received, _| {
                (request.method == "HEAD").then(|| head(whole.serve(request), &whole))
            })
            .await;
        let source = open(&server, ":index", &options()).await;
        let digest = source.current_digest().await.unwrap();
        assert_eq!(digest, Digest::of(&fixture.index), "{name}");
        let methods: Vec<String> = server.log().into_iter().map(|it| it.method).collect();
        assert_eq!(methods.last().map(String::as_str), Some("GET"), "{name}");
    }
}

#[tokio::test]
async fn a_tag_that_is_gone_is_an_error() {
    let fixture = Fixture::new();
    for (status, requests, part) in [(404, 2, "404"), (403, 1, "access denied"), (500, 3, "500")] {
        let server = fixture.registry(move |_, _| Some(Answer::new(status, ""))).await;
        let error = open(&server, ":1", &options()).await.current_digest().await.unwrap_err();
        assert!(matches!(error, Error::Fetch { part: Part::Manifest, .. }), "{error:?}");
        let message = text(&error);
        assert!(message.contains(part) && message.contains("/a/b:1"), "{message}");
        assert_eq!(server.log().len(), requests, "{status}");
    }
}

#[tokio::test]
async fn of_a_layout() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let blobs = directory.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    for blob in fixture.layers.iter().chain([&fixture.config, &fixture.manifest, &fixture.index]) {
        std::fs::write(blobs.join(Digest::of(blob).hex()), blob).unwrap();
    }
    let write =
        |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
    write("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned());
    let entry = super::fixture::descriptor(crate::source::media_type::OCI_INDEX, &fixture.index);
    write("index.json", format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#));
    let reference = format!("oci:{}", directory.path().display());
    let reference: ImageReference = reference.parse().unwrap();
    let source = Source::open(&reference, &options()).await.unwrap();
    assert_eq!(source.current_digest().await.unwrap(), Digest::of(&fixture.index));
}
