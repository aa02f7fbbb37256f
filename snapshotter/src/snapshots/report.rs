//! Questions about snapshots.

use super::Snapshots;
use crate::error::{Error, Result};
use crate::filter::Filters;
use crate::metrics::Present;
use crate::repository::State;
use crate::snapshot::{Info, SnapshotKind, Usage, shown};

impl Snapshots {
    /// Reads a record as calls do, to see whether they would be answered.
    ///
    /// # Errors
    /// Only of the store.
    pub async fn answers(&self) -> Result<()> {
        self.on_disk(|inner| inner.store.last_id()).await.map(|_| ())
    }

    /// The names of all repositories in their order, and their states.
    pub fn repository_states(&self) -> Vec<(String, State)> {
        self.0.repositories().states()
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// Only of the store.
    pub async fn metrics_page(&self) -> Result<String> {
        let repositories = self.repository_states();
        self.on_disk(move |inner| {
            let mut present = Present { repositories, ..Present::default() };
            for record in inner.store.records()? {
                present.count(record.info.kind, record.remote.is_some());
            }
            Ok(inner.metrics.text(&present))
        })
        .await
    }

    /// One snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn stat(&self, key: String) -> Result<Info> {
        self.on_disk(move |inner| inner.store.get(&key)).await.map(|record| record.info)
    }

    /// All snapshots that pass the filters, in byte order of their names.
    ///
    /// # Errors
    /// Only of the store.
    pub async fn list(&self, filters: Filters) -> Result<Vec<Info>> {
        self.on_disk(move |inner| inner.store.list(&filters)).await
    }

    /// Disk use of one snapshot without its parents: an active one is measured now, a committed one was measured
    /// at commit, and a view uses nothing. What is in a repository takes no space here.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the file system.
    pub async fn usage(&self, key: String) -> Result<Usage> {
        self.on_disk(move |inner| {
            let record = inner.store.get(&key)?;
            match record.info.kind {
                SnapshotKind::Active => {
                    let usage = inner.directories.usage(record.id);
                    // If it was removed meanwhile, the count is wrong or has failed.
                    inner.store.confirm(&key, record.id)?;
                    usage
                }
                SnapshotKind::Committed => record.usage.ok_or_else(|| {
                    let key = shown(&key);
                    let message = format!("committed snapshot {key} has no record of its disk use");
                    Error::Internal(message)
                }),
                SnapshotKind::View => Ok(Usage::default()),
            }
        })
        .await
    }
}
