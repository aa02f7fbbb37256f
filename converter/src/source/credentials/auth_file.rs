//! The files in which Docker and Podman keep logins: `config.json` (Docker) and `auth.json`
//! (`containers-auth.json(5)`), which share one format.
//!
//! `credHelpers` names a helper program for a registry, `credsStore` one for all registries, and `auths`
//! contains logins themselves: `base64(user:password)` or an identity token. A key of `auths` is a registry.
//! Docker may add a scheme and `/v1/`; Podman may add a namespace (`host/namespace/repository`), and of
//! several that fit the longest wins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::credential::{Credential, Found, Secret};
use super::error::{Error, Result};
use super::helper;
use super::registry_name::{canonical, same_registry};

/// The key of Docker Hub in Docker's own files and helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user name with which helpers mark a secret as an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AuthFile {
    auths: Option<BTreeMap<String, Login>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<login>")
    }
}

/// The files by this system's conventions, the strongest first.
///
/// Podman's are `$REGISTRY_AUTH_FILE` alone if it is set, otherwise `$XDG_RUNTIME_DIR/containers/auth.json`
/// and `$XDG_CONFIG_HOME/containers/auth.json` (`~/.config`); Docker's is `$DOCKER_CONFIG/config.json`,
/// otherwise `~/.docker/config.json`.
pub(super) fn standard_paths(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let directory =
        |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = directory("HOME");
    let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let mut paths = Vec::new();
    match directory("REGISTRY_AUTH_FILE") {
        Some(file) => paths.push(file),
        None => {
            let runtime = directory("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
            let config = directory("XDG_CONFIG_HOME").or_else(|| in_home(".config"));
            paths.extend(runtime);
            paths.extend(config.map(|dir| dir.join("containers/auth.json")));
        }
    }
    let docker = directory("DOCKER_CONFIG").or_else(|| in_home(".docker"));
    paths.extend(docker.map(|dir| dir.join("config.json")));
    paths
}

/// The login for a repository from one file, or from a helper that the file names.
pub(super) async fn find(path: &Path, registry: &str, repository: &str) -> Result<Option<Found>> {
    let text = match tokio::fs::read(path).await {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(cause) => return Err(Error::File { path: path.to_owned(), cause }),
    };
    let file = AuthFile::parse(path, &text)?;
    let key = if canonical(registry) == "docker.io" { DOCKER_HUB_KEY } else { registry };
    if let Some((name, required)) = file.helper(registry) {
        let program = format!("docker-credential-{name}");
        match helper::get(&program, path, key).await {
            Ok(Some(answer)) => {
                let origin = format!("{program} ({})", path.display());
                return Ok(Some(Found {
                    credential: login(answer.username, answer.secret),
                    origin,
                }));
            }
            Ok(None) => {}
            // A `credsStore` is often left over from another machine, and then it has nothing for us.
            Err(helper::HelperFailure::NotInstalled(error)) if !required => {
                tracing::warn!(%error, "continuing without the credential store");
            }
            Err(
                helper::HelperFailure::NotInstalled(error) | helper::HelperFailure::Failed(error),
            ) => {
                return Err(error);
            }
        }
    }
    let origin = path.display().to_string();
    let credential = file.login(path, registry, repository)?;
    Ok(credential.map(|credential| Found { credential, origin }))
}

impl AuthFile {
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(text).map_err(|error| {
            // Only the place: serde's message could quote a secret.
            let reason = format!("line {}, column {}", error.line(), error.column());
            Error::Syntax { path: path.to_owned(), reason }
        })
    }

    /// The helper for a registry, and whether it is named for this registry in particular.
    fn helper(&self, registry: &str) -> Option<(&str, bool)> {
        let own = self.cred_helpers.iter().flatten();
        let own =
            own.filter(|(key, _)| same_registry(split_key(key).0, registry)).map(|(_, name)| name);
        own.map(|name| (name.as_str(), true))
            .chain(self.creds_store.as_deref().map(|name| (name, false)))
            .find(|(name, _)| !name.is_empty())
    }

    /// The login in the file itself.
    pub(super) fn login(
        &self,
        path: &Path,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>> {
        let fits = |key: &str| {
            let (host, namespace) = split_key(key);
            let rest = repository.strip_prefix(namespace);
            let below = rest.is_some_and(|rest| {
                namespace.is_empty() || rest.is_empty() || rest.starts_with('/')
            });
            (below && same_registry(host, registry)).then_some(namespace.len())
        };
        let mut fitting: Vec<_> = self
            .auths
            .iter()
            .flatten()
            .filter_map(|(key, entry)| Some((fits(key)?, key, entry)))
            .collect();
        fitting.sort_by_key(|(length, ..)| std::cmp::Reverse(*length));
        for (_, key, entry) in fitting {
            let broken = |reason: &str| Error::Syntax {
                path: path.to_owned(),
                reason: format!("the entry for {key:?} {reason}"),
            };
            if let Some(credential) = entry.credential().map_err(broken)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}

impl Login {
    /// `None` for an empty entry, which Docker leaves behind when a helper holds the login.
    fn credential(&self) -> std::result::Result<Option<Credential>, &'static str> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(Secret::from(token))));
        }
        if let Some(auth) = filled(&self.auth) {
            let decoded = STANDARD.decode(auth.trim()).map_err(|_| "is not base64")?;
            let decoded = String::from_utf8(decoded).map_err(|_| "is not UTF-8")?;
            // Docker pads what it writes with NUL.
            let (username, password) = decoded
                .trim_end_matches('\0')
                .split_once(':')
                .ok_or("is not the base64 form of user:password")?;
            return Ok(Some(login(username.to_owned(), password.to_owned())));
        }
        match (filled(&self.username), filled(&self.password)) {
            (Some(username), Some(password)) => Ok(Some(login(username, password))),
            _ => Ok(None),
        }
    }
}

fn login(username: String, secret: String) -> Credential {
    match username.as_str() {
        TOKEN_USER => Credential::IdentityToken(Secret::from(secret)),
        _ => Credential::Password { username, password: Secret::from(secret) },
    }
}

/// Host and namespace of a key. A path after a scheme, and the API versions that Docker used to write, are
/// not a namespace.
fn split_key(key: &str) -> (&str, &str) {
    let (url, rest) = match key.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, key),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/');
    (host, if url || matches!(path, "v1" | "v2") { "" } else { path })
}
