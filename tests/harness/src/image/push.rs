//! Upload to a registry (OCI distribution-spec: monolithic POST and PUT).

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::blocking::{Body, Client, RequestBuilder};

use super::Artifact;
use super::blob::Blob;
use crate::registry::{PASSWORD, Registry, USER};

/// Uploads `artifact` as `name` (`repository:tag`), except for blobs that the registry already has.
pub fn push(registry: &Registry, name: &str, artifact: &dyn Artifact) -> Result<()> {
    let (repository, tag) = name.split_once(':').with_context(|| format!("{name} has no tag"))?;
    let token = match registry.tokens() {
        Some(server) => Some(server.grant(&format!("repository:{repository}:pull,push"))?),
        None => None,
    };
    let upload = Upload {
        client: client(registry)?,
        base: format!("{}/v2/{repository}", registry.url()),
        token,
    };
    for blob in artifact.blobs() {
        upload.blob(blob)?;
    }
    for manifest in artifact.manifests() {
        upload.manifest(manifest, &manifest.digest)?;
    }
    upload.manifest(artifact.top(), tag)
}

/// A client that trusts the registry. Those without TLS share one, because making one takes longer than an upload.
fn client(registry: &Registry) -> Result<Client> {
    static PLAIN: OnceLock<Client> = OnceLock::new();
    if let (None, Some(client)) = (registry.authority(), PLAIN.get()) {
        return Ok(client.clone());
    }
    // Fails only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().timeout(Duration::from_secs(120));
    match registry.authority() {
        Some(authority) => {
            let certificate = reqwest::Certificate::from_pem(&fs::read(authority)?)?;
            Ok(client.add_root_certificate(certificate).build()?)
        }
        None => {
            let client = client.build()?;
            Ok(PLAIN.get_or_init(|| client).clone())
        }
    }
}

struct Upload {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Upload {
    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            // A registry without users ignores it.
            None => request.basic_auth(USER, Some(PASSWORD)),
        }
    }

    fn blob(&self, blob: &Blob) -> Result<()> {
        let url = format!("{}/blobs/{}", self.base, blob.digest);
        if self.authorized(self.client.head(&url)).send()?.status().is_success() {
            return Ok(());
        }
        let url = format!("{}/blobs/uploads/", self.base);
        let answer = self
            .authorized(self.client.post(&url).header("content-length", "0"))
            .send()?
            .error_for_status()?;
        let location =
            answer.headers().get("location").context("an upload without Location")?.to_str()?;
        let mut location = answer.url().join(location)?;
        location.query_pairs_mut().append_pair("digest", &blob.digest);
        let body = Body::sized(blob.open()?, blob.size);
        let request = self.client.put(location).body(body);
        let request = request.header("content-type", "application/octet-stream");
        let answer = self.authorized(request).send()?;
        let status = answer.status();
        ensure!(status.is_success(), "uploading {}: {status}\n{}", blob.digest, answer.text()?);
        Ok(())
    }

    fn manifest(&self, manifest: &Blob, reference: &str) -> Result<()> {
        let url = format!("{}/manifests/{reference}", self.base);
        let request = self
            .client
            .put(&url)
            .header("content-type", &manifest.media_type)
            .body(manifest.bytes()?);
        let answer = self.authorized(request).send()?;
        let status = answer.status();
        ensure!(
            status.is_success(),
            "uploading manifest {reference}: {status}\n{}",
            answer.text()?
        );
        Ok(())
    }
}
