//! Images that have to be signed.

use layer_layout::{Digest, ImageReference};
use serde_json::json;

use super::fixture::{Fixture, descriptor, open, options, served, text};
use super::server::{Answer, Server};
use super::signer::{Signature, Signer, policy};
use crate::source::{Error, Options, Platforms, Refusal, Source, media_type};

/// Where signatures are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The tag `sha256-<hex>.sig`.
    Tag,
    /// The referrers API.
    Api,
    /// The tag `sha256-<hex>`.
    Fallback,
}

/// A registry with the fixture's image and signatures at `digest`.
async fn registry(
    fixture: &Fixture,
    digest: Digest,
    place: Place,
    signatures: Vec<(Signature, &'static str)>,
) -> Server {
    let whole = fixture.clone();
    let tag = format!("sha256-{}", digest.hex());
    fixture
        .registry(move |request, _| {
            let path = request.path();
            let entries = signatures.iter().map(|(signature, kind)| {
                let mut entry = descriptor(media_type::OCI_MANIFEST, &signature.manifest);
                entry["artifactType"] = json!(kind);
                entry
            });
            // Others may write into the list what they like.
            let mut odd = descriptor(media_type::OCI_MANIFEST, b"odd");
            odd["platform"] = json!({"os": "linux"});
            let entries: Vec<_> = std::iter::once(odd).chain(entries).collect();
            let index =
                json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
            let index = || served(index.to_string().as_bytes(), media_type::OCI_INDEX);
            match place {
                Place::Tag if path == format!("/v2/a/b/manifests/{tag}.sig") => {
                    let (signature, _) = signatures.first()?;
                    return Some(served(&signature.manifest, media_type::OCI_MANIFEST));
                }
                Place::Api if path == format!("/v2/a/b/referrers/{digest}") => return Some(index()),
                Place::Fallback if path == format!("/v2/a/b/manifests/{tag}") => {
                    return Some(index());
                }
                _ => {}
            }
            let named = |bytes: &[u8]| path.ends_with(&Digest::of(bytes).to_string());
            let found = signatures.iter().find_map(|(signature, _)| {
                let Signature { manifest, blob } = signature;
                [manifest, blob].into_iter().find(|bytes| named(bytes))
            });
            Some(match found {
                Some(bytes) => Answer::new(200, bytes.as_slice()),
                None => whole.serve(request),
            })
        })
        .await
}

const SIMPLE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

#[tokio::test]
async fn a_signed_image_is_accepted() {
    let fixture = Fixture::new();
    let (index, manifest) = (Digest::of(&fixture.index), Digest::of(&fixture.manifest));
    let (ours, other) = (Signer::ecdsa(), Signer::ed25519());
    let both = policy(&[&other, &ours]);
    for (tag, signed, place, signatures) in [
        (":1", manifest, Place::Tag, vec![(ours.simple(&manifest), SIMPLE)]),
        (":1", manifest, Place::Api, vec![(ours.simple(&manifest), SIMPLE)]),
        (":1", manifest, Place::Fallback, vec![(ours.bundle(&manifest), BUNDLE)]),
        (":1", manifest, Place::Api, vec![(other.bundle(&manifest), BUNDLE)]),
        (
            ":1",
            manifest,
            Place::Fallback,
            vec![(ours.bundle(&manifest), "application/vnd.oci.empty.v1+json")],
        ),
        // The signature of the index is one for all that it lists, and that of the manifest is enough, too.
        (":index", index, Place::Tag, vec![(other.simple(&index), SIMPLE)]),
        (":index", index, Place::Api, vec![(ours.bundle(&index), BUNDLE)]),
        (":index", manifest, Place::Tag, vec![(ours.simple(&manifest), SIMPLE)]),
        // Not the first one.
        (
            ":1",
            manifest,
            Place::Api,
            vec![
                (Signer::ecdsa().simple(&manifest), SIMPLE),
                (Signer::ecdsa().bundle(&manifest), BUNDLE),
                (ours.bundle(&manifest), BUNDLE),
            ],
        ),
    ] {
        let server = registry(&fixture, signed, place, signatures).await;
        let run = Options { policy: Some(both.clone()), ..options() };
        let source = open(&server, tag, &run).await;
        source
            .resolve(None)
            .await
            .unwrap_or_else(|error| panic!("{tag} {place:?}: {}", text(&error)));
        source.resolve_all(&Platforms::All, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn any_other_is_refused() {
    let fixture = Fixture::new();
    let manifest = Digest::of(&fixture.manifest);
    let other = Digest::of(b"other");
    let (ours, stranger) = (Signer::ecdsa(), Signer::ecdsa());
    let damaged = {
        // Signed, and changed afterwards, with all digests right.
        let mut changed = ours.simple(&other);
        let text = String::from_utf8(changed.blob.clone()).unwrap();
        changed.blob = text.replace(&other.to_string(), &manifest.to_string()).into_bytes();
        let mut document: serde_json::Value = serde_json::from_slice(&changed.manifest).unwrap();
        document["layers"][0]["digest"] = json!(Digest::of(&changed.blob));
        changed.manifest = document.to_string().into_bytes();
        changed
    };
    let vulnerabilities = ours.bundle_of(
        &json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": manifest.hex()}}],
            "predicateType": "https://cosign.sigstore.dev/attestation/vuln/v1",
            "predicate": {},
        })
        .to_string(),
    );
    for (name, place, signatures, part) in [
        ("unsigned", Place::Tag, vec![], "there is no signature for"),
        ("stranger", Place::Tag, vec![(stranger.simple(&manifest), SIMPLE)], "none of the 1"),
        (
            "strangers",
            Place::Api,
            vec![(stranger.bundle(&manifest), BUNDLE), (stranger.simple(&manifest), SIMPLE)],
            "none of the 2",
        ),
        ("damaged", Place::Tag, vec![(damaged, SIMPLE)], "none of the 1"),
        ("moved", Place::Tag, vec![(ours.simple(&other), SIMPLE)], &*format!("is for {other}")),
        (
            "moved bundle",
            Place::Api,
            vec![(ours.bundle(&other), BUNDLE)],
            &*format!("is for {other}"),
        ),
        (
            "an attestation",
            Place::Api,
            vec![(vulnerabilities, BUNDLE)],
            "something that is not an image",
        ),
        ("another kind", Place::Api, vec![(ours.bundle(&manifest), "text/plain")], "there is no"),
    ] {
        let server = registry(&fixture, manifest, place, signatures).await;
        let run = Options { policy: Some(policy(&[&ours])), ..options() };
        for tag in [":1", ":index"] {
            let error = open(&server, tag, &run).await.resolve(None).await.unwrap_err();
            assert!(matches!(error, Error::Unsigned { .. }), "{name}: {error:?}");
            let message = text(&error);
            assert!(message.contains(part), "{name} {tag}: {message}");
            assert!(message.contains(&format!("/a/b{tag}")), "{name}: {message}");
            assert!(message.contains(&manifest.to_string()), "{name}: {message}");
        }
        // What is refused is not published, whatever it is asked for.
        let source = open(&server, ":index", &run).await;
        assert!(source.resolve_all(&Platforms::All, &[]).await.is_err(), "{name}");
        // Without the policy it would be.
        open(&server, ":1", &options()).await.resolve(None).await.unwrap();
    }
}

/// A registry that cannot be asked for signatures is not one that has none.
#[tokio::test]
async fn a_failure_is_no_refusal() {
    let fixture = Fixture::new();
    let server = fixture
        .registry(|request, _| request.path().ends_with(".sig").then(|| Answer::new(500, "")))
        .await;
    let run = Options { policy: Some(policy(&[&Signer::ecdsa()])), ..options() };
    let error = open(&server, ":1", &run).await.resolve(None).await.unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }), "{error:?}");
}

#[tokio::test]
async fn files_have_no_signatures() {
    let run = Options { policy: Some(policy(&[&Signer::ecdsa()])), ..options() };
    let reference: ImageReference = "oci:/nowhere".parse().unwrap();
    let error = Source::open(&reference, &run).await.unwrap_err();
    assert!(matches!(error, Error::Unsigned { reason, .. } if *reason == Refusal::NotInARegistry));
}
