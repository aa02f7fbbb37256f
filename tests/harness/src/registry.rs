//! A real registry (CNCF distribution) on loopback, empty at first, with an access log for tests to query.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::{Builder, TempDir};

use crate::access_log::{self, Request};
use crate::process::{Daemon, run};
use crate::registry_auth::{Certificate, TokenServer};
use crate::tools;

/// Who may use a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a password.
    Anonymous,
    /// One user by HTTP Basic authentication.
    Basic,
    /// One user by Bearer tokens from a token server.
    Token,
}

/// The user name, if a registry wants one.
pub const USER: &str = "publisher";
/// The password; it contains characters that naive quoting breaks.
pub const PASSWORD: &str = "s3cret:with/odd $chars";

/// A running registry; its content is deleted with it.
#[derive(Debug)]
pub struct Registry {
    daemon: Daemon,
    tokens: Option<TokenServer>,
    certificate: Option<Certificate>,
    port: u16,
    dir: TempDir,
}

impl Registry {
    /// Plain HTTP for everybody.
    pub fn start() -> Result<Self> {
        Self::start_with(Access::Anonymous, false)
    }

    /// The same, with its content in memory: a registry on disk waits for the disk with every upload.
    pub fn start_in_memory() -> Result<Self> {
        Self::start_at(
            Builder::new().prefix("e2e-registry-").tempdir_in("/dev/shm")?,
            Access::Anonymous,
            false,
        )
    }

    /// With authentication and, if `tls`, over HTTPS with a certificate for `localhost` from a private authority.
    pub fn start_with(access: Access, tls: bool) -> Result<Self> {
        Self::start_at(Builder::new().prefix("e2e-registry-").tempdir()?, access, tls)
    }

    fn start_at(dir: TempDir, access: Access, tls: bool) -> Result<Self> {
        let certificate = tls.then(|| Certificate::for_localhost(dir.path())).transpose()?;
        let tokens = (access == Access::Token)
            .then(|| TokenServer::start(dir.path(), USER, PASSWORD))
            .transpose()?;
        let auth = match (access, &tokens) {
            (Access::Basic, _) => basic(dir.path())?,
            (Access::Token, Some(server)) => {
                format!("auth:\n  token:\n{}", server.registry_config("    "))
            }
            _ => String::new(),
        };
        let http_tls = certificate.as_ref().map_or_else(String::new, |certificate| {
            format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                certificate.cert.display(),
                certificate.key.display()
            )
        });
        let port = free_port()?;
        let config = format!(
            "version: 0.1\n\
             log:\n  level: warn\n  accesslog:\n    disabled: false\n\
             storage:\n  filesystem:\n    rootdirectory: {root}\n  maintenance:\n    uploadpurging:\n      enabled: false\n\
             http:\n  addr: 127.0.0.1:{port}\n  secret: e2e\n{http_tls}{auth}",
            root = dir.path().join("data").display(),
        );
        let file = dir.path().join("config.yml");
        fs::write(&file, config)?;
        let mut command = Command::new(tools::host("docker-registry")?);
        command.arg("serve").arg(&file);
        let mut daemon =
            Daemon::spawn("docker-registry", &command, &dir.path().join("registry.log"))?;
        daemon.wait_until("listening", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(Self { daemon, tokens, certificate, port, dir })
    }

    /// `localhost:PORT`, the registry part of references.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `http://localhost:PORT` or `https://…`.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.host())
    }

    /// The reference of `name` (`repository:tag` or `repository@sha256:…`) as container runtimes write it.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// The reference of `name` as the converter takes it, with the scheme in front.
    pub fn source(&self, name: &str) -> String {
        format!("{}/{name}", self.url())
    }

    /// The certificate of the authority that signed the registry's certificate, PEM, if it uses TLS.
    pub fn authority(&self) -> Option<&Path> {
        self.certificate.as_ref().map(|certificate| certificate.authority.as_path())
    }

    /// The token server, if there is one.
    pub fn tokens(&self) -> Option<&TokenServer> {
        self.tokens.as_ref()
    }

    /// The file in which the registry keeps a blob (`sha256:…`), for tests that damage one.
    pub fn blob_file(&self, digest: &str) -> Result<PathBuf> {
        let hex = digest
            .strip_prefix("sha256:")
            .with_context(|| format!("{digest} is not a sha256 digest"))?;
        let shard = hex.get(..2).with_context(|| format!("{digest} is too short"))?;
        Ok(self
            .dir
            .path()
            .join("data/docker/registry/v2/blobs/sha256")
            .join(shard)
            .join(hex)
            .join("data"))
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Result<Vec<Request>> {
        access_log::parse(&self.daemon.log()?)
    }

    /// Runs `action`; returns its result and the registry's traffic during it.
    pub fn watch<T>(&self, action: impl FnOnce() -> Result<T>) -> Result<(T, Traffic)> {
        let before = self.requests()?.len();
        let value = action()?;
        let requests = self.requests()?.split_off(before);
        Ok((value, Traffic { requests }))
    }
}

/// The requests to a registry during some action.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// The requests, oldest first.
    pub requests: Vec<Request>,
}

impl Traffic {
    /// Total size of all response bodies in bytes.
    pub fn bytes(&self) -> u64 {
        self.requests.iter().map(|request| request.bytes).sum()
    }

    /// Digests (`sha256:…`) of the blobs whose content was read, in the order they were read.
    pub fn blobs(&self) -> Vec<&str> {
        self.requests.iter().filter_map(Request::fetched_blob).map(|(_, digest)| digest).collect()
    }
}

fn basic(dir: &Path) -> Result<String> {
    let file = dir.join("htpasswd");
    run(Command::new(tools::host("htpasswd")?).args(["-Bbc"]).arg(&file).args([USER, PASSWORD]))?;
    Ok(format!("auth:\n  htpasswd:\n    realm: e2e\n    path: {}\n", file.display()))
}

/// A TCP port on loopback that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?.local_addr()?.port())
}
