//! An image, and a registry that serves it as it should unless a test wants it otherwise.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use layer_layout::thin::{Blob, ThinImage};
use layer_layout::{Digest, Platform};
use serde_json::{Value, json};

use super::server::{Answer, Received, Server};
use crate::source::{Error, LayerDescriptor, Options, RegistriesConf, Result, Source, media_type};

/// A small image with two layers, the second of which is big enough to be broken in the middle.
#[derive(Debug, Clone)]
pub(super) struct Fixture {
    pub(super) config: Vec<u8>,
    pub(super) layers: Vec<Vec<u8>>,
    pub(super) manifest: Vec<u8>,
    pub(super) index: Vec<u8>,
}

/// A `registries.conf`.
pub(super) fn registries_conf(text: &str) -> RegistriesConf {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("registries.conf");
    std::fs::write(&file, text).unwrap();
    RegistriesConf::from_file(&file).unwrap()
}

/// A manifest or index as a registry serves it.
pub(super) fn served(bytes: &[u8], media_type: &str) -> Answer {
    let answer = Answer::new(200, bytes).header("Content-Type", media_type);
    answer.header("Docker-Content-Digest", Digest::of(bytes))
}

/// Content that looks like anything but itself shifted by some bytes.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

pub(super) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(content), "size": content.len()})
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with_layers(vec![noise(1, 1000), noise(2, 3_000_000)])
    }

    pub(super) fn with_layers(layers: Vec<Vec<u8>>) -> Self {
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}"#.to_vec();
        let layer_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, &config),
            "layers": layers.iter().map(|layer| descriptor(layer_type, layer)).collect::<Vec<_>>(),
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut entry = descriptor(media_type::OCI_MANIFEST, &manifest);
        entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": [entry],
        });
        let index = serde_json::to_vec(&index).unwrap();
        Self { config, layers, manifest, index }
    }

    /// What a registry answers: repository `a/b`, tags `1` (manifest) and `index`.
    pub(super) fn serve(&self, request: &Received) -> Answer {
        let Some(path) = request.path().strip_prefix("/v2/a/b/") else {
            return Answer::new(404, "no such repository");
        };
        let named = |bytes: &[u8]| path.ends_with(&Digest::of(bytes).to_string());
        if path == "manifests/1" || path.starts_with("manifests/") && named(&self.manifest) {
            return served(&self.manifest, media_type::OCI_MANIFEST);
        }
        if path == "manifests/index" {
            return served(&self.index, media_type::OCI_INDEX);
        }
        let mut blobs = self.layers.iter().chain([&self.config]);
        let Some(blob) = blobs.find(|blob| path.starts_with("blobs/") && named(blob)) else {
            let error = json!({"errors": [{"code": "UNKNOWN", "message": "not here"}]});
            return Answer::new(404, error.to_string());
        };
        let range = request.header("range").and_then(|text| text.strip_prefix("bytes="));
        let begin = range.and_then(|text| text.strip_suffix('-')?.parse::<usize>().ok());
        match begin {
            None => Answer::new(200, blob.as_slice()),
            Some(begin) if begin >= blob.len() => Answer::new(416, ""),
            Some(begin) => Answer::new(206, &blob[begin..]).header(
                "Content-Range",
                format!("bytes {begin}-{}/{}", blob.len() - 1, blob.len()),
            ),
        }
    }

    /// A registry that serves this image, except where `fault` says something else.
    pub(super) async fn registry(
        &self,
        fault: impl Fn(&Received, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Server {
        let fixture = self.clone();
        Server::start(move |request, nth| {
            fault(request, nth).unwrap_or_else(|| fixture.serve(request))
        })
        .await
    }

    /// The descriptor of the big layer.
    pub(super) fn layer(&self) -> LayerDescriptor {
        let content = self.layers.last().unwrap();
        LayerDescriptor {
            digest: Digest::of(content).into(),
            size: content.len() as u64,
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        }
    }

    /// The path of the big layer.
    pub(super) fn layer_path(&self) -> String {
        format!("/v2/a/b/blobs/{}", self.layer().digest)
    }

    /// The image in the form in which it can be pushed.
    pub(super) fn pushable(&self) -> ThinImage {
        let blob = |bytes: &Vec<u8>| Blob { digest: Digest::of(bytes), bytes: bytes.clone() };
        ThinImage {
            manifest: blob(&self.manifest),
            media_type: media_type::OCI_MANIFEST,
            blobs: self.layers.iter().chain([&self.config]).map(blob).collect(),
        }
    }
}

/// As [`options`], for peers that stall.
pub(super) fn impatient() -> Options {
    Options { stall_timeout: Duration::from_millis(400), ..options() }
}

/// Three attempts in quick succession.
pub(super) fn options() -> Options {
    Options {
        platform: "linux/amd64".parse::<Platform>().unwrap(),
        stall_timeout: Duration::from_secs(30),
        attempts: 3,
        first_pause: Duration::from_millis(4),
        longest_pause: Duration::from_millis(200),
        certificate_directories: Vec::<PathBuf>::new(),
        ..Options::default()
    }
}

/// The image `tag` (`:tag` or `@digest`) of a server.
pub(super) async fn open(server: &Server, tag: &str, options: &Options) -> Source {
    let reference = format!("http://{}/a/b{tag}", server.address).parse().unwrap();
    Source::open(&reference, options).await.unwrap()
}

/// Reads a layer to its end; also says how many bytes the source claims to have received.
pub(super) async fn read(source: &Source, layer: &LayerDescriptor) -> (Result<Vec<u8>>, u64) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let on_bytes = move |bytes| {
        counter.fetch_add(bytes, Ordering::SeqCst);
    };
    let mut reader = source.layer(layer, Arc::new(on_bytes)).await.unwrap();
    let content = tokio::task::spawn_blocking(move || {
        let mut content = Vec::new();
        let result = reader.read_to_end(&mut content).map(|_| content);
        result.map_err(|error| error.downcast::<Error>().unwrap())
    });
    (content.await.unwrap(), count.load(Ordering::SeqCst))
}

/// An error with all its causes in one line.
pub(super) fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}
