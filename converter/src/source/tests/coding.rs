//! Answers that are marked as compressed, truly or not.

use flate2::Compression;
use flate2::write::GzEncoder;
use layer_layout::Digest;

use super::fixture::{Fixture, noise, open, options, read, served, text};
use super::server::{Answer, End};
use crate::source::{Error, LayerDescriptor, media_type};

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, content).unwrap();
    encoder.finish().unwrap()
}

/// Turns the right answer for a layer into another one, given the layer's content.
type Proxy = fn(&[u8]) -> Answer;

#[tokio::test]
async fn layers() {
    let gzip_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    let tar_type = "application/vnd.oci.image.layer.v1.tar";
    let compressed = gzip(&noise(1, 500_000));
    let plain = noise(2, 500_000);
    let marked: Proxy = |blob| Answer::new(200, blob).header("Content-Encoding", "gzip");
    let coded: Proxy = |blob| Answer::new(200, gzip(blob)).header("Content-Encoding", "x-gzip");
    let cases: [(&str, &[u8], &str, Proxy); 9] = [
        ("marked", &compressed, gzip_type, marked),
        ("marked, length untold", &compressed, gzip_type, |blob| {
            Answer::new(200, blob).header("Content-Encoding", "x-gzip").chunked()
        }),
        ("marked, not gzip", &plain, tar_type, marked),
        ("marked, not gzip, length untold", &plain, tar_type, |blob| {
            Answer::new(200, blob).header("Content-Encoding", "gzip").without_length()
        }),
        ("coded", &compressed, gzip_type, coded),
        ("coded, length untold", &compressed, gzip_type, |blob| {
            Answer::new(200, gzip(blob)).header("Content-Encoding", "gzip").chunked()
        }),
        ("coded, plain", &plain, tar_type, coded),
        ("coded, plain, length untold", &plain, tar_type, |blob| {
            Answer::new(200, gzip(blob)).header("Content-Encoding", "gzip").without_length()
        }),
        ("marked in an unknown way", &compressed, gzip_type, |blob| {
            Answer::new(200, blob).header("Content-Encoding", "br")
        }),
    ];
    for (name, blob, media_type, proxy) in cases {
        let fixture = Fixture::with_layers(vec![blob.to_vec()]);
        let (path, content) = (fixture.layer_path(), blob.to_vec());
        let server = fixture
            .registry(move |request, _| (request.path() == path).then(|| proxy(&content)))
            .await;
        let source = open(&server, ":1", &options()).await;
        let layer = LayerDescriptor { media_type: media_type.to_owned(), ..fixture.layer() };
        let (got, count) = read(&source, &layer).await;
        assert!(got.unwrap() == blob, "{name}");
        assert_eq!(count, blob.len() as u64, "{name}");
        assert_eq!(server.requests_to(&fixture.layer_path()).len(), 1, "{name}");
    }
}

/// The rest of a coded answer cannot be asked for, so all of it comes again.
#[tokio::test]
async fn a_coded_layer_that_breaks_off() {
    let fixture = Fixture::with_layers(vec![gzip(&noise(1, 500_000))]);
    let (path, coded) = (fixture.layer_path(), gzip(&fixture.layers[0]));
    let server = fixture
        .registry(move |request, nth| {
            let answer = Answer::new(200, coded.as_slice()).header("Content-Encoding", "gzip");
            let answer = if nth == 0 { answer.only(200_000, End::Close) } else { answer };
            (request.path() == path).then_some(answer)
        })
        .await;
    let source = open(&server, ":1", &options()).await;
    let (got, count) = read(&source, &fixture.layer()).await;
    assert!(got.unwrap() == fixture.layers[0]);
    assert_eq!(count, fixture.layer().size);
    let requests = server.requests_to(&fixture.layer_path());
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].header("range"), None);
}

