//! The repositories: what they have, and whether they answer.
//!
//! A repository is a network file system. Any access to it may take a long time or never return, and a process
//! that waits for a hung FUSE server cannot even be killed. So the daemon itself never touches one: a few child
//! processes per repository do (see [`reader`]), and the daemon waits for their answers no longer than the
//! configured time. A repository that does not answer in time is not asked again for a while; see [`health`].

mod child;
mod health;
mod question;
pub mod reader;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use layer_layout::label::WantedLayer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{info, warn};

use self::child::Child;
pub use self::health::State;
use self::health::{Change, Health};
pub use self::question::{Answer, Found, FoundBy, Miss, Parent, Question};
use crate::config::Config;
use crate::snapshot::Remote;

/// Children that may be busy, or stuck, with one repository.
const MAX_CHILDREN: usize = 4;
/// Children kept for the next question.
const IDLE_CHILDREN: usize = 2;

/// Why a repository cannot be used at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// Its name in the configuration.
    pub repository: String,
    /// A path in it, or its root.
    pub path: PathBuf,
    /// What is wrong, and what can be done about it.
    pub reason: String,
}

/// The result of looking for a layer in all repositories.
#[derive(Debug)]
pub struct Search {
    /// The layer, from the first repository that has it.
    pub hit: Option<(Arc<Repository>, Found)>,
    /// For the log: the answers of the repositories that come before the hit, or of all if there is no hit.
    pub misses: Vec<String>,
    /// Whether some repository could not be asked.
    pub unavailable: bool,
}

/// All configured repositories, in their order.
#[derive(Debug, Default)]
pub struct Repositories(Vec<Arc<Repository>>);

impl Repositories {
    /// The repositories of the configuration. None of them is asked anything yet. Those among `known` that are
    /// configured as before stay as they are, with what is known of their state.
    pub fn new(config: &Config, known: &Self) -> Self {
        let new = |entry: &crate::config::ConfiguredRepository| {
            let same = known.get(&entry.name).filter(|repository| {
                repository.root == entry.path()
                    && repository.timeout == config.repository_timeout()
                    && repository.retry == config.repository_retry()
            });
            if let Some(same) = same {
                return Arc::clone(same);
            }
            Arc::new(Repository {
                name: entry.name.clone(),
                root: entry.path(),
                timeout: config.repository_timeout(),
                retry: config.repository_retry(),
                permits: Arc::new(Semaphore::new(MAX_CHILDREN)),
                idle: Mutex::default(),
                health: Mutex::new(Health::new(config.repository_retry())),
                probing: AtomicBool::new(false),
            })
        };
        Self(config.repositories.iter().map(new).collect())
    }

    /// Whether no repository is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of all repositories, and their states.
    pub fn states(&self) -> Vec<(String, State)> {
        self.0.iter().map(|repository| (repository.name.clone(), repository.state())).collect()
    }

