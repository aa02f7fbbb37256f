//! Manifests and configurations from a registry.

use layer_layout::{Digest, ImageReference};

use super::fixture::{Fixture, impatient, open, options, text};
use super::server::{Answer, End};
use crate::source::{Error, KnownManifest, Part, Source, media_type};

#[tokio::test]
async fn an_image_by_tag_and_digest() {
    let fixture = Fixture::new();
    let server = fixture.registry(|_, _| None).await;
    let manifest = Digest::of(&fixture.manifest);
    for (tag, requests) in
        [(":1".to_owned(), 1), (format!("@{manifest}"), 1), (":index".to_owned(), 2)]
    {
        let before = server.log().len();
        let source = open(&server, &tag, &options()).await;
        assert_eq!(server.log().len(), before);
        let image = source.resolve(None).await.unwrap();
        assert_eq!(server.log().len() - before, requests, "{tag}");
        assert_eq!(image.reference, format!("http://{}/a/b{tag}", server.address));
        assert_eq!(image.manifest.bytes, fixture.manifest);
        assert_eq!(image.manifest.media_type, media_type::OCI_MANIFEST);
        assert_eq!(image.manifest.digest, manifest);
        assert_eq!(image.index.is_some(), tag == ":index");
        assert_eq!(image.platform.is_some(), tag == ":index");
        assert_eq!(image.layers.len(), 2);
        assert_eq!(image.layers[1], fixture.layer());
        let name = image.name.as_ref().unwrap().to_string();
        assert_eq!(name, format!("{}/a/b:{}", server.address, &tag[1..]));
        assert_eq!(source.config(&image).await.unwrap(), fixture.config);
    }
    let request = &server.log()[0];
    assert!(request.header("accept").unwrap().contains("manifest.list.v2+json"));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert!(request.header("user-agent").unwrap().starts_with("ducc/"));
    assert_eq!(request.header("authorization"), None);
}

/// A second run asks once, and for nothing else.
#[tokio::test]
async fn a_known_manifest_is_not_fetched() {
    let fixture = Fixture::new();
    let server = fixture.registry(|_, _| None).await;
    let known = KnownManifest::new(fixture.manifest.clone());
    let other = KnownManifest::new(b"{}".to_vec());
    for (tag, known, requests) in [(":1", &known, 1), (":index", &known, 1), (":index", &other, 2)]
    {
        let before = server.log().len();
        let image = open(&server, tag, &options()).await.resolve(Some(known)).await.unwrap();
        assert_eq!(image.manifest.bytes, fixture.manifest);
        assert_eq!(server.log().len() - before, requests, "{tag}");
    }
}

#[tokio::test]
async fn documents_are_what_they_are_called() {
    let fixture = Fixture::new();
    let right = Digest::of(&fixture.manifest);
    let lie = Digest::of(b"lie");

    // The header contradicts the content, by tag.
    let whole = fixture.clone();
    let server = fixture
        .registry(move |request, _| {
            let answer = Answer::new(200, whole.manifest.as_slice());
            let answer = answer.header("Docker-Content-Digest", lie);
            request.path().ends_with("/manifests/1").then_some(answer)
        })
        .await;
    let error = open(&server, ":1", &options()).await.resolve(None).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { part: Part::Manifest, expected, got, .. }
        if *expected == lie && *got == right));

    // Something else comes for a digest: by the user's, and by an index's.
    let whole = fixture.clone();
    let server = fixture
        .registry(move |request, _| {
            let changed = [whole.manifest.as_slice(), b" "].concat();
            request.path().contains("/manifests/sha256").then(|| Answer::new(200, changed))
        })
        .await;
    for tag in [format!("@{right}"), ":index".to_owned()] {
        let error = open(&server, &tag, &options()).await.resolve(None).await.unwrap_err();
        assert!(
            matches!(error, Error::DigestMismatch { expected, .. } if *expected == right),
            "{tag}"
        );
    }

    // The configuration.
    let whole = fixture.clone();
    let server = fixture
        .registry(move |request, nth| {
            let changed = [b"[", &whole.config[1..]].concat();
            let longer = [whole.config.as_slice(), b" "].concat();
            let wrong = if nth == 0 { changed } else { longer };
            request.path().contains("/blobs/").then(|| Answer::new(200, wrong))
        })
        .await;
    let source = open(&server, ":1", &options()).await;
    let image = source.resolve(None).await.unwrap();
    let error = source.config(&image).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { part: Part::Config, .. }), "{error:?}");
    let error = source.config(&image).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { part: Part::Config, .. }), "{error:?}");
}

#[tokio::test]
async fn huge_documents_are_not_read() {
    let fixture = Fixture::new();
    let huge = Answer::new(200, vec![b' '; (4 << 20) + 1]);
    for answer in [huge, Answer::new(200, "{").chunked().end(End::Endless)] {
        let server = fixture.registry(move |_, _| Some(answer.clone())).await;
        let error = open(&server, ":1", &options()).await.resolve(None).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 4_194_304, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn failures_of_the_manifest_request() {
    let fixture = Fixture::new();
    for (answer, requests, parts) in [
        (Answer::new(404, "no"), 1, &["the manifest of http://", "404", "no"][..]),
        (Answer::new(503, ""), 3, &["gave up after 3 attempts", "503"]),
        (Answer::new(200, "<html>"), 1, &["not a manifest"]),
        (Answer::new(204, ""), 1, &["unexpected answer 204"]),
        (Answer::new(302, "").header("Location", "/v2/a/b/manifests/1"), 6, &["redirects"]),
    ] {
        let server = fixture.registry(move |_, _| Some(answer.clone())).await;
        let error = open(&server, ":1", &options()).await.resolve(None).await.unwrap_err();
        let message = text(&error);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
        assert_eq!(server.log().len(), requests, "{message}");
    }
}

#[tokio::test]
async fn a_manifest_that_stalls() {
    let fixture = Fixture::new();
    for answer in [
        Answer::new(200, "{}").only(0, End::Stall),
        Answer::new(200, "{").end(End::Stall).chunked(),
    ] {
        let server = fixture.registry(move |_, _| Some(answer.clone())).await;
        let error = open(&server, ":1", &impatient()).await.resolve(None).await.unwrap_err();
        assert!(text(&error).contains("nothing for 0.4 seconds"), "{error:?}");
        assert_eq!(server.log().len(), 3);
    }
}

#[tokio::test]
async fn nobody_listens() {
    let reference: ImageReference = "http://127.0.0.1:1/a/b:1".parse().unwrap();
    let source = Source::open(&reference, &options()).await.unwrap();
    let message = text(&source.resolve(None).await.unwrap_err());
    assert!(message.contains("gave up after 3 attempts"), "{message}");
    assert!(message.contains("refused"), "{message}");
}

/// A registry on this machine needs no `http://`.
#[tokio::test]
async fn plain_http_on_this_machine() {
    let fixture = Fixture::new();
    let server = fixture.registry(|_, _| None).await;
    for host in ["127.0.0.1", "localhost"] {
        let reference: ImageReference =
            format!("{host}:{}/a/b:1", server.address.port()).parse().unwrap();
        let source = Source::open(&reference, &options()).await.unwrap();
        let image = source.resolve(None).await.unwrap();
        assert_eq!(image.manifest.bytes, fixture.manifest);
    }
    assert_eq!(server.log().len(), 2);
}

#[tokio::test]
async fn a_wildcard_is_no_image() {
    let reference: ImageReference = "registry.example/a:1.*".parse().unwrap();
    let error = Source::open(&reference, &options()).await.unwrap_err();
    assert!(matches!(error, Error::Reference { .. }), "{error:?}");
}
