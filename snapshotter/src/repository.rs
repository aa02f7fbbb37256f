//! The repositories: what they have, and whether they answer.
//!
//! A repository is a network file system. Any look at it may take long or for ever, and a process that waits
//! for a hung FUSE server cannot even be killed. So the daemon itself never touches one: a few child
//! processes per repository do (see [`reader`]), and the daemon waits for their answers no longer than the
//! configured time. While a repository does not answer it is not asked; see [`Repository`].

mod child;
mod question;
pub mod reader;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use layer_layout::label::WantedLayer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{info, warn};

use self::child::Child;
pub use self::question::{Answer, Found, FoundBy, Miss, Parent, Question};
use crate::config::Config;
use crate::snapshot::Remote;

/// Children that may be busy, or stuck, with one repository.
const MAX_CHILDREN: usize = 4;
/// Children kept for the next question.
const IDLE_CHILDREN: usize = 2;

/// Why a repository is of no use at the moment. Names what to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// The repository.
    pub repository: String,
    /// A path in it, or its root.
    pub path: PathBuf,
    /// What is the matter, and what can be done.
    pub reason: String,
}

/// What came of looking for a layer.
#[derive(Debug)]
pub struct Search {
    /// The layer, from the first repository that has it.
    pub hit: Option<(Arc<Repository>, Found)>,
    /// What the repositories before said; all of them, if there is no hit.
    pub misses: Vec<String>,
    /// Whether some repository could not be asked.
    pub unavailable: bool,
}

/// All configured repositories, in their order.
#[derive(Debug)]
pub struct Repositories(Vec<Arc<Repository>>);

impl Repositories {
    /// Those of the configuration. Nothing is asked yet.
    pub fn new(config: &Config) -> Self {
        let new = |entry: &crate::config::Repository| {
            Arc::new(Repository {
                name: entry.name.clone(),
                root: entry.path(),
                timeout: config.repository_timeout(),
                retry: config.repository_retry(),
                permits: Arc::new(Semaphore::new(MAX_CHILDREN)),
                idle: Mutex::default(),
                broken: Mutex::default(),
            })
        };
        Self(config.repositories.iter().map(new).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The repository with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Repository>> {
        self.0.iter().find(|repository| repository.name == name)
    }

    /// Asks every repository once whether it is there, so that the log says it and an automounter starts.
    pub fn greet(&self) {
        for repository in &self.0 {
            tokio::spawn(Arc::clone(repository).greet());
        }
    }

    /// Looks for a layer everywhere at once; of several hits the first repository's counts, or that of the
    /// repository which a thin image names. `parent` is the chain below, as far as it is known.
    pub async fn find(&self, wanted: &WantedLayer, parent: Parent) -> Search {
        let mut search = Search { hit: None, misses: Vec::new(), unavailable: false };
        let Some(chain) = wanted.chain else {
            search.misses.push("the reference is not a ChainID".to_owned());
            return search;
        };
        let question = Question::Find { chain, layers: wanted.layers.clone(), parent };
        let mut order: Vec<_> = self.0.iter().collect();
        // Stable: the others keep their order.
        order.sort_by_key(|repository| wanted.repository.as_ref() != Some(&repository.name));
        let answers: Vec<_> = order
            .into_iter()
            .map(|repository| {
                let (asked, question) = (Arc::clone(repository), question.clone());
                (repository, tokio::spawn(async move { asked.ask(question).await }))
            })
            .collect();
        for (repository, answer) in answers {
            let name = &repository.name;
            match answer.await {
                Ok(Ok(Answer::Found(found))) => {
                    search.hit = Some((Arc::clone(repository), found));
                    break;
                }
                Ok(Ok(Answer::Miss(miss))) => search.misses.push(format!("{name}: {miss}")),
                Ok(Ok(other)) => search.misses.push(format!("{name}: unexpected answer {other:?}")),
                Ok(Err(unavailable)) => {
                    search.unavailable = true;
                    search.misses.push(format!("{name}: {}", unavailable.reason));
                }
                Err(error) => search.misses.push(format!("{name}: {error}")),
            }
        }
        search
    }

    /// Makes sure that all these layers can be mounted now.
    ///
    /// # Errors
    /// The first one that cannot.
    pub async fn check<'a>(
        &self,
        needed: impl Iterator<Item = (&'a Remote, bool)>,
    ) -> Result<(), Unavailable> {
        let mut paths: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (remote, merged) in needed {
            let path = remote.rootfs.as_ref().filter(|_| merged).unwrap_or(&remote.layer);
            paths.entry(&remote.repository).or_default().push(path.clone());
        }
        for (name, paths) in paths {
            let Some(repository) = self.get(name) else {
                return Err(Unavailable {
                    repository: name.to_owned(),
                    path: paths.into_iter().next().unwrap_or_default().into(),
                    reason:
                        "it is not configured any more: add it to the configuration and restart \
                             cvmfs-snapshotter, or remove the image and pull it again"
                            .to_owned(),
                });
            };
            match repository.ask(Question::Check { paths }).await? {
                Answer::Present => {}
                Answer::Gone { path } => {
                    return Err(repository.unavailable(
                        &path,
                        "it is not there any more: check that the repository is mounted \
                         (`cvmfs_config probe`); if it is and the layer was deleted from it, remove the \
                         image and pull it again",
                    ));
                }
                other => {
                    return Err(repository.unavailable("", format!("unexpected answer {other:?}")));
                }
            }
        }
        Ok(())
    }
}

/// One repository.
///
/// If an answer does not come in time the repository counts as broken: nobody asks it for some seconds, then
/// one child tries, again and again until there is an answer, even a late one. Errors that come quickly
/// (not mounted, I/O error) do not count; the next question simply asks again.
#[derive(Debug)]
pub struct Repository {
    name: String,
    root: PathBuf,
    timeout: Duration,
    retry: Duration,
    /// One for every child that is busy. A stuck child keeps its own until it is really gone.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Child>>,
    broken: Mutex<Option<Instant>>,
}

impl Repository {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The absolute path of what has this path in the repository.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn unavailable(&self, path: &str, reason: impl Into<String>) -> Unavailable {
        let path = if path.is_empty() { self.root.clone() } else { self.path(path) };
        Unavailable { repository: self.name.clone(), path, reason: reason.into() }
    }

    fn broken_since(&self) -> Option<Instant> {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, for no longer than the time-out.
    async fn ask(self: &Arc<Self>, question: Question) -> Result<Answer, Unavailable> {
        const MEND: &str = "check the mount (`cvmfs_config probe`, the log of the CVMFS client)";
        if let Some(since) = self.broken_since() {
            let reason = format!("it has not answered for {} s: {MEND}", since.elapsed().as_secs());
            return Err(self.unavailable("", reason));
        }
        let deadline = tokio::time::Instant::now() + self.timeout;
        let milliseconds = self.timeout.as_millis();
        let permit = Arc::clone(&self.permits).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout_at(deadline, permit).await else {
            let reason = format!("it was busy for {milliseconds} ms: {MEND}");
            return Err(self.unavailable("", reason));
        };
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(Arc::clone(self).exchange(question, permit, sender));
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(Answer::Broken { reason })) => {
                Err(self.unavailable("", format!("{reason}: {MEND}")))
            }
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.unavailable("", "its reader process ended unexpectedly")),
            Err(_) => {
                self.trip();
                let reason = format!("it did not answer within {milliseconds} ms: {MEND}");
                Err(self.unavailable("", reason))
            }
        }
    }

