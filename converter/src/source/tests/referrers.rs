//! Thin images that are listed among the referrers of the full ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use layer_layout::Digest;
use layer_layout::thin::{Blob, ThinImage};
use serde_json::{Value, json};

use super::fixture::{Fixture, options, text};
use super::server::{Answer, Received, Server};
use crate::source::{media_type, push_thin};

/// An image that refers to the fixture's.
fn referring(number: u8) -> ThinImage {
    let full = Fixture::with_layers(Vec::new());
    let mut manifest: Value = serde_json::from_slice(&full.manifest).unwrap();
    manifest["subject"] = json!({
        "mediaType": media_type::OCI_MANIFEST, "digest": subject(), "size": 1,
    });
    manifest["annotations"] = json!({"number": number.to_string()});
    let manifest = manifest.to_string().into_bytes();
    ThinImage {
        manifest: Blob { digest: Digest::of(&manifest), bytes: manifest },
        media_type: media_type::OCI_MANIFEST,
        blobs: Vec::new(),
    }
}

fn subject() -> Digest {
    Digest::of(b"the full image")
}

fn list_path() -> String {
    format!("/v2/a/b/manifests/sha256-{}", subject().hex())
}

/// Manifests by path. With `conditional`, it has ETags and honours conditions.
#[derive(Clone, Default)]
struct Store {
    manifests: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    conditional: bool,
    api: bool,
}

impl Store {
    fn answer(&self, request: &Received) -> Answer {
        let mut manifests = self.manifests.lock().unwrap();
        let path = request.path().to_owned();
        let now = manifests.get(&path).cloned();
        let etag = |bytes: &[u8]| format!("\"{}\"", Digest::of(bytes));
        if request.method == "PUT" {
            let condition = match (request.header("if-match"), request.header("if-none-match")) {
                (Some(tag), _) => now.as_deref().map(etag).as_deref() == Some(tag),
                (None, Some(_)) => now.is_none(),
                (None, None) => true,
            };
            if self.conditional && !condition {
                return Answer::new(412, "");
            }
            manifests.insert(path, request.body.clone());
            let answer = Answer::new(201, "");
            return if self.api { answer.header("OCI-Subject", subject()) } else { answer };
        }
        match now {
            Some(bytes) => {
                let answer = Answer::new(200, bytes.as_slice());
                if self.conditional { answer.header("ETag", etag(&bytes)) } else { answer }
            }
            None => Answer::new(404, ""),
        }
    }

    async fn start(&self) -> Server {
        let store = self.clone();
        Server::start(move |request, _| store.answer(request)).await
    }

    /// The digests in the list.
    fn listed(&self) -> Vec<String> {
        let manifests = self.manifests.lock().unwrap();
        let index: Value = serde_json::from_slice(&manifests[&list_path()]).unwrap();
        let entries = index["manifests"].as_array().unwrap();
        entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
    }
}

async fn push(server: &Server, number: u8) -> crate::source::Result<()> {
    let reference = format!("http://{}/a/b:{number}", server.address).parse().unwrap();
    push_thin(&reference, &referring(number), &options()).await.map(|_| ())
}

#[tokio::test]
async fn a_registry_that_lists_them_itself() {
    let store = Store { api: true, ..Store::default() };
    let server = store.start().await;
    push(&server, 1).await.unwrap();
    assert!(server.requests_to(&list_path()).is_empty());
    let puts: Vec<_> = server.log().into_iter().filter(|it| it.method == "PUT").collect();
    // The tag comes last.
    assert!(puts[0].path().contains("/manifests/sha256:"));
    assert!(puts[1].path().ends_with("/manifests/1"));
    assert_eq!(puts.len(), 2);
}

#[tokio::test]
async fn one_that_does_not() {
    for conditional in [false, true] {
        let store = Store { conditional, ..Store::default() };
        let server = store.start().await;
        let foreign = json!({
            "mediaType": "application/vnd.example+json", "digest": Digest::of(b"x"), "size": 9,
            "artifactType": "application/vnd.example", "somebody": {"elses": "member"},
        });
        let index = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [foreign],
            "annotations": {"a": "b"},
        });
        store.manifests.lock().unwrap().insert(list_path(), index.to_string().into_bytes());
        for number in [1, 2, 1] {
            push(&server, number).await.unwrap();
        }
        let list = store.manifests.lock().unwrap()[&list_path()].clone();
        let list: Value = serde_json::from_slice(&list).unwrap();
        assert_eq!(list["annotations"], json!({"a": "b"}));
        assert_eq!(list["manifests"][0], foreign);
        let ours = referring(1);
        assert_eq!(
            list["manifests"][1],
            json!({
                "mediaType": media_type::OCI_MANIFEST,
                "digest": ours.manifest.digest,
                "size": ours.manifest.bytes.len(),
                "artifactType": media_type::OCI_CONFIG,
                "annotations": {"number": "1"},
            })
        );
        assert_eq!(store.listed().len(), 3);
    }
}

/// Each finds that another one was faster, and loses nothing.
#[tokio::test]
async fn several_at_the_same_time() {
    let store = Store { conditional: true, ..Store::default() };
    let server = store.start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..6 {
        let server = server.clone();
        tasks.spawn(async move { push(&server, number).await.unwrap() });
    }
    tasks.join_all().await;
    let mut listed = store.listed();
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), 6);
}

/// A registry that knows no conditions lets the list be overwritten. Reading it again mends that.
#[tokio::test]
async fn an_entry_that_gets_lost() {
    let store = Store::default();
    let overwritten = store.clone();
    let server = Server::start(move |request, nth| {
        let answer = overwritten.answer(request);
        if request.method == "PUT" && request.path() == list_path() && nth < 2 {
            let other = json!({"schemaVersion": 2, "manifests": [{"digest": format!("{nth}")}]});
            let other = other.to_string().into_bytes();
            overwritten.manifests.lock().unwrap().insert(list_path(), other);
        }
        answer
    })
    .await;
    push(&server, 1).await.unwrap();
    assert_eq!(store.listed(), ["1".to_owned(), referring(1).manifest.digest.to_string()]);
}

/// Nothing is overwritten that is not understood, and then there is no tag either.
#[tokio::test]
async fn something_else_under_the_tag() {
    for content in ["{}", "[]", "no JSON", r#"{"mediaType":"x/y","manifests":[]}"#] {
        let store = Store::default();
        let server = store.start().await;
        store.manifests.lock().unwrap().insert(list_path(), content.as_bytes().to_vec());
        let message = text(&push(&server, 1).await.unwrap_err());
        assert!(message.contains("cannot push the list of referrers"), "{message}");
        assert!(message.contains("index"), "{message}");
        let manifests = store.manifests.lock().unwrap();
        assert_eq!(manifests[&list_path()], content.as_bytes());
        assert!(!manifests.contains_key("/v2/a/b/manifests/1"));
    }
}
