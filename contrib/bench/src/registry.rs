//! A registry in this process that counts requests and answers as slowly as it is told to: what is measured against a
//! registry's latency should not depend on the registry's own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Result, anyhow};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use harness::image::{Artifact, Blob, Image};
use http::{StatusCode, Uri, header};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A running registry; it ends when this is dropped.
pub(crate) struct Registry {
    content: Arc<Content>,
    port: u16,
    runtime: Option<Runtime>,
}

/// What it holds.
#[derive(Default)]
struct Content {
    /// By the path after `/v2/`.
    manifests: RwLock<HashMap<String, Document>>,
    /// By digest. All repositories have all of them.
    blobs: RwLock<HashMap<String, Document>>,
    requests: AtomicU64,
    milliseconds: AtomicU64,
}

#[derive(Debug, Clone)]
struct Document {
    media_type: String,
    digest: String,
    content: Bytes,
}

impl Document {
    fn new(blob: &Blob) -> Result<Self> {
        let (media_type, digest) = (blob.media_type.clone(), blob.digest.clone());
        Ok(Self { media_type, digest, content: blob.bytes()?.into() })
    }
}

impl Registry {
    /// Starts an empty one on a free port of this machine.
    pub(crate) fn start() -> Result<Self> {
        // It shares the machine with what is measured, so it should not take more of it than it needs.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let port = listener.local_addr()?.port();
        let content = Arc::new(Content::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&content));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { content, port, runtime: Some(runtime) })
    }

    /// Adds an image under the names `REPOSITORY:TAG`.
    pub(crate) fn add(&self, names: &[String], image: &Image) -> Result<()> {
        let manifest = Document::new(image.top())?;
        let poisoned = || anyhow!("a request has panicked");
        let mut manifests = self.content.manifests.write().map_err(|_| poisoned())?;
        for name in names {
            let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
            for reference in [tag, &manifest.digest] {
                manifests.insert(format!("{repository}/manifests/{reference}"), manifest.clone());
            }
        }
        let mut blobs = self.content.blobs.write().map_err(|_| poisoned())?;
        for blob in image.blobs() {
            blobs.insert(blob.digest.clone(), Document::new(blob)?);
        }
        Ok(())
    }

    /// The reference of `REPOSITORY:TAG` as the converter takes it.
    pub(crate) fn source(&self, name: &str) -> String {
        format!("{}/{name}", self.url())
    }

    /// The URL of the manifest of `REPOSITORY:TAG`.
    pub(crate) fn manifest_url(&self, name: &str) -> String {
        let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
        format!("{}/v2/{repository}/manifests/{tag}", self.url())
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets each answer begin only after this time.
    pub(crate) fn set_latency(&self, latency: Duration) {
        let milliseconds = latency.as_millis().try_into().unwrap_or(u64::MAX);
        self.content.milliseconds.store(milliseconds, Ordering::Relaxed);
    }

    /// How many requests there have been.
    pub(crate) fn requests(&self) -> u64 {
        self.content.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(State(content): State<Arc<Content>>, uri: Uri) -> Response {
    content.requests.fetch_add(1, Ordering::Relaxed);
    let milliseconds = content.milliseconds.load(Ordering::Relaxed);
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    let path = uri.path().strip_prefix("/v2/").unwrap_or_default();
    let (documents, key) = match path.split_once("/blobs/") {
        Some((_, digest)) => (&content.blobs, digest),
        None => (&content.manifests, path),
    };
    let document = documents.read().ok().and_then(|documents| documents.get(key).cloned());
    match document {
        Some(Document { media_type, digest, content }) => {
            let headers =
                [(header::CONTENT_TYPE.as_str(), media_type), ("docker-content-digest", digest)];
            (headers, content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