    /// Has one question answered by a child. Goes on after the asker has lost patience, because a late
    /// answer is good news too; after the retry time the child is killed, and the permit is held until it is
    /// gone.
    async fn exchange(
        self: Arc<Self>,
        question: Question,
        _permit: OwnedSemaphorePermit,
        asker: oneshot::Sender<Answer>,
    ) {
        // An idle child may have been killed meanwhile; a fresh one gets a second chance.
        for fresh in [false, true] {
            let idle = match fresh {
                false => self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop(),
                true => None,
            };
            let mut child = match idle.map_or_else(|| Child::start(&self.root), Ok) {
                Ok(child) => child,
                Err(error) => {
                    warn!(repository = self.name, %error, "cannot start a reader process");
                    return;
                }
            };
            match tokio::time::timeout(self.patience(), child.ask(&question)).await {
                Ok(Ok(answer)) => {
                    self.keep(child);
                    self.recover();
                    // The asker may be gone.
                    let _ = asker.send(answer);
                    return;
                }
                Ok(Err(error)) if fresh => {
                    warn!(repository = self.name, %error, "a reader process failed");
                    return;
                }
                Ok(Err(_)) => child.end().await,
                Err(_) => return child.end().await,
            }
        }
    }

    /// After this time a child is given up.
    fn patience(&self) -> Duration {
        self.timeout + self.retry
    }

    fn keep(&self, child: Child) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CHILDREN {
            idle.push(child);
        }
    }

    fn trip(self: &Arc<Self>) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.is_none() {
            *broken = Some(Instant::now());
            warn!(
                repository = self.name,
                path = %self.root.display(),
                timeout = ?self.timeout,
                "the repository does not answer; not asking it until it does"
            );
            tokio::spawn(Arc::clone(self).mend());
        }
    }

    fn recover(&self) {
        let since = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = since {
            info!(
                repository = self.name,
                seconds = since.elapsed().as_secs(),
                "the repository answers again"
            );
        }
    }

    /// Tries until the repository answers.
    async fn mend(self: Arc<Self>) {
        while self.broken_since().is_some() {
            tokio::time::sleep(self.retry).await;
            // Without a free child there is one waiting, whose late answer will do.
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                let (sender, receiver) = oneshot::channel();
                let question = Question::Check { paths: Vec::new() };
                tokio::spawn(Arc::clone(&self).exchange(question, permit, sender));
                // Whatever comes of it, `exchange` has noted it.
                let _ = tokio::time::timeout(self.patience(), receiver).await;
            }
        }
    }

    async fn greet(self: Arc<Self>) {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
        let (sender, receiver) = oneshot::channel();
        let started = Instant::now();
        tokio::spawn(Arc::clone(&self).exchange(
            Question::Check { paths: Vec::new() },
            permit,
            sender,
        ));
        let (repository, path) = (&self.name, self.root.display());
        let reason = match receiver.await {
            Ok(Answer::Present) => {
                info!(repository, %path, after = ?started.elapsed(), "the repository is there");
                return;
            }
            Ok(Answer::Broken { reason }) => reason,
            Ok(other) => format!("{other:?}"),
            Err(_) => "no answer".to_owned(),
        };
        warn!(repository, %path, reason, "the repository is not there; its layers will be downloaded");
    }
}
