//! What containerd's calls do.
//!
//! A future of these functions must not be dropped before it is done, or a change would be half made. So the
//! service runs each change in a task of its own, which goes on when its client disappears. Work on disk and in
//! the store runs on blocking threads.

mod change;
mod prepare;
mod remote;
mod report;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tracing::{error, info, warn};

use crate::config::Config;
use crate::directories::Directories;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::repository::{Repositories, Unavailable};
use crate::snapshot::{Labels, Record, SnapshotId};
use crate::store::Store;

/// A request for a new snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// Its key.
    pub key: String,
    /// Name of a committed snapshot, or empty.
    pub parent: String,
    /// Its labels.
    pub labels: Labels,
}

/// All snapshots of one root directory. Clones share it.
#[derive(Debug, Clone)]
pub struct Snapshots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directories: Directories,
    store: Store,
    repositories: RwLock<Arc<Repositories>>,
    metrics: Metrics,
    /// Whether a task is about to empty the trash.
    cleaning: AtomicBool,
}

/// Runs blocking work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.to_string()))?
}

impl From<Unavailable> for Error {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(format!(
            "repository {} cannot be used ({}): {}",
            why.repository,
            why.path.display(),
            why.reason
        ))
    }
}

impl Snapshots {
    /// Opens the configured root directory and cleans up after a crash. Nothing that has a record is deleted,
    /// whatever else is found.
    ///
    /// # Errors
    /// If another daemon uses the root, or the store cannot be opened.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let directories = Directories::open(&config.root)?;
        let highest = directories.existing()?.into_iter().max().unwrap_or(SnapshotId(0));
        let store = Store::open(&directories.database(), highest)?;
        let snapshots = Self(Arc::new(Inner {
            directories,
            store,
            repositories: RwLock::new(Arc::new(Repositories::new(
                config,
                &Repositories::default(),
            ))),
            metrics: Metrics::default(),
            cleaning: AtomicBool::new(false),
        }));
        snapshots.0.restore(highest)?;
        Ok(snapshots)
    }

    /// Asks the repositories whether they are there, and deletes leftovers, both in the background.
    pub fn start(&self) {
        self.0.repositories().announce();
        self.empty_trash_soon();
    }

    /// Uses the repositories of another configuration from now on; nothing else of it matters here. The links of
    /// snapshots are pointed to where their repositories are now.
    ///
    /// # Errors
    /// Of the store. The repositories are those of the new configuration all the same.
    pub async fn reload(&self, config: &Config) -> Result<()> {
        let repositories = {
            let mut current = self.0.repositories.write().unwrap_or_else(PoisonError::into_inner);
            *current = Arc::new(Repositories::new(config, &current));
            Arc::clone(&current)
        };
        repositories.announce();
        self.on_disk(|inner| {
            inner.store.records()?.iter().for_each(|record| inner.inspect(record));
            Ok(())
        })
        .await
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        blocking(move || work(&inner)).await
    }

    fn empty_trash_soon(&self) {
        if self.0.cleaning.swap(true, Ordering::SeqCst) {
            return;
        }
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            // From here on a new request needs a new task: this one may already be past the new directory.
            inner.cleaning.store(false, Ordering::SeqCst);
            inner.directories.empty_trash();
        });
    }
}

impl Inner {
    /// The repositories as they are configured now.
    fn repositories(&self) -> Arc<Repositories> {
        Arc::clone(&self.repositories.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Compares records and directories at the start of the daemon. `highest` is the highest number of a
    /// directory.
    fn restore(&self, highest: SnapshotId) -> Result<()> {
        let records = self.store.records()?;
        if self.store.is_new() && highest > SnapshotId(0) {
            error!(
                "there are snapshot directories but no records of them: the metadata store was lost. \
                 Nothing is deleted. Remove and pull the images of this snapshotter; when no container \
                 uses the directories up to snapshots/{highest} any more, delete them by hand"
            );
        }
        self.directories.reserve_up_to(self.store.last_id()?.max(highest));
        let swept = self.sweep()?;
        records.iter().for_each(|record| self.inspect(record));
        info!(snapshots = records.len(), leftovers = swept, "restored");
        Ok(())
    }

    fn sweep(&self) -> Result<usize> {
        let from = self.store.spared_below()?;
        self.directories.sweep(from, || self.store.ids())
    }

    /// Reports a snapshot that cannot be mounted, and points links to where a repository is now.
    fn inspect(&self, record: &Record) {
        let (name, id) = (&record.info.name, record.id);
        if !self.directories.is_whole(id, record.remote.is_some()) {
            error!(
                name, %id,
                "the directory of this snapshot is missing or damaged; it cannot be mounted. Remove the \
                 container or image that uses it, and pull again"
            );
            return;
        }
        let Some(remote) = &record.remote else { return };
        let repositories = self.repositories();
        let Some(repository) = repositories.get(&remote.repository) else {
            warn!(
                name, %id, repository = remote.repository,
                "the repository of this snapshot is not configured any more; it cannot be mounted"
            );
            return;
        };
        let layer = repository.path(&remote.layer);
        let rootfs = remote.rootfs.as_ref().map(|rootfs| repository.path(rootfs));
        if let Err(error) = self.directories.relink(id, &layer, rootfs.as_deref()) {
            error!(name, %id, %error, "cannot set the links of this snapshot");
        }
    }
}
