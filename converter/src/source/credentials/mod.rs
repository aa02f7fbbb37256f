//! Which login to use for which registry.
//!
//! The first of these that knows the registry decides:
//! 1. a login given to [`Credentials::with_login`] (`--username` and `DUCC_OUTPUT_REGISTRY_PASS`, for pushes);
//! 2. DUCC's variables, see `environment.rs`;
//! 3. Podman's auth files, then Docker's, see `auth_file.rs`.
//!
//! A registry is recognized by its **exact** host name and port. (DUCC searched for its `IDENT` anywhere in
//! the URL, and so could hand a password to a host with a look-alike name.) All host names of Docker Hub
//! stand for one registry. Files are read only when a registry asks for a login, so an anonymous pull works
//! even if they are unreadable.

mod auth_file;
mod credential;
mod environment;
mod error;
mod helper;
mod registry_name;

use std::path::{Path, PathBuf};

pub use credential::{Credential, Found, Secret};
pub use environment::{Mirror, push_password};
pub use error::{Error, NameError, VariableError};

use self::error::Result;
use self::registry_name::same_registry;

/// All places where credentials may be found.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Registry and login, the strongest first.
    logins: Vec<(String, Found)>,
    environment: environment::Registries,
    /// Auth files, the strongest first. Missing ones are ignored.
    files: Vec<PathBuf>,
}

impl Credentials {
    /// DUCC's variables, and the auth files in the places where Podman and Docker look for them.
    ///
    /// # Errors
    /// If the description of a registry in `DUCC_AUTH_REGISTRIES` is incomplete.
    pub fn from_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name);
        let environment = environment::Registries::read(variable)?;
        Ok(Self { logins: Vec::new(), environment, files: auth_file::standard_paths(variable) })
    }

    /// Adds an auth file, to be read after all others.
    #[must_use]
    pub fn with_file(mut self, path: impl AsRef<Path>) -> Self {
        self.files.push(path.as_ref().to_owned());
        self
    }

    /// Adds a login for one registry (`host[:port]`), stronger than anything else.
    #[must_use]
    pub fn with_login(mut self, registry: &str, username: &str, password: &str) -> Self {
        let password = Secret::from(password.to_owned());
        let credential = Credential::Password { username: username.to_owned(), password };
        let origin = format!("the given user name {username:?}");
        self.logins.insert(0, (registry.to_owned(), Found { credential, origin }));
        self
    }

    /// The same with the login of one label of `DUCC_AUTH_REGISTRIES` before all others: how a wish list says
    /// `credentials: NAME` for an image in `registry` (`host[:port]`), of which several accounts are known. As
    /// any login, it is sent to its own registry only.
    ///
    /// # Errors
    /// If there is no such label, it stands for a pull-through registry, or for another registry than the
    /// image's, where the login would never be used.
    pub fn named(&self, name: &str, registry: &str) -> Result<Self> {
        let found = self.environment.named(name, registry).map_err(|reason| Error::Name {
            name: name.to_owned(),
            registry: registry.to_owned(),
            reason,
        })?;
        let mut chosen = self.clone();
        chosen.logins.insert(0, (registry.to_owned(), found.clone()));
        Ok(chosen)
    }

    /// The pull-through registry that stands in for a registry, `DUCC_<N>_PROXY`.
    pub(super) fn mirror(&self, registry: &str) -> Option<&Mirror> {
        self.environment.mirror(registry)
    }

    /// The credentials for a repository of a registry (`host[:port]`).
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

    /// Where [`Self::find`] searches, for the message that nothing was found.
    pub(super) fn places(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|path| path.display().to_string()).collect();
        match files.len() {
            0 => "DUCC_AUTH_REGISTRIES".to_owned(),
            _ => format!("DUCC_AUTH_REGISTRIES, {}", files.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests;
