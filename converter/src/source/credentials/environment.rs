//! DUCC's variables: `DUCC_AUTH_REGISTRIES` is a comma-separated list of labels, and for each label `N`
//! there are `DUCC_<N>_IDENT` (the registry, `host[:port]`), `DUCC_<N>_USER` and `DUCC_<N>_PASS`, or
//! `DUCC_<N>_PROXY` (`host[:port][/path]` of a pull-through registry, which is used without credentials).
//!
//! Unlike in DUCC, `IDENT` is a whole host name, not a part of the URL. A scheme before it and slashes after
//! it are ignored.

use std::ffi::OsString;

use super::credential::{Credential, Found, Secret};
use super::error::{Error, NameError, Result, VariableError};
use super::registry_name::same_registry;

/// A registry that serves the repositories of another one, below a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// Host name and port.
    pub host: String,
    /// What precedes the repository's name, without slashes at either end; may be empty.
    pub path: String,
}

/// The registries that the variables describe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Registries(Vec<Registry>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Registry {
    label: String,
    host: String,
    usage: Use,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Use {
    Login(Found),
    Mirror(Mirror),
}

impl Registries {
    /// Reads the variables through `variable`.
    pub(super) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let read = |name: &str| match variable(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Err(_)) => Err(error(name, VariableError::NotUtf8)),
        };
        let labels = read("DUCC_AUTH_REGISTRIES")?.unwrap_or_default();
        let mut registries = Vec::new();
        for label in labels.split(',').map(str::trim).filter(|label| !label.is_empty()) {
            let name = |what: &str| format!("DUCC_{label}_{what}");
            let need = |what: &str| {
                read(&name(what))?.ok_or_else(|| error(&name(what), VariableError::MissingForLabel))
            };
            let registry = host(&need("IDENT")?).to_owned();
            let usage = match read(&name("PROXY"))? {
                Some(proxy) => {
                    let (host, path) = host(&proxy).split_once('/').unwrap_or((host(&proxy), ""));
                    let path = path.trim_matches('/').to_owned();
                    Use::Mirror(Mirror { host: host.to_owned(), path })
                }
                None => Use::Login(Found {
                    credential: Credential::Password {
                        username: need("USER")?,
                        password: Secret::from(need("PASS")?),
                    },
                    origin: name("USER"),
                }),
            };
            registries.push(Registry { label: label.to_owned(), host: registry, usage });
        }
        Ok(Self(registries))
    }

    fn of(&self, registry: &str) -> Option<&Use> {
        let mut registries = self.0.iter();
        registries.find(|known| same_registry(&known.host, registry)).map(|known| &known.usage)
    }

    /// The login of a label, for `registry`.
    pub(super) fn named(
        &self,
        label: &str,
        registry: &str,
    ) -> std::result::Result<&Found, NameError> {
        let known = self.0.iter().find(|known| known.label == label);
        let known = known.ok_or_else(|| NameError::Unknown {
            known: self.0.iter().map(|known| known.label.clone()).collect(),
        })?;
        match &known.usage {
            Use::Mirror(_) => Err(NameError::NoLogin),
            Use::Login(_) if !same_registry(&known.host, registry) => {
                Err(NameError::OtherRegistry { own: known.host.clone() })
            }
            Use::Login(found) => Ok(found),
        }
    }

    pub(super) fn login(&self, registry: &str) -> Option<&Found> {
        match self.of(registry)? {
            Use::Login(found) => Some(found),
            Use::Mirror(_) => None,
        }
    }

    pub(super) fn mirror(&self, registry: &str) -> Option<&Mirror> {
        match self.of(registry)? {
            Use::Login(_) => None,
            Use::Mirror(mirror) => Some(mirror),
        }
    }
}

/// The password that goes with a user name for pushes: `DUCC_OUTPUT_REGISTRY_PASS`, or one of the names that
/// the variable had in older versions of DUCC.
///
/// # Errors
/// If it is missing, or not UTF-8.
pub fn push_password() -> Result<String> {
    read_push_password(|name| std::env::var_os(name))
}

pub(super) fn read_push_password(variable: impl Fn(&str) -> Option<OsString>) -> Result<String> {
    const NAMES: [&str; 3] = [
        "DUCC_OUTPUT_REGISTRY_PASS",
        "DUCC_DOCKER_REGISTRY_PASS",
        "DOCKER2CVMFS_DOCKER_REGISTRY_PASS",
    ];
    let password = NAMES.into_iter().find_map(|name| Some((name, variable(name)?)));
    let (name, password) =
        password.ok_or_else(|| error(NAMES[0], VariableError::MissingPassword))?;
    password.into_string().map_err(|_| error(name, VariableError::NotUtf8))
}

/// A host without a scheme before it and slashes after it.
fn host(text: &str) -> &str {
    text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/')
}

fn error(variable: &str, reason: VariableError) -> Error {
    Error::Environment { variable: variable.to_owned(), reason }
}