    /// The repository with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Repository>> {
        self.0.iter().find(|repository| repository.name == name)
    }

    /// Asks every repository that has not been asked once whether it is there. That makes an automounter mount it, and the log tells
    /// the answer.
    pub fn announce(&self) {
        for repository in self.0.iter().filter(|repository| repository.state() == State::Unknown) {
            tokio::spawn(Arc::clone(repository).announce());
        }
    }

    /// Looks for a layer in all repositories at once. Of several hits the one counts whose repository comes
    /// first in the configuration, but the repository that a thin image names comes before all others.
    /// `parent` is the chain below the layer, as far as it is known.
    pub async fn find(&self, wanted: &WantedLayer, parent: Parent) -> Search {
        let mut search = Search { hit: None, misses: Vec::new(), unavailable: false };
        let Some(chain) = wanted.chain else {
            search.misses.push("the reference is not a ChainID".to_owned());
            return search;
        };
        let question = Question::Find { chain, layers: wanted.layers.clone(), parent };
        let mut order: Vec<_> = self.0.iter().collect();
        // The sort is stable, so all other repositories keep their order.
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

    /// Makes sure that all these layers can be mounted now. The flag says whether a layer's merged root file
    /// system will be mounted instead of the layer itself. All repositories are asked at once, so that several that
    /// hang cost one time-out.
    ///
    /// # Errors
    /// For the first layer that cannot be mounted.
    pub async fn check<'a>(
        &self,
        needed: impl Iterator<Item = (&'a Remote, bool)>,
    ) -> Result<(), Unavailable> {
        let mut paths: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (remote, merged) in needed {
            let path = remote.rootfs.as_ref().filter(|_| merged).unwrap_or(&remote.layer);
            paths.entry(&remote.repository).or_default().push(path.clone());
        }
        let mut answers = Vec::new();
        for (name, paths) in paths {
            let Some(repository) = self.get(name) else {
                return Err(Unavailable {
                    repository: name.to_owned(),
                    path: paths.into_iter().next().expect("added with the repository").into(),
                    reason:
                        "it is not configured any more: add it to the configuration and reload \
                             cvmfs-snapshotter (SIGHUP), or remove the image and pull it again"
                            .to_owned(),
                });
            };
            let asked = Arc::clone(repository);
            let answer = tokio::spawn(async move { asked.ask(Question::Check { paths }).await });
            answers.push((repository, answer));
        }
        for (repository, answer) in answers {
            let answer = answer.await.map_err(|e| repository.unavailable("", e.to_string()))?;
            match answer? {
                Answer::Present => {}
                Answer::Gone { path } => {
                    return Err(repository.unavailable(
                        &path,
                        "it is not there any more: check that the repository is mounted \
                         (`cvmfs_config probe`); if it is mounted and the layer was deleted from it, remove \
                         the image and pull it again",
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

/// One repository. While it is not usable (see [`health`]), one child looks every few seconds whether it is there.
#[derive(Debug)]
pub struct Repository {
    name: String,
    root: PathBuf,
    timeout: Duration,
    retry: Duration,
    /// One for every child that is busy. A stuck child holds its permit until it is really gone.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Child>>,
    health: Mutex<Health>,
    /// Whether a task looks every few seconds.
    probing: AtomicBool,
}

impl Repository {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The absolute path of `relative`, which counts from the repository's root.
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

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is usable, as far as is known.
    pub fn state(&self) -> State {
        self.health().state().clone()
    }

    /// Asks a question, and waits for the answer no longer than the time-out.
    async fn ask(self: &Arc<Self>, question: Question) -> Result<Answer, Unavailable> {
        const ADVICE: &str = "check the mount (`cvmfs_config probe`, the log of the CVMFS client)";
        let silent_since = self.health().silent_since();
        if let Some(since) = silent_since {
            let seconds = since.elapsed().as_secs();
            let reason = format!("it has not answered for {seconds} s: {ADVICE}");
            return Err(self.unavailable("", reason));
        }
        let deadline = tokio::time::Instant::now() + self.timeout;
        let milliseconds = self.timeout.as_millis();
        let permit = Arc::clone(&self.permits).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout_at(deadline, permit).await else {
            let reason = format!("it was busy for {milliseconds} ms: {ADVICE}");
            return Err(self.unavailable("", reason));
        };
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(Arc::clone(self).exchange(question, permit, Some(sender)));
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(Answer::Broken { reason })) => {
                Err(self.unavailable("", format!("{reason}: {ADVICE}")))
            }
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.unavailable("", "its reader process ended unexpectedly")),
            Err(_) => {
                let change = self.health().timed_out(Instant::now());
                self.tell(&change);
                let reason = format!("it did not answer within {milliseconds} ms: {ADVICE}");
                Err(self.unavailable("", reason))
            }
        }
    }

    /// Has one question answered by a child. Goes on after the asker has given up, because even a late answer
    /// shows that the repository works. A child that still has no answer after the retry time is killed, and
    /// the permit is held until it is gone. Without an asker, only the state of the repository is of interest.
    async fn exchange(
        self: Arc<Self>,
        question: Question,
        _permit: OwnedSemaphorePermit,
        asker: Option<oneshot::Sender<Answer>>,
    ) {
        // An idle child may have been killed since its last question, so a failure gives a new child a chance.
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
            match tokio::time::timeout(self.child_timeout(), child.ask(&question)).await {
                Ok(Ok(answer)) => {
                    self.keep_idle(child);
                    let in_time = asker.as_ref().is_some_and(|asker| !asker.is_closed());
                    let result = match &answer {
                        Answer::Broken { reason } => Err(reason.as_str()),
                        _ => Ok(()),
                    };
                    let change = self.health().answered(Instant::now(), result, in_time);
                    self.tell(&change);
                    if let Some(asker) = asker {
                        // Fails if the asker has given up.
                        let _ = asker.send(answer);
                    }
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

    /// How long a child may take for an answer before it is killed.
    fn child_timeout(&self) -> Duration {
        self.timeout + self.retry
    }

    fn keep_idle(&self, child: Child) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CHILDREN {
            idle.push(child);
        }
    }

    /// Logs a change of the state, and sees to it that the end of a bad one is noticed.
    fn tell(self: &Arc<Self>, change: &Change) {
        let (repository, path) = (&self.name, self.root.display());
        match change {
            Change::None => return,
            Change::Recovered(time) => {
                info!(repository, seconds = time.as_secs(), "the repository answers again");
                return;
            }
            Change::Silenced => warn!(
                repository,
                %path,
                timeout = ?self.timeout,
                "the repository does not answer; not asking it until it does"
            ),
            Change::Failed(reason) => warn!(
                repository,
                %path,
                reason,
                "the repository cannot be used; its layers will be downloaded"
            ),
        }
        if !self.probing.swap(true, Ordering::SeqCst) {
            tokio::spawn(Arc::clone(self).probe());
        }
    }

    /// Asks an unusable repository every few seconds whether it is there, until it is.
    async fn probe(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.retry).await;
            {
                let health = self.health();
                if health.state().unusable_since().is_none() {
                    // Under the lock, so that whoever makes it unusable again starts a new task.
                    self.probing.store(false, Ordering::SeqCst);
                    return;
                }
            }
            // If no permit is free, children are already waiting, and the late answer of one of them will do.
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                let question = Question::Check { paths: Vec::new() };
                let look = Arc::clone(&self).exchange(question, permit, None);
                let _ = tokio::time::timeout(self.child_timeout(), tokio::spawn(look)).await;
            }
        }
    }

    /// Asks once whether the repository is there, so that its state is known from the start.
    async fn announce(self: Arc<Self>) {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
        let started = Instant::now();
        let question = Question::Check { paths: Vec::new() };
        let look = tokio::spawn(Arc::clone(&self).exchange(question, permit, None));
        if tokio::time::timeout(self.timeout, look).await.is_err() {
            let change = self.health().timed_out(Instant::now());
            self.tell(&change);
        } else if self.state() == State::Usable {
            let (repository, path) = (&self.name, self.root.display());
            info!(repository, %path, after = ?started.elapsed(), "the repository is there");
        }
    }
}
