//! A registry with one repository, `org/tool`, whose tags come two to a page.

// The same server as in the tests of registries; not all of it is needed here.
#[allow(dead_code, clippy::unwrap_used, reason = "shared")]
#[path = "../../src/source/tests/server.rs"]
mod server;

use layer_layout::Digest;
use serde_json::json;
use tokio::runtime::Runtime;

use server::{Answer, Received, Server};

/// The registry runs as long as this lives.
pub(crate) struct Registry {
    _runtime: Runtime,
    server: Server,
}

/// Tags, and when their images were made.
pub(crate) const TAGS: [(&str, &str); 6] = [
    ("1.0.0", "2024-01-01T00:00:00Z"),
    ("1.1.0", "2024-03-01T00:00:00Z"),
    ("1.2.0", "2024-02-01T00:00:00Z"),
    ("2.0.0-rc.1", "2024-04-01T00:00:00Z"),
    ("latest", "2024-02-01T00:00:00Z"),
    ("sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sig", ""),
];

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

impl Registry {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(Server::start(|request, _| answer(request)));
        Self { _runtime: runtime, server }
    }

    /// A name in the registry.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("http://{}/{rest}", self.server.address)
    }
}

fn config(created: &str) -> String {
    json!({"os": "linux", "architecture": "amd64", "created": created, "rootfs": {"diff_ids": []}})
        .to_string()
}

/// The manifest of an image, as JSON.
pub(crate) fn manifest(created: &str) -> String {
    let descriptor = |media_type: &str, content: &str| json!({"mediaType": media_type, "size": content.len(), "digest": Digest::of(content.as_bytes())});
    let (config, layer) = (descriptor(CONFIG, &config(created)), descriptor(LAYER, "layer"));
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})
        .to_string()
}

/// What the registry says of `org/rude`: it tries to clear the screen and to write over a line.
pub(crate) const RUDE: &str = "no\u{1b}[2J\u{9b}2J\u{7f}\u{202e}\r\nducc: everything is done";

fn rude() -> serde_json::Value {
    json!({"errors": [{"code": "DENIED", "message": RUDE}]})
}

fn answer(request: &Received) -> Answer {
    let missing = || Answer::new(404, "{}");
    match request.path().strip_prefix("/v2/org/") {
        Some("tool/tags/list") => {
            let last = request.target.split_once("last=").map(|(_, last)| last);
            let begin =
                last.map_or(0, |last| TAGS.iter().position(|(tag, _)| *tag == last).unwrap() + 1);
            let page: Vec<_> = TAGS.iter().skip(begin).take(2).map(|(tag, _)| *tag).collect();
            let answer = Answer::new(200, json!({"name": "org/tool", "tags": page}).to_string());
            match page.last() {
                Some(last) if begin + 2 < TAGS.len() => answer.header(
                    "Link",
                    format!("</v2/org/tool/tags/list?n=2&last={last}>; rel=\"next\""),
                ),
                _ => answer,
            }
        }
        Some(path) if path.starts_with("rude/") => Answer::new(403, rude().to_string()),
        Some("empty/tags/list") => Answer::new(200, r#"{"name":"org/empty","tags":null}"#),
        Some(path) => {
            let Some((kind, name)) = path.strip_prefix("tool/").and_then(|it| it.split_once('/'))
            else {
                return missing();
            };
            let found = TAGS.iter().find(|(tag, created)| match kind {
                "manifests" => *tag == name,
                _ => Digest::of(config(created).as_bytes()).to_string() == name,
            });
            match (kind, found) {
                ("manifests", Some((_, created))) => {
                    Answer::new(200, manifest(created)).header("Content-Type", MANIFEST)
                }
                ("blobs", Some((_, created))) => Answer::new(200, config(created)),
                _ => missing(),
            }
        }
        None => missing(),
    }
}
