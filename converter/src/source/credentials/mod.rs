//! Who to be towards which registry.
//!
//! In this order, the first that knows the registry decides:
//! 1. a login given to [`Credentials::with_login`] (`--username` and `DUCC_OUTPUT_REGISTRY_PASS`, for pushes);
//! 2. DUCC's variables, see `environment.rs`;
//! 3. Podman's auth files, then Docker's, see `auth_file.rs`.
//!
//! A registry is recognised by its **exact** host name and port. (DUCC searched for its `IDENT` anywhere in
//! the URL, and so could hand a password to a host with a look-alike name.) The host names of Docker Hub
//! are one registry. Files are read when a registry asks for a login, not before: an anonymous pull does not
//! care whether they are readable.

mod auth_file;
mod environment;
mod helper;

use std::fmt;
use std::path::{Path, PathBuf};

pub use environment::Mirror;
pub use environment::push_password;

/// Why credentials could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable of DUCC's scheme is missing or unreadable.
    #[error("environment variable {variable} {reason}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An auth file could not be read.
    #[error("cannot read the registry credentials in {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// An auth file is not what Docker and Podman write. The content is not shown, it holds secrets.
    #[error("{} is not a valid auth file: {reason}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A credential helper failed.
    #[error("credential helper {program}, named in {}, failed for {registry}: {reason}", path.display())]
    Helper {
        /// The program, `docker-credential-…`.
        program: String,
        /// The auth file that names it.
        path: PathBuf,
        /// The registry it was asked for.
        registry: String,
        /// What it said.
        reason: String,
    },
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, to be sent to whom it is for.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// How to prove who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password or access token, for Basic authentication.
    Password {
        /// The account.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// An OAuth 2 refresh token, which token servers exchange for an access token.
    IdentityToken(Secret),
}

/// A credential, and where it was found, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub(super) credential: Credential,
    pub(super) origin: String,
}

/// All places where credentials may be.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Registry and login, strongest first.
    logins: Vec<(String, Found)>,
    environment: environment::Registries,
    /// Auth files, strongest first. Missing ones are passed over.
    files: Vec<PathBuf>,
}

impl Credentials {
    /// DUCC's variables, and the auth files where Podman and Docker look for them.
    ///
    /// # Errors
    /// If a registry of `DUCC_AUTH_REGISTRIES` is not described in full.
    pub fn from_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name);
        let environment = environment::Registries::read(variable)?;
        Ok(Self { logins: Vec::new(), environment, files: auth_file::standard_paths(variable) })
    }

    /// Adds an auth file that is looked at after all others.
    #[must_use]
    pub fn with_file(mut self, path: impl AsRef<Path>) -> Self {
        self.files.push(path.as_ref().to_owned());
        self
    }

    /// Adds a login for one registry (`host[:port]`), stronger than anything else.
    #[must_use]
    pub fn with_login(mut self, registry: &str, username: &str, password: &str) -> Self {
        let password = Secret(password.to_owned());
        let credential = Credential::Password { username: username.to_owned(), password };
        let origin = format!("the given user name {username:?}");
        self.logins.insert(0, (registry.to_owned(), Found { credential, origin }));
        self
    }

    /// The pull-through registry that stands in for a registry, `DUCC_<N>_PROXY`.
    pub(super) fn mirror(&self, registry: &str) -> Option<&Mirror> {
        self.environment.mirror(registry)
    }

    /// What is known for a repository of a registry (`host[:port]`).
    pub(super) async fn find(&self, registry: &str, repository: &str) -> Result<Option<Found>> {
        let given = self.logins.iter().find(|(host, _)| same_registry(host, registry));
        if let Some(found) = given.map(|(_, found)| found).or(self.environment.login(registry)) {
            return Ok(Some(found.clone()));
        }
        for path in &self.files {
            if let Some(found) = auth_file::find(path, registry, repository).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Where [`Self::find`] looks, for the message that nothing was found.
    pub(super) fn places(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|path| path.display().to_string()).collect();
        match files.len() {
            0 => "DUCC_AUTH_REGISTRIES".to_owned(),
            _ => format!("DUCC_AUTH_REGISTRIES, {}", files.join(", ")),
        }
    }
}

/// Whether two spellings of `host[:port]` mean the same registry.
fn same_registry(a: &str, b: &str) -> bool {
    canonical(a) == canonical(b)
}

/// One spelling for each registry: host names know no case, and Docker Hub has several names, under the
/// oldest of which `docker login` files its credentials.
fn canonical(registry: &str) -> String {
    let registry = registry.to_ascii_lowercase();
    let registry = registry.strip_suffix(":443").unwrap_or(&registry);
    match registry {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
