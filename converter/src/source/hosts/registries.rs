//! All hosts of a run.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::auth::Authenticator;
use super::certificates::Certificates;
use super::challenge::Scope;
use super::host::Host;
use super::http::Http;
use super::lock;
use super::recent::Recent;
use super::settings::HostSettings;
use crate::source::credentials::Credentials;
use crate::source::error::Result;

/// The most hosts that are remembered.
const HOSTS: usize = 256;

/// The most repositories whose logins and tokens are remembered. A token has a few kilobytes and lives for
/// minutes, so a long list would not find its older ones valid anyway.
const REPOSITORIES: usize = 1024;

/// What the images of a run share: HTTP clients, connections, tokens, limits.
///
/// Cloning is cheap and shares. All [`crate::source::Options`] of a run should hold the same one; what is not to
/// be shared (another platform, another login, other time limits) is told apart by itself.
#[derive(Clone, Default)]
pub struct Registries(Arc<Shared>);

struct Shared {
    hosts: Mutex<Hosts>,
    repositories: Mutex<Recent<RepositoryKey, Arc<Authenticator>>>,
    /// Download slots by their number.
    downloads: Mutex<HashMap<usize, Arc<Semaphore>>>,
}

struct Hosts {
    known: Recent<(String, HostSettings), Arc<Host>>,
    /// The clients for hosts without certificates of their own, by what else makes a difference: reading the
    /// system's trust store takes time, and keeping it takes memory.
    common: HashMap<(Duration, bool), Http>,
    next_number: u64,
}

#[derive(PartialEq, Eq, Hash)]
struct RepositoryKey {
    host: u64,
    scope: Scope,
    credentials: Credentials,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            hosts: Mutex::new(Hosts {
                known: Recent::new(HOSTS),
                common: HashMap::new(),
                next_number: 0,
            }),
            repositories: Mutex::new(Recent::new(REPOSITORIES)),
            downloads: Mutex::default(),
        }
    }
}

impl Registries {
    /// The host `name[:port]`.
    ///
    /// # Errors
    /// If its certificates cannot be read.
    pub(in crate::source) fn host(&self, name: &str, settings: &HostSettings) -> Result<Arc<Host>> {
        let key = (name.to_ascii_lowercase(), settings.clone());
        let mut hosts = lock(&self.0.hosts);
        if let Some(host) = hosts.known.get(&key) {
            return Ok(host);
        }
        let certificates = Certificates::read(name, &settings.certificate_directories)?;
        let differs = (settings.connect_timeout, settings.insecure);
        let http = match hosts.common.get(&differs).filter(|_| certificates.are_none()) {
            Some(common) => common.clone(),
            None => Http::new(name, settings, &certificates)?,
        };
        if certificates.are_none() {
            hosts.common.insert(differs, http.clone());
        }
        let host = Arc::new(Host::new(name, settings, http, hosts.next_number));
        hosts.next_number += 1;
        hosts.known.insert(key, Arc::clone(&host));
        Ok(host)
    }

    /// Authentication for a repository of a host, with the tokens that are already there.
    pub(in crate::source) fn authenticator(
        &self,
        host: &Arc<Host>,
        scope: Scope,
        credentials: &Credentials,
    ) -> Arc<Authenticator> {
        let credentials = credentials.clone();
        let key = RepositoryKey { host: host.number, scope, credentials };
        let mut repositories = lock(&self.0.repositories);
        if let Some(known) = repositories.get(&key) {
            return known;
        }
        let (scope, credentials) = (key.scope.clone(), key.credentials.clone());
        let new = Arc::new(Authenticator::new(Arc::clone(host), scope, credentials));
        repositories.insert(key, Arc::clone(&new));
        new
    }

    /// The slots for layer downloads, `at_a_time` for all images together; 0 means no limit.
    pub(in crate::source) fn download_slots(&self, at_a_time: usize) -> Arc<Semaphore> {
        let slots = match at_a_time {
            0 => Semaphore::MAX_PERMITS,
            number => number.min(Semaphore::MAX_PERMITS),
        };
        let mut downloads = lock(&self.0.downloads);
        let semaphore = downloads.entry(slots).or_insert_with(|| Arc::new(Semaphore::new(slots)));
        Arc::clone(semaphore)
    }
}

impl fmt::Debug for Registries {
    /// In a few words: there may be thousands of logins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries")
            .field("hosts", &lock(&self.0.hosts).known.len())
            .field("repositories", &lock(&self.0.repositories).len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> HostSettings {
        let second = Duration::from_secs(1);
        HostSettings {
            connect_timeout: second,
            stall_timeout: second,
            max_requests: 8,
            first_pause: second,
            longest_pause: second,
            certificate_directories: Vec::new(),
            insecure: false,
        }
    }

    #[test]
    fn what_is_shared_and_what_is_not() {
        let registries = Registries::default();
        let settings = settings();
        let host = |name: &str, settings: &HostSettings| registries.host(name, settings).unwrap();
        let a = host("a.example", &settings);
        assert!(Arc::ptr_eq(&a, &host("A.example", &settings)));
        assert!(!Arc::ptr_eq(&a, &host("a.example:5000", &settings)));
        let insecure = HostSettings { insecure: true, ..settings.clone() };
        assert!(!Arc::ptr_eq(&a, &host("a.example", &insecure)));

        let none = Credentials::default();
        let login = none.clone().with_login("a.example", "user", "secret");
        let of = |host: &Arc<Host>, repository: &str, credentials: &Credentials| {
            let scope = Scope { repository: repository.to_owned(), actions: "pull" };
            registries.authenticator(host, scope, credentials)
        };
        let first = of(&a, "x", &none);
        assert!(Arc::ptr_eq(&first, &of(&a, "x", &Credentials::default())));
        assert!(!Arc::ptr_eq(&first, &of(&a, "y", &none)));
        assert!(!Arc::ptr_eq(&first, &of(&a, "x", &login)));
        assert!(!Arc::ptr_eq(&first, &of(&host("a.example", &insecure), "x", &none)));
        assert!(!format!("{registries:?}").contains("secret"));

        assert!(Arc::ptr_eq(&registries.download_slots(3), &registries.download_slots(3)));
        assert_eq!(registries.download_slots(3).available_permits(), 3);
    }

    #[test]
    fn many_images_need_little() {
        let registries = Registries::default();
        let host = registries.host("a.example", &settings()).unwrap();
        for number in 0..10_000 {
            let scope = Scope { repository: format!("images/{number}"), actions: "pull" };
            registries.authenticator(&host, scope, &Credentials::default());
        }
        assert!(lock(&registries.0.repositories).len() <= REPOSITORIES);
        // The newest are those that are remembered.
        assert!(Arc::strong_count(&host) > REPOSITORIES / 2);
    }
}
