//! Which login to use for which registry.
//!
//! The first of these that knows the registry decides:
//! 1. a login given to [`Credentials::with_login`] (`--username` and `DUCC_OUTPUT_REGISTRY_PASS`, for pushes), or
//!    chosen by [`Credentials::named`];
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

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use credential::{Credential, Found, Secret};
pub use environment::{Mirror, push_password};
pub use error::{Error, NameError, VariableError};
pub(super) use registry_name::canonical;

use self::error::Result;
use self::registry_name::same_registry;

/// All places where credentials may be found. Cloning is cheap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials(Arc<Places>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Places {
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
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// As [`Self::from_environment`], with the environment that `variable` gives.
    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let variable = &variable;
        let environment = environment::Registries::read(variable)?;
        let files = auth_file::standard_paths(variable);
        Ok(Self(Arc::new(Places { logins: Vec::new(), environment, files })))
    }

    /// Adds an auth file, to be read after all others.
    #[must_use]
    pub fn with_file(mut self, path: impl AsRef<Path>) -> Self {
        Arc::make_mut(&mut self.0).files.push(path.as_ref().to_owned());
        self
    }

    /// Adds a login for one registry (`host[:port]`), stronger than anything else.
    #[must_use]
    pub fn with_login(mut self, registry: &str, username: &str, password: &str) -> Self {
        let password = Secret::from(password.to_owned());
        let credential = Credential::Password { username: username.to_owned(), password };
        let origin = format!("the given user name {username:?}");
        self.prefer(registry, Found { credential, origin });
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
        let found = self.0.environment.named(name, registry).map_err(|reason| Error::Name {
            name: name.to_owned(),
            registry: registry.to_owned(),
            reason,
        })?;
        let mut chosen = self.clone();
        chosen.prefer(registry, found.clone());
        Ok(chosen)
    }

    fn prefer(&mut self, registry: &str, login: Found) {
        Arc::make_mut(&mut self.0).logins.insert(0, (registry.to_owned(), login));
    }

    /// The pull-through registry that stands in for a registry, `DUCC_<N>_PROXY`.
    pub(super) fn mirror(&self, registry: &str) -> Option<&Mirror> {
        self.0.environment.mirror(registry)
    }

    /// The credentials for a repository of a registry (`host[:port]`).
    pub(super) async fn find(&self, registry: &str, repository: &str) -> Result<Option<Found>> {
        let given = self.0.logins.iter().find(|(host, _)| same_registry(host, registry));
        if let Some(found) = given.map(|(_, found)| found).or(self.0.environment.login(registry)) {
            return Ok(Some(found.clone()));
        }
        for path in &self.0.files {
            if let Some(found) = auth_file::find(path, registry, repository).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether there is a login for a repository of a registry (`host[:port]`).
    ///
    /// # Errors
    /// If an auth file or a credential helper cannot be used.
    pub async fn has_login(&self, registry: &str, repository: &str) -> Result<bool> {
        Ok(self.find(registry, repository).await?.is_some())
    }

    /// Where [`Self::find`] searches, for the message that nothing was found.
    pub(super) fn places(&self) -> String {
        let files: Vec<String> =
            self.0.files.iter().map(|path| path.display().to_string()).collect();
        match files.len() {
            0 => "DUCC_AUTH_REGISTRIES".to_owned(),
            _ => format!("DUCC_AUTH_REGISTRIES, {}", files.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests;
