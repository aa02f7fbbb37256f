//! Mirrors that have an image, and mirrors that do not.

use layer_layout::{Digest, ImageReference, RegistryReference};

use super::fixture::{Fixture, impatient, options, read, registries_conf, text};
use super::server::{Answer, End, Server};
use crate::source::{Options, Source, list_tags, push_thin};

/// Options with which `registry.example` is at `own` and is asked after `mirrors`.
fn mirrored(mirrors: &[&Server], own: &Server) -> Options {
    let mut text =
        format!("[[registry]]\nprefix = \"registry.example\"\nlocation = \"{}\"\n", own.address);
    for mirror in mirrors {
        text += &format!("[[registry.mirror]]\nlocation = \"{}/mirrored\"\n", mirror.address);
    }
    Options { registries_conf: registries_conf(&text), ..options() }
}

/// A mirror, which has everything below `mirrored/`.
async fn mirror(
    fixture: &Fixture,
    fault: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static,
) -> Server {
    let fixture = fixture.clone();
    Server::start(move |request, nth| {
        let mut request = request.clone();
        let Some(rest) = request.target.strip_prefix("/v2/mirrored/") else {
            return Answer::new(404, "not below the mirror's path");
        };
        request.target = format!("/v2/{rest}");
        fault(&request.target, nth).unwrap_or_else(|| fixture.serve(&request))
    })
    .await
}

async fn open(tag: &str, options: &Options) -> Source {
    let reference: ImageReference = format!("registry.example/a/b{tag}").parse().unwrap();
    Source::open(&reference, options).await.unwrap()
}

#[tokio::test]
async fn a_mirror_is_asked_instead() {
    let fixture = Fixture::new();
    let (mirror, own) = (mirror(&fixture, |_, _| None).await, fixture.registry(|_, _| None).await);
    let run = mirrored(&[&mirror], &own);
    let source = open(":1", &run).await;
    assert_eq!(source.current_digest().await.unwrap(), Digest::of(&fixture.manifest));
    let image = source.resolve(None).await.unwrap();
    assert_eq!(source.config(&image).await.unwrap(), fixture.config);
    assert!(read(&source, &fixture.layer()).await.0.unwrap() == fixture.layers[1]);
    assert_eq!(own.log().len(), 0);
    assert_eq!(mirror.log().len(), 4);
    // The name is what was written.
    assert_eq!(image.name.unwrap().to_string(), "registry.example/a/b:1");
    assert_eq!(image.reference, "https://registry.example/a/b:1");
}

#[tokio::test]
async fn a_mirror_that_fails_is_passed_over() {
    let fixture = Fixture::new();
    type Fault = fn(&str, usize) -> Option<Answer>;
    let cases: [(&str, Fault, usize); 5] = [
        ("has nothing", |_, _| Some(Answer::new(404, "")), 1),
        ("denies", |_, _| Some(Answer::new(403, "")), 1),
        ("is broken", |_, _| Some(Answer::new(500, "")), 2),
        ("lies", |path, _| path.contains("manifests").then(|| Answer::new(200, "{}")), 1),
        ("stalls", |_, _| Some(Answer::new(200, "{").only(0, End::Stall)), 2),
    ];
    for (name, fault, requests) in cases {
        let broken = mirror(&fixture, fault).await;
        let (good, own) =
            (mirror(&fixture, |_, _| None).await, fixture.registry(|_, _| None).await);
        let run = mirrored(&[&broken, &good], &own);
        let run = Options { stall_timeout: impatient().stall_timeout, ..run };
        let digest = Digest::of(&fixture.manifest);
        let image = open(&format!("@{digest}"), &run).await.resolve(None).await.unwrap();
        assert_eq!(image.manifest.bytes, fixture.manifest, "{name}");
        assert_eq!(broken.log().len(), requests, "{name}");
        assert_eq!((good.log().len(), own.log().len()), (1, 0), "{name}");
    }
}

/// One that is down is not waited for again and again.
#[tokio::test]
async fn a_mirror_that_is_down_is_avoided() {
    let fixture = Fixture::new();
    let down = mirror(&fixture, |_, _| Some(Answer::new(500, ""))).await;
    let own = fixture.registry(|_, _| None).await;
    let run = mirrored(&[&down], &own);
    for _ in 0..5 {
        open(":1", &run).await.current_digest().await.unwrap();
    }
    assert_eq!((down.log().len(), own.log().len()), (2, 5));
    // But the registry itself is asked in any case.
    let own = fixture.registry(|_, _| Some(Answer::new(500, ""))).await;
    let run = mirrored(&[], &own);
    for _ in 0..2 {
        let message = text(&open(":1", &run).await.current_digest().await.unwrap_err());
        assert!(message.contains("500"), "{message}");
    }
    assert_eq!(own.log().len(), 6);
}

/// A layer that breaks off for good goes on elsewhere where it ended.
#[tokio::test]
async fn a_layer_from_two_places() {
    let fixture = Fixture::new();
    let (path, whole) = (fixture.layer_path(), fixture.layers[1].clone());
    let broken = mirror(&fixture, move |target, nth| {
        let answer = || match nth {
            0 => Answer::new(200, whole.as_slice()).only(1_000_000, End::Close),
            _ => Answer::new(404, ""),
        };
        (target == path).then(answer)
    })
    .await;
    let own = fixture.registry(|_, _| None).await;
    let source = open(":1", &mirrored(&[&broken], &own)).await;
    let (content, count) = read(&source, &fixture.layer()).await;
    assert!(content.unwrap() == fixture.layers[1]);
    assert_eq!(count, fixture.layer().size);
    assert_eq!(own.log().len(), 1);
    assert_eq!(own.log()[0].header("range"), Some("bytes=1000000-"));
}

#[tokio::test]
async fn pushes_and_tags_go_to_the_registry() {
    let fixture = Fixture::new();
    let mirror = mirror(&fixture, |_, _| None).await;
    let own = fixture
        .registry(|request, _| {
            request.path().ends_with("/tags/list").then(|| Answer::new(200, r#"{"tags":["1"]}"#))
        })
        .await;
    let run = mirrored(&[&mirror], &own);
    let reference: RegistryReference = "registry.example/a/b:1".parse().unwrap();
    assert_eq!(list_tags(&reference, &run).await.unwrap(), ["1"]);
    assert_eq!(own.log().len(), 1);

    // The location is where images come from; a push goes where it was told to.
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/mirrored\"\n",
        own.address, mirror.address
    );
    let run = Options { registries_conf: registries_conf(&text), ..options() };
    let reference = format!("{}/a/b:1", own.address).parse().unwrap();
    let pushed = push_thin(&reference, &fixture.pushable(), &run).await.unwrap();
    assert!(!pushed.pushed);
    assert_eq!(mirror.log().len(), 0);
}

#[tokio::test]
async fn a_blocked_registry() {
    let text = "[[registry]]\nprefix = \"registry.example/a\"\nblocked = true\n";
    let run = Options { registries_conf: registries_conf(text), ..options() };
    let reference: ImageReference = "registry.example/a/b:1".parse().unwrap();
    let message = Source::open(&reference, &run).await.unwrap_err().to_string();
    for part in ["https://registry.example/a/b:1", "registries.conf", "blocks"] {
        assert!(message.contains(part), "{message}");
    }
    let reference: RegistryReference = "registry.example/a/b:1".parse().unwrap();
    assert!(list_tags(&reference, &run).await.is_err());
    assert!(push_thin(&reference, &Fixture::new().pushable(), &run).await.is_err());
}
