//! Mirrors and other places for images: `registries.conf`, version 2, as Podman, Buildah and Skopeo read it
//! (`containers-registries.conf(5)`).
//!
//! It says where an image really comes from; its name, and so its public path, stays as it was written. Of
//! several rules, the one with the longest matching prefix counts. Rules about short names
//! (`unqualified-search-registries`, aliases) are ignored, because every name here begins with its registry. All
//! host names of Docker Hub are matched by rules for `docker.io`.
//!
//! Pulls ask the mirrors first, in their order, and then the place itself. Pushes and lists of tags go to the
//! registry, because a mirror only passes on what it has fetched.

mod error;
mod file;

use std::path::Path;
use std::sync::Arc;

pub use error::Error;

use self::file::{Rule, Use};
use super::credentials::canonical;
use super::error::ReferenceError;

/// Where it is by default; further files are in the directory of this name with `.d`.
const SYSTEM: &str = "/etc/containers/registries.conf";

/// The variable in which Podman, too, looks for another file.
const VARIABLE: &str = "CONTAINERS_REGISTRIES_CONF";

/// The rules of `registries.conf`. Cloning is cheap. The default has no rules.
#[derive(Debug, Clone, Default)]
pub struct RegistriesConf(Arc<Vec<Rule>>);

/// A repository of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `host[:port]`.
    pub(super) host: String,
    pub(super) repository: String,
    /// Whether any certificate will do, and plain HTTP, too.
    pub(super) insecure: bool,
}

/// Where to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    /// First these, in this order.
    pub(super) mirrors: Vec<Place>,
    /// Then the image's own place.
    pub(super) own: Place,
}

/// What is looked for, as it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    /// `host[:port]`.
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
    pub(super) tag: Option<&'a str>,
    /// With its algorithm.
    pub(super) digest: Option<&'a str>,
}

impl RegistriesConf {
    /// The rules of this machine: the file that `$CONTAINERS_REGISTRIES_CONF` names, alone, or else
    /// `/etc/containers/registries.conf` and `/etc/containers/registries.conf.d/*.conf`, in alphabetical order.
    /// What does not exist has no rules.
    ///
    /// # Errors
    /// If a file cannot be read, or is not what it should be.
    pub fn from_system() -> Result<Self, Error> {
        match std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => Self::from_file(path),
            None => Self::from_files(Path::new(SYSTEM)),
        }
    }

    /// The rules of one file, which has to exist.
    ///
    /// # Errors
    /// If it cannot be read, or is not what it should be.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
        let mut rules = Vec::new();
        file::add(&mut rules, path, &text)?;
        Ok(Self(Arc::new(rules)))
    }

    /// The rules of `path` and of `<path>.d/*.conf`.
    fn from_files(path: &Path) -> Result<Self, Error> {
        let mut directory = path.as_os_str().to_owned();
        directory.push(".d");
        let mut paths = vec![path.to_owned()];
        paths.extend(file::drop_ins(Path::new(&directory))?);
        let mut rules = Vec::new();
        for path in paths {
            match std::fs::read_to_string(&path) {
                Ok(text) => file::add(&mut rules, &path, &text)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(cause) => return Err(Error::Read { path, cause }),
            }
        }
        Ok(Self(Arc::new(rules)))
    }

    /// Where an image is to be looked for.
    ///
    /// # Errors
    /// If a rule forbids it, or sends it to something that is not a repository.
    pub(super) fn places(&self, name: Name<'_>) -> Result<Places, ReferenceError> {
        let written = |insecure| place(&format!("{}/{}", name.registry, name.repository), insecure);
        let Some((rule, matched)) = self.rule(name) else {
            let own = written(false).unwrap_or_else(|| Place {
                host: name.registry.to_owned(),
                repository: name.repository.to_owned(),
                insecure: false,
            });
            return Ok(Places { mirrors: Vec::new(), own });
        };
        if rule.blocked {
            return Err(ReferenceError::Blocked(rule.file.clone()));
        }
        let canonical_name = format!("{}/{}", canonical(name.registry), name.repository);
        // Beyond the name if the prefix has a tag or a digest.
        let rest = canonical_name.get(matched..).unwrap_or_default();
        let to = |location: &str, insecure| {
            let rewritten = format!("{}{rest}", without_tag(location));
            place(&rewritten, insecure).ok_or_else(|| ReferenceError::NoRepository {
                file: rule.file.clone(),
                location: rewritten,
            })
        };
        let own = match &rule.location {
            // As it was written: `docker.io` has several names.
            Some(location) if location != &rule.prefix => to(location, rule.insecure)?,
            _ => written(rule.insecure).ok_or_else(|| ReferenceError::NoRepository {
                file: rule.file.clone(),
                location: canonical_name.clone(),
            })?,
        };
        let mirrors = rule.mirrors.iter().filter(|mirror| match mirror.usage {
            Use::Always => true,
            Use::ForDigests => name.digest.is_some(),
            Use::ForTags => name.digest.is_none(),
        });
        let mirrors = mirrors.map(|mirror| to(&mirror.location, mirror.insecure));
        Ok(Places { mirrors: mirrors.collect::<Result<_, _>>()?, own })
    }

    /// The rule for a name, and the length of the part of the name (with its canonical registry) that its
    /// prefix matches.
    fn rule(&self, name: Name<'_>) -> Option<(&Rule, usize)> {
        let mut text = format!("{}/{}", canonical(name.registry), name.repository);
        for (sign, part) in [(':', name.tag), ('@', name.digest)] {
            if let Some(part) = part {
                text.push(sign);
                text.push_str(part);
            }
        }
        let fitting = self.0.iter().filter_map(|rule| Some((rule, matches(&text, &rule.prefix)?)));
        // Of two wildcards for the same host, the one that says more of it.
        fitting.max_by_key(|(rule, matched)| (*matched, rule.prefix.len()))
    }
}

/// How much of a name a prefix matches: whole components of it.
fn matches(name: &str, prefix: &str) -> Option<usize> {
    let (host, path) = prefix.find('/').map_or((prefix, ""), |at| prefix.split_at(at));
    let own_host = name.split('/').next().unwrap_or_default();
    let fits = match host.strip_prefix('*') {
        // Only subdomains.
        Some(domain) => own_host.len() > domain.len() && own_host.ends_with(domain),
        None => own_host == canonical(host),
    };
    if !fits || !name[own_host.len()..].starts_with(path) {
        return None;
    }
    let matched = own_host.len() + path.len();
    matches!(name[matched..].chars().next(), None | Some('/' | ':' | '@')).then_some(matched)
}

fn place(name: &str, insecure: bool) -> Option<Place> {
    let (host, repository) = name.split_once('/')?;
    if host.is_empty() || repository.is_empty() {
        return None;
    }
    Some(Place { host: host.to_owned(), repository: repository.to_owned(), insecure })
}

/// A location without the tag or digest that it may have if its prefix has one.
fn without_tag(location: &str) -> &str {
    let location = location.split_once('@').map_or(location, |(name, _)| name);
    match location.rsplit_once(':') {
        Some((name, tag)) if name.contains('/') && !tag.contains('/') => name,
        _ => location,
    }
}

#[cfg(test)]
mod tests;