#[tokio::test]
async fn coded_layers_that_are_refused() {
    let cases: [(&str, &str, Proxy); 5] = [
        ("something else", "digest", |blob| {
            let mut other = blob.to_vec();
            other[9] ^= 1;
            Answer::new(200, gzip(&other)).header("Content-Encoding", "gzip")
        }),
        ("more of it", "bytes or more, expected", |blob| {
            Answer::new(200, gzip(&[blob, &[0; 10]].concat())).header("Content-Encoding", "gzip")
        }),
        ("a bomb", "bytes or more, expected", |_| {
            Answer::new(200, gzip(&[0; 3_000_000])).header("Content-Encoding", "gzip")
        }),
        ("neither", "neither the blob nor gzip", |blob| {
            Answer::new(200, &blob[..100]).header("Content-Encoding", "gzip")
        }),
        ("unknown", "content coding \"br\"", |blob| {
            Answer::new(200, &blob[..100]).header("Content-Encoding", "br")
        }),
    ];
    for (name, part, proxy) in cases {
        let fixture = Fixture::with_layers(vec![noise(1, 100_000)]);
        let (path, content) = (fixture.layer_path(), fixture.layers[0].clone());
        let server = fixture
            .registry(move |request, _| (request.path() == path).then(|| proxy(&content)))
            .await;
        let source = open(&server, ":1", &options()).await;
        let message = text(&read(&source, &fixture.layer()).await.0.unwrap_err());
        assert!(message.contains(part), "{name}: {message}");
    }
}

#[tokio::test]
async fn documents() {
    let fixture = Fixture::new();
    let whole = fixture.clone();
    // Everything is compressed, with the digest of what it was; and with none.
    for with_digest in [true, false] {
        let whole = whole.clone();
        let server = fixture
            .registry(move |request, _| {
                let gzipped = |bytes: &[u8]| {
                    let answer = Answer::new(200, gzip(bytes)).header("Content-Encoding", "gzip");
                    let answer = answer.header("Content-Type", media_type::OCI_INDEX);
                    let digest = with_digest.then(|| Digest::of(bytes));
                    digest.map_or(answer.clone(), |it| answer.header("Docker-Content-Digest", it))
                };
                let ends = |bytes: &[u8]| request.path().ends_with(&Digest::of(bytes).to_string());
                match request.path() {
                    "/v2/a/b/manifests/index" => Some(gzipped(&whole.index)),
                    _ if ends(&whole.config) => Some(gzipped(&whole.config)),
                    _ if ends(&whole.manifest) => {
                        let answer = served(&gzip(&whole.manifest), media_type::OCI_MANIFEST);
                        Some(answer.header("Content-Encoding", "x-gzip"))
                    }
                    _ => None,
                }
            })
            .await;
        let source = open(&server, ":index", &options()).await;
        let image = source.resolve(None).await.unwrap();
        assert_eq!(image.manifest.bytes, fixture.manifest);
        assert_eq!(image.index.as_ref().unwrap().bytes, fixture.index);
        assert_eq!(source.config(&image).await.unwrap(), fixture.config);
    }
    // Marked only, and in a way that explains why nothing fits.
    for (coding, is_whole) in [("gzip", true), ("br", true), ("br", false)] {
        let whole = fixture.clone();
        let server = fixture
            .registry(move |request, _| {
                let answer = whole.serve(request).header("Content-Encoding", coding);
                let is_config = request.path().contains("/blobs/");
                Some(if is_config && !is_whole {
                    Answer::new(200, "?").header("Content-Encoding", coding)
                } else {
                    answer
                })
            })
            .await;
        let source = open(&server, ":1", &options()).await;
        let image = source.resolve(None).await.unwrap();
        match source.config(&image).await {
            Ok(config) => assert!(is_whole && config == fixture.config),
            Err(error @ Error::Fetch { .. }) => {
                assert!(!is_whole && text(&error).contains("content coding \"br\""), "{error:?}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Errors of a registry are read, too.
#[tokio::test]
async fn messages() {
    let fixture = Fixture::new();
    let server = fixture
        .registry(|_, _| {
            let body = gzip(br#"{"errors":[{"code":"GONE","message":"moved away"}]}"#);
            Some(Answer::new(410, body).header("Content-Encoding", "gzip"))
        })
        .await;
    let error = open(&server, ":1", &options()).await.resolve(None).await.unwrap_err();
    assert!(text(&error).contains("GONE: moved away"), "{}", text(&error));
}
